"""What EAMC, Multi-VAE, AECoDDC, InfoDDC and SEM each do that no other clusterer does."""

import math

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from ar_dmvc.clusterers import EAMC, SEM, AECoDDC, Clusterer, CoMVC, InfoDDC, MultiVAE, SiMVC
from ar_dmvc.losses import info_nce, mutual_information_alignment

SHAPES = [(6,), (5,)]
Views = list[torch.Tensor]


@pytest.fixture
def views() -> Views:
    random = torch.Generator().manual_seed(0)
    return [torch.rand(40, *shape, generator=random) for shape in SHAPES]


def make(kind: type[Clusterer], **settings: object) -> Clusterer:
    torch.manual_seed(0)
    return kind(SHAPES, num_clusters=3, **settings)


class TestAECoDDC:
    def test_adds_reconstruction_to_an_alignment_of_fixed_weight(self, views: Views) -> None:
        clusterer, comvc = make(AECoDDC), make(CoMVC)
        output = clusterer(views)
        terms = clusterer.losses(views, output)
        theirs = comvc.losses(views, output)
        smallest_weight = 0.5
        torch.testing.assert_close(terms["contrastive"] * smallest_weight, theirs["contrastive"])
        assert set(terms) == {*theirs, "reconstruction"}
        errors = [
            (view - decode(latent)).square().mean()
            for view, decode, latent in zip(views, clusterer.decoders, output.latents, strict=True)
        ]
        torch.testing.assert_close(terms["reconstruction"], sum(errors))

    def test_pretraining_has_no_ddc_loss(self, views: Views) -> None:
        first, second = make(AECoDDC).stages()
        assert set(first.losses(views, make(AECoDDC)(views))) == {"contrastive", "reconstruction"}
        assert (first.epochs, first.has_clusters) == (20, False)
        assert (second.epochs, second.has_clusters) == (None, True)


class TestInfoDDC:
    def test_latents_are_distributions(self, views: Views) -> None:
        for latent in make(InfoDDC)(views).latents:
            torch.testing.assert_close(latent.sum(1), torch.ones(40))
            assert (latent >= 0).all()

    @pytest.mark.parametrize("self_pairs", [False, True])
    def test_alignment_alone_first_and_a_tenth_of_it_later(self, self_pairs: bool, views: Views) -> None:
        clusterer = make(InfoDDC, self_pairs=self_pairs)
        output = clusterer(views)
        alignment = mutual_information_alignment(output.latents, 9.0, self_pairs)
        pretraining, clustering = (stage.losses(views, output) for stage in clusterer.stages())
        torch.testing.assert_close(pretraining, {"alignment": alignment})
        torch.testing.assert_close(clustering["alignment"], 0.1 * alignment)
        assert set(clustering) == {*make(SiMVC).losses(views, output), "alignment"}


class TestEAMC:
    def test_each_optimiser_has_its_parts_rates_and_betas(self) -> None:
        discriminators, clusterer = make(EAMC).optimizers()
        assert dict(discriminators.parts) == {"discriminators": 1e-3}
        assert discriminators.betas == (0.5, 0.999)
        assert dict(clusterer.parts) == {"encoders": None, "head": None, "attention": 1e-4}
        assert clusterer.betas == (0.95, 0.999)
        assert EAMC.usual_learning_rate == 1e-5

    def test_discriminators_get_no_gradient_to_the_encoders(self, views: Views) -> None:
        clusterer = make(EAMC)
        clusterer.discriminator_losses(views, clusterer(views))["discriminator"].backward()
        assert all(parameter.grad is None for parameter in clusterer.encoders.parameters())
        assert all(parameter.grad is not None for parameter in clusterer.discriminators.parameters())

    def test_orthogonality_is_over_clusters(self, views: Views) -> None:
        clusterer = make(EAMC)
        output = clusterer(views)
        products = output.assignments.T @ output.assignments
        expected = products.triu(1).sum() * 2 / (3 * 2)
        torch.testing.assert_close(clusterer.losses(views, output)["ddc_orthogonality"], expected)

    def test_attack_leaves_running_weights_alone(self, views: Views) -> None:
        from ar_dmvc.attacks import PGD

        clusterer = make(EAMC).train()
        before = clusterer.attention.running_weights.clone()
        PGD("attack_distance", 0.1, steps=2)(clusterer, views)
        assert torch.equal(clusterer.attention.running_weights, before)
        clusterer(views)
        assert not torch.equal(clusterer.attention.running_weights, before)


class TestMultiVAE:
    def test_capacities_grow_linearly_with_the_step_and_survive_saving(self) -> None:
        clusterer = make(MultiVAE, capacity_steps=4)
        shares = []
        for _ in range(6):
            shares.append(clusterer.capacity_share())
            clusterer.after_step()
        assert shares == [0, 0.25, 0.5, 0.75, 1, 1]
        resumed = make(MultiVAE, capacity_steps=12)
        resumed.load_state_dict(clusterer.state_dict())
        assert resumed.capacity_share() == 0.5

    def test_capacity_shapes_the_loss(self, views: Views) -> None:
        clusterer = make(MultiVAE, capacity_steps=1)
        before = clusterer.losses(views, clusterer(views))
        clusterer.after_step()
        after = clusterer.losses(views, clusterer(views))
        assert after["continuous"] > before["continuous"]
        assert after["discrete"] > before["discrete"]

    def test_codes(self, views: Views) -> None:
        output = make(MultiVAE)(views)
        assert output.hidden.shape == (40, 3)
        torch.testing.assert_close(output.hidden.sum(1), torch.ones(40))
        discrete, *means = output.fused.split([3, 10, 10], 1)
        assert torch.equal(discrete, torch.eye(3)[output.hidden.argmax(1)])
        for latent, mean in zip(output.latents, means, strict=True):
            assert torch.equal(latent, mean)

    def test_codes_drawn_repeat_with_the_step_and_leave_global_random_state_alone(self, views: Views) -> None:
        clusterer = make(MultiVAE)
        output = clusterer(views)
        before = torch.get_rng_state()
        first = clusterer.losses(views, output)["reconstruction"]
        assert torch.equal(torch.get_rng_state(), before)
        clusterer.after_step()
        assert clusterer.losses(views, output)["reconstruction"] != first
        again = make(MultiVAE)
        assert again.losses(views, again(views))["reconstruction"] == first

    def test_clusters_are_those_of_k_means_on_all_codes(self, views: Views) -> None:
        clusterer = make(MultiVAE).eval()
        with torch.no_grad():
            clusterer.fit_clusters([[view[:30] for view in views], [view[30:] for view in views]], final=True)
            output = clusterer(views)
        k_means = KMeans(3, n_init=10, random_state=0).fit(output.fused.numpy())
        assert output.assignments.argmax(1).tolist() == k_means.labels_.tolist()


class TestSEM:
    def test_rounds_measure_restart_and_follow_pretraining(self) -> None:
        clusterer = make(SEM, pretraining_epochs=7, rounds=3, round_epochs=5)
        stages = clusterer.stages()
        assert [stage.name for stage in stages] == ["pretraining", "round 1", "round 2", "round 3"]
        assert [stage.epochs for stage in stages] == [7, 5, 5, None]
        assert [stage.restart_every_epoch for stage in stages] == [False, True, True, True]
        assert [stage.prepare for stage in stages] == [
            None,
            clusterer.weigh_representations,
            clusterer.weigh_latents,
            clusterer.weigh_latents,
        ]

    def test_all_ordered_pairs_count_with_their_weights(self, views: Views) -> None:
        clusterer = make(SEM)
        clusterer.weights.copy_(torch.tensor([[0.5, 2.0], [2.0, 1.5]]))
        output = clusterer(views)
        expected = sum(
            clusterer.weights[u, v] * info_nce(output.latents[u], output.latents[v]) for u in range(2) for v in range(2)
        )
        torch.testing.assert_close(clusterer.losses(views, output)["contrastive"], expected)

    @pytest.mark.parametrize("contrastive", ["info_nce", "spectral", "robust"])
    @pytest.mark.parametrize("noise", ["none", "gaussian", "mask"])
    def test_every_contrastive_loss_and_noise_trains(self, contrastive: str, noise: str, views: Views) -> None:
        clusterer = make(SEM, contrastive=contrastive, noise=noise)
        terms = clusterer.losses(views, clusterer(views))
        sum(terms.values()).backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in clusterer.parameters())

    def test_noise_disturbs_what_is_encoded_not_what_is_reproduced(self, views: Views) -> None:
        clusterer = make(SEM, noise="mask")
        error = clusterer.losses(views, clusterer(views))["reconstruction"]
        same_draws = make(SEM).noise
        expected = 0.0
        for view, encode, decode in zip(views, clusterer.encoders, clusterer.decoders, strict=True):
            kept = same_draws.uniform(view) >= 0.3
            assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.1)
            expected += (view - decode(encode(view * kept))).square().mean()
        torch.testing.assert_close(error, expected)

    def test_mutual_information_of_k_means_labels_weighs_pairs(self, views: Views) -> None:
        clusterer = make(SEM, starts=3).eval()
        with torch.no_grad():
            clusterer.weigh_latents([views])
            labels = [KMeans(3, n_init=3, random_state=0).fit(z.numpy()).labels_ for z in clusterer(views).latents]
        expected = math.exp(normalized_mutual_info_score(*labels)) - 1
        assert float(clusterer.weights[0, 1]) == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(clusterer.weights.diagonal(), torch.full((2,), math.e - 1))
        assert torch.equal(clusterer.weights, clusterer.weights.T)

    @pytest.mark.parametrize(("agreement", "of_equals"), [("jensen_shannon", math.e - 1), ("mean_discrepancy", 1.0)])
    def test_other_agreements_are_highest_for_equal_views(self, agreement: str, of_equals: float, views: Views) -> None:
        clusterer = make(SEM, agreement=agreement).eval()
        with torch.no_grad():
            clusterer.weigh_representations([views])
        torch.testing.assert_close(clusterer.weights.diagonal(), torch.full((2,), of_equals))
        assert 0 < clusterer.weights[0, 1] < of_equals

    def test_weights_do_not_depend_on_the_batches(self, views: Views) -> None:
        one, other = make(SEM, agreement="mean_discrepancy").eval(), make(SEM, agreement="mean_discrepancy").eval()
        with torch.no_grad():
            one.weigh_representations([views])
            other.weigh_representations([[view[:15] for view in views], [view[15:] for view in views]])
        torch.testing.assert_close(one.weights, other.weights)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AECoDDC, {"reconstruction_weight": -1.0}, "reconstruction_weight"),
        (AECoDDC, {"temperature": 0.0}, "temperature must be positive"),
        (InfoDDC, {"pretraining_epochs": -1}, "pretraining_epochs must be at least 0"),
        (EAMC, {"attention_learning_rate": 0.0}, "attention_learning_rate"),
        (EAMC, {"generator_weight": float("nan")}, "generator_weight must be at least 0"),
        (MultiVAE, {"capacity_steps": 0}, "capacity_steps must be positive"),
        (MultiVAE, {"continuous_weight": -1.0}, "continuous_weight"),
        (MultiVAE, {"starts": 0}, "starts must be at least 1"),
        (SEM, {"noise": "loud"}, "noise: 'loud' is not one of none, gaussian, mask"),
        (SEM, {"rounds": 0}, "rounds"),
    ],
)
def test_settings_out_of_range_are_said(kind: type[Clusterer], settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, **settings)
