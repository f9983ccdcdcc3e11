import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ar_dmvc.losses import (
    attack_mitigator,
    contrastive_alignment,
    contrastive_terms,
    ddc_terms,
    gaussian_kernel,
    kernel_width,
    mean_off_diagonal_product,
    mutual_information_alignment,
    squared_distances,
)

Arrays = dict[str, torch.Tensor]
EXACT = {"rtol": 1e-9, "atol": 1e-14}


def latents_of(golden: Arrays) -> list[torch.Tensor]:
    return [golden[name].clone() for name in sorted(golden) if name.startswith("latent") and name[6:].isdigit()]


def draw(seed: int, samples: int, clusters: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(samples, 6, generator=random, dtype=torch.float64)
    return hidden, torch.randn(samples, clusters, generator=random, dtype=torch.float64).softmax(1)


class TestGolden:
    def test_kernel_width(self, golden_losses: Arrays) -> None:
        hidden = golden_losses["hidden"]
        width = kernel_width(squared_distances(hidden, hidden))
        torch.testing.assert_close(width, golden_losses["kernel_width"], **EXACT)

    def test_ddc_terms_and_gradients(self, golden_losses: Arrays) -> None:
        hidden = golden_losses["hidden"].clone().requires_grad_()
        assignments = golden_losses["assignments"].clone().requires_grad_()
        terms = ddc_terms(hidden, assignments)
        for name, term in terms._asdict().items():
            torch.testing.assert_close(term.detach(), golden_losses[f"ddc_{name}"], **EXACT)
        sum(terms).backward()
        torch.testing.assert_close(hidden.grad, golden_losses["grad_ddc_hidden"], **EXACT)
        torch.testing.assert_close(assignments.grad, golden_losses["grad_ddc_assignments"], **EXACT)

    def test_flipped_orthogonality(self, golden_losses: Arrays) -> None:
        flipped = mean_off_diagonal_product(golden_losses["assignments"].T)
        torch.testing.assert_close(flipped, golden_losses["ddc_orthogonality_flipped"], **EXACT)

    def test_contrastive_alignment_and_gradients(self, golden_losses: Arrays) -> None:
        latents = [latent.requires_grad_() for latent in latents_of(golden_losses)]
        loss = contrastive_alignment(latents)
        torch.testing.assert_close(loss.detach(), golden_losses["contrastive_unweighted"], **EXACT)
        smallest = golden_losses["fusion_weights"].softmax(0).min()
        torch.testing.assert_close((smallest * loss).detach(), golden_losses["contrastive_adaptive"], **EXACT)
        loss.backward()
        for view, latent in enumerate(latents):
            torch.testing.assert_close(latent.grad, golden_losses[f"grad_contrastive_latent{view}"], **EXACT)

    def test_mutual_information_alignment(self, golden_losses: Arrays) -> None:
        latents = [latent.softmax(1) for latent in latents_of(golden_losses)]
        with_self = mutual_information_alignment(latents, self_pairs=True)
        torch.testing.assert_close(with_self, golden_losses["mi_alignment"], **EXACT)
        pairs = [(u, v) for u in range(len(latents) - 1) for v in range(u, len(latents))]
        expected = sum(value for (u, v), value in zip(pairs, golden_losses["mi_alignment_pairs_u_le_v"], strict=True) if u != v)
        torch.testing.assert_close(mutual_information_alignment(latents), expected, **EXACT)

    def test_attack_mitigator(self, golden_losses: Arrays) -> None:
        divergence = attack_mitigator(golden_losses["assignments"], golden_losses["assignments_adv"])
        torch.testing.assert_close(divergence, golden_losses["mitigator_kl"], **EXACT)


class TestInvariances:
    @given(seed=st.integers(0, 10_000), samples=st.integers(3, 20), clusters=st.integers(2, 6))
    def test_ddc_does_not_depend_on_the_order_of_samples_or_clusters(self, seed: int, samples: int, clusters: int) -> None:
        hidden, assignments = draw(seed, samples, clusters)
        random = torch.Generator().manual_seed(seed)
        rows, columns = torch.randperm(samples, generator=random), torch.randperm(clusters, generator=random)
        for one, other in zip(
            ddc_terms(hidden, assignments), ddc_terms(hidden[rows], assignments[rows][:, columns]), strict=True
        ):
            torch.testing.assert_close(one, other)

    @given(seed=st.integers(0, 10_000), samples=st.integers(2, 16), views=st.integers(2, 4))
    def test_contrastive_alignment_does_not_depend_on_the_order_of_samples_or_views(
        self, seed: int, samples: int, views: int
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        latents = [torch.randn(samples, 5, generator=random, dtype=torch.float64) for _ in range(views)]
        order = torch.randperm(samples, generator=random)
        shuffled = [latent[order] for latent in reversed(latents)]
        torch.testing.assert_close(contrastive_alignment(latents), contrastive_alignment(shuffled))

    @given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 100))
    def test_contrastive_alignment_sees_directions_only(self, seed: int, scale: float) -> None:
        random = torch.Generator().manual_seed(seed)
        latents = [torch.randn(7, 5, generator=random, dtype=torch.float64) for _ in range(2)]
        scaled = [latents[0] * scale, latents[1]]
        torch.testing.assert_close(contrastive_alignment(latents), contrastive_alignment(scaled))

    @given(seed=st.integers(0, 100), same=st.integers(0, 40))
    def test_gradients_are_bounded_however_many_samples_coincide(self, seed: int, same: int) -> None:
        hidden, assignments = draw(seed, 40, 3)
        hidden = hidden.float()
        hidden[:same] = hidden[0]
        hidden.requires_grad_()
        sum(ddc_terms(hidden, assignments.float())).backward()
        assert hidden.grad.abs().max() < 100

    @given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5))
    def test_kernel_sees_differences_only(self, seed: int, shift: float) -> None:
        hidden, _ = draw(seed, 9, 2)
        torch.testing.assert_close(gaussian_kernel(hidden), gaussian_kernel(hidden + shift), rtol=1e-6, atol=1e-9)

    @given(seed=st.integers(0, 10_000))
    def test_divergence_is_zero_for_equal_assignments_and_positive_otherwise(self, seed: int) -> None:
        _, one = draw(seed, 8, 4)
        _, other = draw(seed + 1, 8, 4)
        assert attack_mitigator(one, one) == 0
        assert attack_mitigator(one, other) > 0


class TestClosedForms:
    def test_one_hot_clusters_are_orthogonal_up_to_shared_membership(self) -> None:
        labels = torch.tensor([0, 0, 1, 1, 1])
        assignments = torch.eye(2, dtype=torch.float64)[labels]
        same_cluster_pairs = 1 + 3
        assert ddc_terms(torch.randn(5, 3, dtype=torch.float64), assignments).orthogonality == pytest.approx(
            same_cluster_pairs / 10
        )

    def test_far_apart_clusters_are_separated(self) -> None:
        hidden = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]], dtype=torch.float64)
        good = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 1, 1])]
        mixed = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 0, 1, 0, 1])]
        assert ddc_terms(hidden, good).separation < 0.01 < 0.5 < ddc_terms(hidden, mixed).separation

    def test_identical_samples_give_finite_gradients(self) -> None:
        hidden = torch.ones(6, 3, requires_grad=True)
        assignments = torch.full((6, 3), 1 / 3, requires_grad=True)
        sum(ddc_terms(hidden, assignments)).backward()
        assert torch.isfinite(hidden.grad).all()
        assert torch.isfinite(assignments.grad).all()

    def test_contrastive_alignment_of_orthogonal_pairs(self) -> None:
        """N orthogonal directions, equal in both views: each row sees itself once and 2(N - 1) times zero."""
        latents = [torch.eye(4, dtype=torch.float64)] * 2
        expected = 2 * (torch.tensor(10.0, dtype=torch.float64).exp() + 6).log() - 20
        assert contrastive_alignment(latents, temperature=0.1) == pytest.approx(float(expected), rel=1e-6)

    def test_terms_average_to_the_loss(self) -> None:
        latents = [torch.randn(5, 3) for _ in range(3)]
        torch.testing.assert_close(contrastive_terms(latents).mean(), contrastive_alignment(latents))

    def test_mutual_information_of_independent_views_is_minus_weighted_entropies(self) -> None:
        latents = [torch.full((6, 4), 0.25, dtype=torch.float64)] * 2
        expected = -(torch.tensor(1 / 16.0).log() - 20 * torch.tensor(0.25).log())
        assert mutual_information_alignment(latents) == pytest.approx(float(expected), rel=1e-6)


class TestRefusals:
    def test_ddc_needs_two_samples_and_two_clusters(self) -> None:
        with pytest.raises(ValueError, match="at least 2 samples and 2 clusters"):
            ddc_terms(torch.randn(1, 3), torch.ones(1, 2) / 2)
        with pytest.raises(ValueError, match="at least 2 samples and 2 clusters"):
            ddc_terms(torch.randn(4, 3), torch.ones(4, 1))

    def test_alignment_needs_two_views_of_one_shape(self) -> None:
        with pytest.raises(ValueError, match="at least two views"):
            contrastive_alignment([torch.randn(4, 3)])
        with pytest.raises(ValueError, match="one shape"):
            contrastive_alignment([torch.randn(4, 3), torch.randn(4, 2)])
        with pytest.raises(ValueError, match="at least two views"):
            mutual_information_alignment([torch.ones(4, 1)])

    def test_mitigator_needs_equal_shapes(self) -> None:
        with pytest.raises(ValueError, match="differ in shape"):
            attack_mitigator(torch.ones(4, 2) / 2, torch.ones(3, 2) / 2)
