"""Adaptive and black-box attacks, norms and objectives beyond the published ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ar_dmvc.attacks import (
    APGD,
    L2,
    MIFGSM,
    OBJECTIVES,
    PGD,
    AdaptiveStep,
    Ensemble,
    Margin,
    MomentumStep,
    Objective,
    Square,
    Target,
    TargetedAPGD,
    ThreatModel,
    UniformNoise,
)
from ar_dmvc.attacks.adaptive import checkpoints
from ar_dmvc.attacks.rules import SteepestStep
from ar_dmvc.clusterers import ClustererOutput, CoMVC, SiMVC
from ar_dmvc.errors import ConfigurationError
from tests.toys import Linear, Unmoved

Views = tuple[Tensor, ...]
EPSILON = 0.1


def output(assignments: list[list[float]]) -> ClustererOutput:
    soft = torch.tensor(assignments, dtype=torch.float64)
    return ClustererOutput((soft,), soft, soft, soft)


class TestObjectives:
    CLEAN = ((0.7, 0.2, 0.1), (0.1, 0.1, 0.8))
    ATTACKED = ((0.3, 0.6, 0.1), (0.2, 0.1, 0.7))

    def terms(self, objective: Objective) -> Tensor:
        return objective.terms(output(self.CLEAN), output(self.ATTACKED))

    def test_cross_entropy(self) -> None:
        expected = -torch.tensor([0.3, 0.7], dtype=torch.float64).log()
        torch.testing.assert_close(self.terms(OBJECTIVES["cross_entropy"]), expected)

    def test_margin_is_the_ratio_of_differences_whatever_their_scale(self) -> None:
        logits = torch.tensor(self.ATTACKED, dtype=torch.float64).log()
        expected = torch.stack(
            [
                (logits[0, 1] - logits[0, 0]) / (logits[0, 1] - logits[0, 2]),
                (logits[1, 0] - logits[1, 2]) / (logits[1, 2] - logits[1, 1]),
            ]
        )
        torch.testing.assert_close(self.terms(OBJECTIVES["margin"]), expected)
        sharper = output((3 * logits).softmax(1).tolist())
        torch.testing.assert_close(OBJECTIVES["margin"].terms(output(self.CLEAN), sharper), expected)

    def test_margin_towards_a_cluster_grows_with_it(self) -> None:
        clean = output([[0.5, 0.3, 0.15, 0.05]])
        towards = [Margin(rank).terms(clean, output([[0.1, 0.1, 0.7, 0.1]])) for rank in (1, 2, 3)]
        assert towards[1] > 0 > max(towards[0], towards[2]) - 1e-9

    @pytest.mark.parametrize("clusters", [2, 3, 10])
    def test_margin_is_positive_where_a_sample_has_moved(self, clusters: int) -> None:
        generator = torch.Generator().manual_seed(0)
        clean, attacked = (torch.rand(50, clusters, generator=generator, dtype=torch.float64).softmax(1) for _ in range(2))
        values = OBJECTIVES["margin"].terms(output(clean.tolist()), output(attacked.tolist()))
        assert torch.equal(values > 0, clean.argmax(1) != attacked.argmax(1))

    def test_structure_of_certain_assignments_is_one_minus_the_rand_index(self) -> None:
        from sklearn.metrics import rand_score

        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(0, 4, (2, 30), generator=generator)
        one, other = (torch.nn.functional.one_hot(row, 4).double().tolist() for row in labels)
        value = OBJECTIVES["structure"].terms(output(one), output(other)).mean()
        assert float(value) == pytest.approx(1 - rand_score(labels[0], labels[1]))

    def test_the_two_parts_add_up_to_the_attack_distance(self) -> None:
        whole, *parts = (self.terms(OBJECTIVES[name]) for name in ("attack_distance", "consistency", "complementarity"))
        torch.testing.assert_close(parts[0] + parts[1], whole)

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_each_says_whether_its_gradient_vanishes_at_the_clean_views(
        self, name: str, small_clusterer: CoMVC, small_views: Views
    ) -> None:
        clusterer = small_clusterer.double().eval()
        views = tuple(view.double().requires_grad_() for view in small_views)
        clean = clusterer([view.detach() for view in views])
        terms = OBJECTIVES[name].terms(clean.detached(), clusterer(views))
        largest = max(float(gradient.abs().max()) for gradient in torch.autograd.grad(terms.sum(), views))
        assert (largest < 1e-6) == OBJECTIVES[name].vanishes_at_clean, largest


def test_the_best_point_is_in_the_box(small_clusterer: CoMVC, small_views: Views) -> None:
    views = tuple(view.round() for view in small_views)
    for attack in (APGD("margin", 0.3, steps=2), PGD("margin", 0.3, steps=1, keep_best=True)):
        generator = torch.Generator().manual_seed(0)
        attacked = attack.run(Target(small_clusterer.eval()), views, attack.threat, generator)
        assert all(view.min() >= -1e-6 and view.max() <= 1 + 1e-6 for view in attacked)


class TestAdaptiveStep:
    def test_looks_back_where_it_was_published_to(self) -> None:
        assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]

    def test_climbs_higher_than_steps_of_one_size(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        clean = small_clusterer(small_views)
        values = [
            OBJECTIVES["cross_entropy"].terms(clean, small_clusterer(attack(small_clusterer, small_views))).mean()
            for attack in (PGD("cross_entropy", EPSILON, steps=30), APGD("cross_entropy", EPSILON, steps=30))
        ]
        assert values[1] > values[0]

    def test_finds_the_top_of_a_hill_within_the_budget(self) -> None:
        threat = ThreatModel(0.3)
        view, top = torch.full((4, 5), 0.5), torch.full((4, 5), 0.613)
        ascent = AdaptiveStep().begin(threat, [view], 100)
        change = (torch.zeros(4, 5),)
        for _ in range(100):
            place = view + change[0]
            change = ascent.move(change, [top - place], -(top - place).square().sum(1))
        torch.testing.assert_close(view + ascent.best[0], top, rtol=0, atol=2e-3)

    def test_order_of_samples_does_not_matter(self, small_clusterer: CoMVC, small_views: Views) -> None:
        clusterer = small_clusterer.double().eval()
        views = tuple(view.double() for view in small_views)
        attack, order = APGD("margin", EPSILON, steps=12), torch.arange(11, -1, -1)
        start = attack.random_start(views)
        plain = attack(clusterer, views, start)
        turned = attack(clusterer, [view[order] for view in views], [change[order] for change in start])
        for one, other in zip(plain, turned, strict=True):
            torch.testing.assert_close(one[order], other)


def test_momentum_goes_where_gradients_have_pointed() -> None:
    threat = ThreatModel(0.5)
    view = torch.full((2, 3), 0.5)
    ascent = MomentumStep(step_size=0.1).begin(threat, [view], 5)
    first = ascent.move([torch.zeros(2, 3)], [torch.ones(2, 3)], torch.zeros(2))
    against = ascent.move(first, [-0.5 * torch.ones(2, 3)], torch.zeros(2))  # of mean one, as the first: they cancel
    torch.testing.assert_close(against[0], first[0])


class TestNorms:
    @given(st.floats(1e-3, 3), st.integers(0, 10**6))
    def test_l2_is_kept_exactly(self, epsilon: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        views = [torch.rand(6, 1, 4, 4, generator=generator), torch.rand(6, 5, generator=generator)]
        attacked = [view + 3 * torch.randn(view.shape, generator=generator) for view in views]
        threat = ThreatModel(epsilon, L2())
        for kept in (
            threat.project(views, attacked),
            threat.project(views, threat.move(views, threat.random_start(views, generator))),
        ):
            assert (threat.sizes(views, kept) <= epsilon).all()
            assert all(view.min() >= 0 and view.max() <= 1 for view in kept)

    def test_l2_steps_have_length_one(self) -> None:
        gradient = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(L2().size(L2().steepest(gradient)), torch.ones(4))
        assert not L2().steepest(torch.zeros(2, 3)).any()

    @pytest.mark.parametrize(
        "attack", [PGD("margin", 0.5, norm="l2"), APGD("margin", 0.5, 20, norm="l2"), UniformNoise(0.5, norm="l2")]
    )
    def test_attacks_use_the_norm_they_are_given(self, attack: PGD, small_clusterer: CoMVC, small_views: Views) -> None:
        attacked = attack(small_clusterer.eval(), small_views)
        sizes = ThreatModel(0.5, L2()).sizes(small_views, attacked)
        assert (sizes <= 0.5).all()
        assert (sizes > 0.25).all()

    def test_only_the_views_that_are_named_change(self, small_clusterer: CoMVC, small_views: Views) -> None:
        for attack in (APGD("margin", EPSILON, 5, views=[1]), Square(EPSILON, 20, views=[1]), UniformNoise(EPSILON, views=[1])):
            attacked = attack(small_clusterer.eval(), small_views)
            assert torch.equal(attacked[0], small_views[0])
            assert not torch.equal(attacked[1], small_views[1])

    def test_what_cannot_be_is_said(self, small_clusterer: CoMVC) -> None:
        with pytest.raises(ValueError, match="'l3' is not one of linf, l2"):
            PGD(norm="l3")
        with pytest.raises(ConfigurationError, match="norm l2 needs an epsilon of its own"):
            PGD(norm="l2").with_default_budget(0.1)
        with pytest.raises(ConfigurationError, match=r"views \[2\]: there are 0 to 1"):
            PGD(views=[2]).check_views([(1, 8, 8)] * 2)
        with pytest.raises(ConfigurationError, match="rank 4 is beyond the 3 other clusters"):
            APGD(Margin(4)).check_clusterer(small_clusterer)
        with pytest.raises(ValueError, match="MIFGSM needs random_start"):
            MIFGSM("attack_distance")


class TestTargetedAPGD:
    def test_goes_on_where_it_came_closest(self) -> None:
        """Towards all targets, then the best of them: as strong as long ascents towards all, here by a straight way."""
        clusterer, generator = Linear([(30,)] * 2, 4).eval(), torch.Generator().manual_seed(2)
        views = tuple(torch.rand(80, 30, generator=generator) for _ in range(2))
        own = clusterer(views).assignments.argmax(1)
        epsilon = 0.03
        towards = [
            clusterer(APGD(Margin(rank), epsilon, 60)(clusterer, views)).assignments.argmax(1) != own for rank in (1, 2, 3)
        ]
        target = Target(clusterer)
        attack = TargetedAPGD(epsilon, targets=3, steps=40)
        moved = clusterer(attack.against(target, views)).assignments.argmax(1) != own
        assert 0 < moved.sum() < 80
        assert (moved >= torch.stack(towards).any(0)).float().mean() > 0.98
        assert target.passes == 3 * (13 + 2) + (40 + 2)

    def test_each_round_has_a_third_of_the_targets_and_three_times_the_steps(self) -> None:
        assert TargetedAPGD().rounds(9) == [(9, 10), (3, 30), (1, 90)]
        assert TargetedAPGD().rounds(4) == [(4, 10), (3, 30), (1, 90)]
        assert TargetedAPGD().rounds(1) == [(1, 90)]

    def test_has_fewer_targets_where_there_are_fewer_clusters(self) -> None:
        clusterer = SiMVC([(5,)] * 2, 2).eval()
        target = Target(clusterer)
        TargetedAPGD(EPSILON, steps=1).against(target, [torch.rand(3, 5)] * 2)
        assert target.passes == 1 + 2

    def test_values_out_of_range_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be at least 1, got 9 and 0"):
            TargetedAPGD(steps=0)


class TestSquare:
    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 9), (20,)], ids=["grey", "colour", "features"])
    def test_never_lowers_a_margin_and_counts_its_queries(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        clusterer = SiMVC([shape] * 2, 4).eval()
        views = tuple(torch.rand(9, *shape) for _ in range(2))
        target, margins = Target(clusterer), []
        for queries in (1, 10, 100):
            target = Target(clusterer)
            attacked = Square(EPSILON, queries).against(target, views)
            margins.append(OBJECTIVES["margin"].terms(target.clean(views), clusterer(attacked)) > 0)
            assert target.queries.max() <= queries
        assert (margins[1] >= margins[0]).all()
        assert (margins[2] >= margins[1]).all()
        assert not any(parameter.grad is not None for parameter in clusterer.parameters())

    def test_is_as_strong_on_assignments_that_are_nearly_certain(self) -> None:
        clusterer, views = Linear([(20,)] * 2, 4).eval(), tuple(torch.rand(9, 20, dtype=torch.float64) for _ in range(2))
        attacked = Square(EPSILON, 50)(clusterer, views)
        clusterer.scale = 60.0
        assert (clusterer(views).assignments.float().amax(1) == 1).any()
        for view, other in zip(attacked, Square(EPSILON, 50)(clusterer, views), strict=True):
            assert torch.equal(view, other)

    def test_gives_up_where_it_moves_no_more(self) -> None:
        clusterer = Unmoved([(10,)] * 2, 4).eval()
        views = [torch.rand(5, 10)] * 2
        for patience, queries in ((None, 60), (20, 20)):
            target = Target(clusterer)
            Square(EPSILON, 60, patience=patience).against(target, views)
            assert target.queries.tolist() == [queries] * 5


class TestEnsemble:
    def test_one_of_which_nothing_applies_is_refused(self) -> None:
        clusterer = SiMVC([(1, 8, 8)] * 2, 4)
        with pytest.raises(ConfigurationError, match="none of the ensemble's attacks applies"):
            Ensemble({"one": PGD("contrastive_alignment")}, EPSILON).check_clusterer(clusterer)
        Ensemble({"one": PGD("contrastive_alignment"), "two": Square()}, EPSILON).check_clusterer(clusterer)
        with pytest.raises(ValueError, match="norm, views, joint and share are the ensemble's"):
            Ensemble({"one": PGD("margin", views=[0])}, EPSILON)
        with pytest.raises(ValueError, match="two: Square searches the corners of an L-infinity budget"):
            Ensemble({"one": PGD("margin"), "two": Square()}, 1.0, norm="l2")

    def test_runs_in_half_precision(self, small_clusterer: CoMVC, small_views: Views) -> None:
        views = [view.bfloat16() for view in small_views]
        attacked = Ensemble(self.members(), EPSILON)(small_clusterer.eval().bfloat16(), views)
        assert (ThreatModel(EPSILON).sizes(views, attacked) <= EPSILON).all()

    def test_explicit_steps_of_its_attacks_grow_with_the_budget(self) -> None:
        whole = Ensemble({"own": PGD("margin", 0.2, 0.04), "its": PGD("margin", step_size=0.02)}, 0.1).with_budget(0.05)
        assert whole.attacks is not None
        for attack, step, budget in zip(whole.attacks.values(), (0.02, 0.01), (0.1, 0.05), strict=True):
            assert isinstance(attack, PGD)
            assert isinstance(attack.rule, SteepestStep)
            assert (attack.rule.step_size, attack.budget) == (pytest.approx(step), pytest.approx(budget))
        assert Ensemble({"its": PGD("margin", step_size=0.02)}).with_default_budget(0.1).with_budget(0.05).attacks

    def members(self) -> dict[str, APGD]:
        return {"one": APGD("cross_entropy", steps=5), "other": APGD("margin", steps=15), "square": Square(queries=50)}

    def test_each_sample_meets_the_worst_of_all(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        own = small_clusterer(small_views).assignments.argmax(1)
        epsilon = 0.02
        target = Target(small_clusterer)
        attack = Ensemble(self.members(), epsilon, repeats=0)
        moved = small_clusterer(attack.against(target, small_views)).assignments.argmax(1) != own
        first = small_clusterer(APGD("cross_entropy", epsilon, 5)(small_clusterer, small_views)).assignments.argmax(1) != own
        assert (moved >= first).all()
        assert (target.queries[first] == 5 + 1 + 1).all()  # lost to the first attack, met no other
        assert (target.queries[~moved] == (5 + 2) + (15 + 2) + (50 + 1)).all()

    def test_the_closest_meet_those_with_gradients_again(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        epsilon = 0.01
        once, again = Target(small_clusterer), Target(small_clusterer)
        attacked = Ensemble(self.members(), epsilon, repeats=0).against(once, small_views)
        Ensemble(self.members(), epsilon, repeats=2).against(again, small_views)
        more = again.queries - once.queries
        margins = Margin().terms(small_clusterer(small_views), small_clusterer(attacked))
        expected = torch.zeros(12, dtype=torch.int64)
        expected[margins.topk(2).indices] = 2 * ((5 + 2) + (15 + 2))
        assert (margins < 0).all()
        assert torch.equal(more, expected)

    @pytest.mark.slow
    def test_by_default_it_names_its_attacks_itself(self, small_clusterer: CoMVC, small_views: Views) -> None:
        few = tuple(view[:4] for view in small_views)
        attacked = Ensemble(epsilon=EPSILON)(small_clusterer.eval(), few)
        assert (ThreatModel(EPSILON).sizes(few, attacked) <= EPSILON).all()

    def test_batch_statistics_are_those_of_all_samples(self, small_clusterer: CoMVC, small_views: Views) -> None:
        target = Target(small_clusterer.train())
        Ensemble(self.members(), 0.01).against(target, small_views)
        assert (target.queries == target.queries[0]).all()
