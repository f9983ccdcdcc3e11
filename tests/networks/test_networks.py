import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ar_dmvc.networks import Discriminator, Generator, WeightedMean, build_encoder

images = st.tuples(st.integers(1, 3), st.integers(8, 70), st.integers(8, 70))
vectors = st.tuples(st.integers(1, 50))


@given(shape=images | vectors)
def test_networks_fit_any_view(shape: tuple[int, ...]) -> None:
    view = torch.rand(2, *shape)
    encoder = build_encoder(shape).eval()
    assert encoder(view).shape == (2, encoder.out_features)
    (perturbation,) = Generator([shape])([view])
    assert perturbation.shape == view.shape
    assert perturbation.abs().max() <= 1
    (scores,) = Discriminator([shape]).eval()([view])
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_generator_and_discriminator_have_the_published_sizes_at_28x28() -> None:
    view, sizes = torch.rand(2, 1, 28, 28), []
    for layer in Generator([(1, 28, 28)])[0]:
        view = layer(view)
        if "Conv" in type(layer).__name__:
            sizes.append(view.shape[-1])
    assert sizes == [26, 12, 5, 11, 23, 28]
    view, sizes = torch.rand(2, 1, 28, 28), []
    for layer in Discriminator([(1, 28, 28)])[0]:
        view = layer(view)
        if "Conv" in type(layer).__name__:
            sizes.append(view.shape[-1])
    assert sizes == [13, 5, 1, 1]


def test_encoders_have_the_published_widths() -> None:
    assert build_encoder((1, 28, 28)).out_features == 1024
    assert build_encoder((1, 64, 64)).out_features == 1024
    assert build_encoder((3, 128, 64), "cnn_small").out_features == 64 * 29 * 13
    assert build_encoder((59,)).out_features == 256


def test_initialisation_of_convolutions_is_the_published_one() -> None:
    torch.manual_seed(0)
    weights = torch.cat([p.detach().flatten() for n, p in Generator([(1, 28, 28)] * 4).named_parameters() if "weight" in n])
    assert float(weights.mean()) == pytest.approx(0, abs=0.02)
    assert float(weights.std()) == pytest.approx(1, abs=0.02)


def test_fusion_starts_as_the_plain_mean() -> None:
    latents = [torch.randn(4, 3) for _ in range(3)]
    torch.testing.assert_close(WeightedMean(3)(latents), torch.stack(latents).mean(0))
