import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans, MiniBatchKMeans

from ar_dmvc.networks import (
    ClusterCentres,
    Discriminator,
    Generator,
    SteppedNoise,
    ViewAttention,
    WeightedMean,
    build_decoder,
    build_encoder,
)

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


@given(shape=images | vectors)
def test_decoders_reproduce_the_shape_of_any_view(shape: tuple[int, ...]) -> None:
    decoder = build_decoder(shape).eval()
    reconstruction = decoder(torch.randn(2, build_encoder(shape).out_features))
    assert reconstruction.shape == (2, *shape)
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1


def test_decoders_have_the_published_sizes_at_28x28() -> None:
    features, sizes = torch.rand(2, 1024), []
    for layer in build_decoder((1, 28, 28)):
        features = layer(features)
        if isinstance(layer, torch.nn.Upsample | torch.nn.ConvTranspose2d):
            sizes.append(features.shape[-1])
    assert sizes == [8, 10, 12, 24, 26, 28]


def test_decoders_for_vectors_have_the_published_widths() -> None:
    layers = [layer for layer in build_decoder((59,)) if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [
        (256, 256),
        (256, 1024),
        (1024, 1024),
        (1024, 1024),
        (1024, 59),
    ]


class TestClusterCentres:
    def blobs(self) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
        return (centres[:, None] + torch.randn(3, 30, 2, generator=random)).flatten(0, 1)

    @pytest.mark.parametrize("mini_batch_above", [10, 1000])
    def test_hard_assignments_are_those_of_scikit_learn(self, mini_batch_above: int) -> None:
        points = self.blobs()
        clusters = ClusterCentres(3, 2, starts=5, seed=3, mini_batch_above=mini_batch_above)
        clusters.fit(points)
        kind = MiniBatchKMeans if mini_batch_above < len(points) else KMeans
        k_means = kind(3, n_init=5, random_state=3).fit(points.numpy())
        assert clusters(points).argmax(1).tolist() == k_means.predict(points.numpy()).tolist()

    def test_soft_assignments_are_a_softmax_over_negative_squared_distances(self) -> None:
        clusters = ClusterCentres(2, 2)
        clusters.centres.copy_(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
        shares = clusters(torch.tensor([[0.0, 0.0], [1.0, 5.0]]))
        torch.testing.assert_close(shares[0, 1] / shares[0, 0], torch.tensor(-4.0).exp())
        torch.testing.assert_close(shares[1], torch.tensor([0.5, 0.5]))

    def test_before_they_are_fitted_all_assignments_are_equal(self) -> None:
        torch.testing.assert_close(ClusterCentres(4, 3)(torch.randn(5, 3)), torch.full((5, 4), 0.25))

    def test_global_random_state_does_not_matter_and_is_left_alone(self) -> None:
        points, found = self.blobs(), []
        for seed in (0, 1):
            np.random.seed(seed)
            torch.manual_seed(seed)
            before = np.random.get_state()[1].copy(), torch.get_rng_state()
            clusters = ClusterCentres(3, 2)
            clusters.fit(points)
            assert (np.random.get_state()[1] == before[0]).all()
            assert torch.equal(torch.get_rng_state(), before[1])
            found.append(clusters.centres)
        assert torch.equal(*found)

    def test_needs_a_start(self) -> None:
        with pytest.raises(ValueError, match="starts must be at least 1"):
            ClusterCentres(3, 2, starts=0)


class TestSteppedNoise:
    def test_follows_from_seed_and_step_alone(self) -> None:
        like = torch.zeros(50)
        noise, resumed = SteppedNoise(3), SteppedNoise(3)
        first = noise.normal(like), noise.uniform(like)
        noise.advance()
        second = noise.normal(like)
        assert not torch.equal(first[0], second)
        torch.randn(7)
        resumed.load_state_dict(noise.state_dict())
        assert resumed.step == 1
        assert torch.equal(resumed.normal(like), second)
        assert torch.equal(SteppedNoise(3).normal(like), first[0])
        assert not torch.equal(SteppedNoise(4).normal(like), first[0])

    @pytest.mark.parametrize("state", [None, "abc", torch.tensor(-5), torch.tensor(float("nan")), torch.tensor([1, 2])])
    def test_a_state_that_is_none_is_said(self, state: object) -> None:
        with pytest.raises(ValueError, match="a number of steps is expected"):
            SteppedNoise().load_state_dict({"_extra_state": state})
        with pytest.raises(ValueError, match="seed must be at least 0"):
            SteppedNoise(-1)

    def test_leaves_global_random_state_alone(self) -> None:
        before = torch.get_rng_state()
        SteppedNoise().uniform(torch.zeros(3))
        assert torch.equal(torch.get_rng_state(), before)


class TestViewAttention:
    def test_weighs_by_the_batch_in_training_and_by_its_running_mean_after(self) -> None:
        torch.manual_seed(0)
        attention = ViewAttention(6, 2)
        latents = [torch.randn(5, 3) for _ in range(2)]
        weights = attention(latents)
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
        torch.testing.assert_close(attention.running_weights, 0.9 * torch.full((2,), 0.5) + 0.1 * weights.detach())
        attention.eval()
        assert torch.equal(attention(latents), attention([latent[:1] for latent in latents]))

    def test_is_the_published_formula(self) -> None:
        torch.manual_seed(1)
        attention = ViewAttention(6, 2)
        latents = torch.randn(4, 6)
        first, second, third, _ = attention.layers
        expected = (third(second(first(latents))).sigmoid() / 10).softmax(1).mean(0)
        torch.testing.assert_close(attention(latents.split(3, 1)), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (20,)], ids=["tiny", "small", "large", "mlp"])
def test_in_evaluation_an_encoder_is_its_layers_one_after_the_other(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(shape).double()
    view = torch.rand(9, *shape, dtype=torch.float64, requires_grad=True)
    encoder(3 * view + 1)  # statistics that are none of the defaults
    encoder.eval()
    expected: torch.Tensor = view
    for layer in encoder:
        expected = layer(expected)
    latent = encoder(view)
    torch.testing.assert_close(latent, expected)
    variables = [view, *encoder.parameters()]
    direction = torch.rand_like(latent)
    for one, other in zip(
        torch.autograd.grad(latent, variables, direction), torch.autograd.grad(expected, variables, direction), strict=True
    ):
        torch.testing.assert_close(one, other)
