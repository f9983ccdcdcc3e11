"""Losses of EAMC, Multi-VAE and SEM, and reconstruction."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch.nn.functional import normalize

from ar_dmvc.losses import (
    attention_loss,
    contrastive_alignment,
    cross_entropy,
    discriminator_loss,
    gaussian_kernel,
    generator_loss,
    info_nce,
    jensen_shannon_divergence,
    maximum_mean_discrepancy,
    normal_divergence,
    reconstruction_error,
    robust_info_nce,
    spectral_contrastive,
    uniform_divergence,
    variational_terms,
)
from tests.losses.test_losses import EXACT, Arrays, latents_of


def of_views(golden: Arrays, name: str) -> list[torch.Tensor]:
    return [golden[key] for key in sorted(golden) if key.startswith(name) and key.removeprefix(name).isdigit()]


def rows(seed: int, samples: int, features: int = 4) -> torch.Tensor:
    return torch.randn(samples, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestGolden:
    def test_attention(self, golden_losses: Arrays) -> None:
        latents, weights = latents_of(golden_losses), golden_losses["eamc_view_weights"]
        fused = torch.einsum("v,vnd->nd", weights, torch.stack(latents))
        torch.testing.assert_close(attention_loss(fused, latents, weights), golden_losses["eamc_attention"], **EXACT)

    def test_adversarial_game(self, golden_losses: Arrays) -> None:
        fakes, reals = of_views(golden_losses, "eamc_d_view"), of_views(golden_losses, "eamc_d_reference")
        torch.testing.assert_close(generator_loss(fakes), golden_losses["eamc_generator"], **EXACT)
        torch.testing.assert_close(discriminator_loss(reals, fakes), golden_losses["eamc_discriminator"], **EXACT)

    @pytest.mark.parametrize("step", [0, 5000, 40_000])
    def test_variational_terms(self, golden_losses: Arrays, step: int) -> None:
        probabilities, share = golden_losses["vae_alpha"], min(1.0, step / 25_000)
        terms = variational_terms(
            of_views(golden_losses, "vae_mean"),
            of_views(golden_losses, "vae_log_variance"),
            probabilities,
            of_views(golden_losses, "view"),
            of_views(golden_losses, "reconstruction"),
            continuous_capacity=5 * share,
            discrete_capacity=math.log(probabilities.shape[1]) * share,
        )
        for name, term in terms._asdict().items():
            torch.testing.assert_close(term, golden_losses[f"multivae_{name}_step{step}"].squeeze(), **EXACT)

    def test_reconstruction(self, golden_losses: Arrays) -> None:
        error = reconstruction_error(of_views(golden_losses, "view"), of_views(golden_losses, "reconstruction"))
        torch.testing.assert_close(error, golden_losses["mse_reconstruction"], **EXACT)


class TestVariational:
    def test_divergence_of_the_prior_is_zero_and_of_a_shifted_one_half_its_square(self) -> None:
        zeros = torch.zeros(5, 3)
        assert normal_divergence(zeros, zeros) == 0
        assert normal_divergence(zeros + 2, zeros) == pytest.approx(3 * 4 / 2)

    def test_uniform_divergence_runs_from_zero_to_log_k(self) -> None:
        assert uniform_divergence(torch.full((3, 4), 0.25)) == pytest.approx(0, abs=1e-6)
        assert uniform_divergence(torch.eye(4)) == pytest.approx(math.log(4), abs=1e-6)


class TestAttention:
    def test_views_that_agree_cost_nothing(self) -> None:
        latent = rows(0, 6)
        assert attention_loss(latent, [latent, latent], torch.tensor([0.3, 0.7], dtype=torch.float64)) == pytest.approx(0)

    def test_is_the_squared_frobenius_norm(self) -> None:
        fused, latents = rows(0, 5), [rows(1, 5), rows(2, 5, 7)]
        weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
        gap = gaussian_kernel(fused) - 0.4 * gaussian_kernel(latents[0]) - 0.6 * gaussian_kernel(latents[1])
        assert attention_loss(fused, latents, weights) == pytest.approx(float(torch.linalg.matrix_norm(gap)) ** 2)


class TestContrastive:
    @given(seed=st.integers(0, 1000), samples=st.integers(2, 9), temperature=st.floats(0.1, 2))
    def test_info_nce_is_half_the_contrastive_alignment_of_two_views(self, seed: int, samples: int, temperature: float) -> None:
        first, second = normalize(rows(seed, samples)), normalize(rows(seed + 1, samples))
        expected = contrastive_alignment([first, second], temperature) / 2
        torch.testing.assert_close(info_nce(first, second, temperature), expected)

    @given(seed=st.integers(0, 1000), samples=st.integers(2, 7))
    def test_spectral_as_written_in_the_paper(self, seed: int, samples: int) -> None:
        first, second = normalize(rows(seed, samples)), normalize(rows(seed + 1, samples))
        positives = sum(float(first[i] @ second[i]) for i in range(samples)) / samples
        others = [float(first[i] @ second[j]) ** 2 for i in range(samples) for j in range(samples) if i != j]
        expected = sum(others) / len(others) - 2 * positives
        assert spectral_contrastive(first, second) == pytest.approx(expected)

    @given(seed=st.integers(0, 1000), samples=st.integers(2, 6))
    def test_robust_as_written_in_the_paper(self, seed: int, samples: int) -> None:
        views = [normalize(rows(seed, samples)), normalize(rows(seed + 1, samples))]
        q, density, terms = 0.5, 0.01, []
        for own, other in (views, views[::-1]):
            for i in range(samples):
                positive = math.exp(float(own[i] @ other[i]) / 0.5)
                similar = [float(own[i] @ own[j]) for j in range(samples) if j != i]
                similar += [float(own[i] @ other[j]) for j in range(samples) if j != i]
                negatives = sum(math.exp(value / 0.5) for value in similar)
                terms.append(-(positive**q) / q + (density * (positive + negatives)) ** q / q)
        loss = robust_info_nce(*views, temperature=0.5, exponent=q, density=density)
        assert loss == pytest.approx(sum(terms) / len(terms))

    @pytest.mark.parametrize("loss", [info_nce, spectral_contrastive, robust_info_nce])
    def test_aligned_views_cost_less_than_shuffled_ones(self, loss: object) -> None:
        first = normalize(rows(3, 12, 16))
        assert loss(first, first) < loss(first, first.roll(1, 0))


class TestAgreement:
    @given(seed=st.integers(0, 1000), samples=st.integers(1, 6))
    def test_jensen_shannon_is_scipy_s(self, seed: int, samples: int) -> None:
        first, second = rows(seed, samples), rows(seed + 1, samples)
        distances = jensenshannon(first.softmax(1).numpy(), second.softmax(1).numpy(), axis=1)
        assert jensen_shannon_divergence(first, second) == pytest.approx(float((distances**2).mean()))

    @given(seed=st.integers(0, 1000), samples=st.integers(2, 8))
    def test_both_are_zero_for_equals_and_symmetric(self, seed: int, samples: int) -> None:
        first, second = rows(seed, samples), rows(seed + 1, samples)
        for divergence in (jensen_shannon_divergence, maximum_mean_discrepancy):
            assert divergence(first, first) == pytest.approx(0, abs=1e-12)
            assert divergence(first, second) == pytest.approx(float(divergence(second, first)))

    def test_discrepancy_sees_distributions_rather_than_pairs(self) -> None:
        first = rows(0, 40)
        assert maximum_mean_discrepancy(first, first.flip(0)) == pytest.approx(0, abs=1e-9)
        assert maximum_mean_discrepancy(first, first + 1) > maximum_mean_discrepancy(first, rows(1, 40)) > 0

    def test_discrepancy_of_two_points_in_closed_form(self) -> None:
        """Two samples, both at 0 in one view and at 1 in the other: mean squared distance 2/3."""
        first, second = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
        expected = sum(2 - 2 * math.exp(-1 / (share * 2 / 3)) for share in (0.25, 0.5, 1, 2, 4))
        assert maximum_mean_discrepancy(first, second) == pytest.approx(expected)

    def test_identical_rows_are_no_trouble(self) -> None:
        same = torch.ones(5, 3)
        assert maximum_mean_discrepancy(same, same) == 0


def test_cross_entropy_takes_half_precision_under_autocast() -> None:
    probabilities = torch.tensor([0.25, 0.5], dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(probabilities, torch.tensor([1.0, 0.0]))
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx((math.log(4) + math.log(2)) / 2)
    loss.backward()
    assert torch.isfinite(probabilities.grad).all()


def test_cross_entropy_of_what_is_no_number_is_none() -> None:
    assert torch.isnan(cross_entropy(torch.tensor([0.5, float("nan")]), torch.tensor([1.0, 0.0])))
