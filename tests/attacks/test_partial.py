"""Attacks with less in hand: decisions alone, other clusterers, one perturbation for all, a part of views or samples."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ar_dmvc.attacks import (
    APGD,
    L2,
    PGD,
    Attack,
    Ensemble,
    RayS,
    Square,
    Target,
    ThreatModel,
    Transfer,
    UniformNoise,
    Universal,
)
from ar_dmvc.clusterers import ClustererOutput, CoMVC, SiMVC
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.recorded import recorded_settings
from tests.conftest import ONE_BATCH, Outcome, fit_arguments
from tests.toys import Linear

Views = tuple[Tensor, ...]
EPSILON = 0.1


def _joined(views: Views) -> Tensor:
    return torch.cat([view.flatten(1) for view in views], 1)


def clusters(clusterer: nn.Module, views: Views) -> Tensor:
    return clusterer(views).assignments.argmax(1)


class Threshold(SiMVC):
    """Two clusters, by whether the mean of all values lies above a threshold: nothing but the decision is there to see."""

    def forward(self, views: Views, mask: Tensor | None = None) -> ClustererOutput:
        above = (torch.stack([view.flatten(1).mean(1) for view in views]).mean(0) > 0.40625).long()
        hard = nn.functional.one_hot(above, 2).to(views[0].dtype)
        return ClustererOutput(tuple(view.flatten(1) for view in views), hard, hard, hard)


class Shaky(SiMVC):
    """Two clusters; the second is the likelier the darker a sample, and in each pass by luck as well."""

    is_stochastic = True
    noise = 0.12

    def forward(self, views: Views, mask: Tensor | None = None) -> ClustererOutput:
        brightness = torch.stack([view.flatten(1).mean(1) for view in views]).mean(0)
        luck = self.noise * (2 * torch.rand(brightness.shape, generator=self.generator) - 1)
        second = (0.42 - 2 * (brightness - 0.3) + luck).clamp(0, 1)
        both = torch.stack([1 - second, second], 1)
        return ClustererOutput(tuple(view.flatten(1) for view in views), both, both, both)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("attack", [Square(0.2, queries=1000), RayS(0.2, queries=1000)], ids=["Square", "RayS"])
def test_luck_in_one_pass_does_not_end_a_search(attack: Attack, training: bool) -> None:
    clusterer = Shaky([(16,)] * 2, 2).train(training)
    clusterer.generator = torch.Generator().manual_seed(0)
    views = tuple(torch.full((20, 16), 0.3) for _ in range(2))
    attacked = attack.against(Target(clusterer, clean=clusterer(views)._replace(assignments=torch.eye(2)[[0] * 20])), views)
    clusterer.noise = 0.0
    assert clusterer(attacked).assignments[:, 1].mean() > 0.48


class TestRayS:
    @pytest.mark.parametrize("shape", [(1, 8, 8), (16,)], ids=["images", "features"])
    def test_finds_the_smallest_change_by_decisions_alone(self, shape: tuple[int, ...]) -> None:
        clusterer = Threshold([shape] * 2, 2).eval()
        views = tuple(torch.full((3, *shape), 0.3) for _ in range(2))  # all values have to rise by 0.10625
        views[0][1] = 0.25  # of this one by 0.13125
        views[0][2] = 0.5  # and this one by 0.00625
        own = clusters(clusterer, views)
        moved = clusters(clusterer, RayS(0.11, queries=300)(clusterer, views)) != own
        assert moved.tolist() == [True, False, True]
        assert not (clusters(clusterer, RayS(0.005, queries=300)(clusterer, views)) != own).any()

    def test_searches_signs(self) -> None:
        clusterer, generator = Linear([(6,)] * 2, 4).eval(), torch.Generator().manual_seed(1)
        views = tuple(torch.rand(40, 6, generator=generator) for _ in range(2))
        own = clusters(clusterer, views)
        numbers = [int((clusters(clusterer, RayS(0.1, queries)(clusterer, views)) != own).sum()) for queries in (1, 40, 200)]
        assert numbers[0] < numbers[1] <= numbers[2]

    def test_stops_at_its_queries_and_where_a_sample_has_moved(self, small_clusterer: CoMVC, small_views: Views) -> None:
        target = Target(small_clusterer.eval())
        attacked = RayS(EPSILON, queries=30).against(target, small_views)
        moved = clusters(small_clusterer, attacked) != clusters(small_clusterer, small_views)
        assert target.queries is not None
        assert target.queries.max() == 30
        assert (target.queries[~moved] == 30).all()

    def test_needs_corners(self) -> None:
        for kind in (RayS, Square):
            with pytest.raises(ValueError, match="norm must be linf"):
                kind(norm="l2")


class TestTransfer:
    def test_a_checkpoint_whose_suite_has_one_is_tested_without_it_and_says_so(
        self, victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path
    ) -> None:
        few = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
        assert ardmvc(*fit_arguments("victims/comvc.yaml"), "--model.attacks={}", "--trainer.logger.name=none", *few).code == 0
        none = recorded_settings(tmp_path / "runs/none/version_0/checkpoints/last.ckpt")
        assert none["model"]["init_args"]["attacks"] == {}
        assert none["data"]["init_args"]["num_clusters"] == 10
        suite = {"far": {"class_path": "Transfer", "init_args": {"surrogates": str(victim)}}, "near": {"class_path": "FGSM"}}
        outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), f"--model.attacks={json.dumps(suite)}", *few)
        assert outcome.code == 0, outcome.err
        outcome = ardmvc("test", f"--ckpt_path={tmp_path}/runs/comvc/version_0/checkpoints/last.ckpt", *ONE_BATCH)
        assert outcome.code == 0, outcome.err
        assert "the attack 'far' is left out, because it names other checkpoints" in outcome.err
        assert "near" in outcome.out

    def test_never_asks_whom_it_attacks(self, small_clusterer: CoMVC, small_views: Views) -> None:
        surrogate = SiMVC([(1, 8, 8)] * 2, 7)
        target = Target(small_clusterer.eval())
        attacked = Transfer(surrogate, APGD(steps=5), EPSILON).against(target, small_views)
        assert target.passes == 0
        assert surrogate.training  # whoever gave it finds it as it was
        assert all(parameter.requires_grad for parameter in surrogate.parameters())
        surrogate.eval()
        for expected, view in zip(APGD(epsilon=EPSILON, steps=5)(surrogate, small_views), attacked, strict=True):
            assert torch.equal(expected, view)

    def test_several_surrogates_are_misled_at_once(self, small_views: Views) -> None:
        torch.manual_seed(0)
        surrogates = [SiMVC([(1, 8, 8)] * 2, clusters).eval() for clusters in (4, 6)]
        attack = PGD("cross_entropy", EPSILON, steps=1)
        start = attack.random_start(small_views)
        mean = Transfer(surrogates, attack, EPSILON)(surrogates[0], small_views, start)
        variables = tuple((view + change).requires_grad_() for view, change in zip(small_views, start, strict=True))
        values = [attack.objective.terms(surrogate(small_views), surrogate(variables)).sum() for surrogate in surrogates]
        gradients = torch.autograd.grad(sum(values), variables)
        step = [change + EPSILON / 4 * gradient.sign() for change, gradient in zip(start, gradients, strict=True)]
        threat = ThreatModel(EPSILON)
        for view, expected in zip(mean, threat.move(small_views, threat.clip(step)), strict=True):
            torch.testing.assert_close(view, expected)

    def test_takes_checkpoints(self, victim: Path, small_clusterer: CoMVC, small_views: Views) -> None:
        attack = Transfer([str(victim), victim], epsilon=EPSILON)
        attack.check_views([(1, 8, 8)] * 2)
        assert attack.why_not(small_clusterer) == ""
        attack(small_clusterer.eval(), small_views)

    def test_an_ensemble_transfers_with_the_budget_that_it_is_given(self, small_views: Views) -> None:
        surrogate = SiMVC([(1, 8, 8)] * 2, 3).eval()
        attacked = Transfer(surrogate, Ensemble(), EPSILON)(surrogate, small_views)
        assert (ThreatModel(EPSILON).sizes(small_views, attacked) <= EPSILON).all()

    def test_its_explicit_steps_grow_with_the_budget(self, small_views: Views) -> None:
        surrogate = SiMVC([(1, 8, 8)] * 2, 3).eval()
        grown = Transfer(surrogate, PGD("margin", step_size=0.02), 0.1).with_budget(0.05)
        expected = PGD("margin", 0.05, 0.01)(surrogate, small_views)
        for view, other in zip(grown(surrogate, small_views), expected, strict=True):
            assert torch.equal(view, other)

    def test_what_cannot_be_is_said(self) -> None:
        surrogate = SiMVC([(1, 8, 8)] * 2, 4)
        with pytest.raises(ConfigurationError, match=r"surrogate SiMVC takes views of shapes .*, not \(\(5,\),\)"):
            Transfer(surrogate).check_views([(5,)])
        with pytest.raises(ValueError, match="of several an attack that ascends a gradient"):
            Transfer([surrogate, surrogate], Square())
        with pytest.raises(ConfigurationError, match="needs a contrastive loss"):
            Transfer(surrogate, PGD("contrastive_alignment"))


class TestUniversal:
    def fitted(self, clusterer: SiMVC, views: Views, epochs: int = 10) -> Universal:
        attack = Universal(epsilon=EPSILON, epochs=epochs)
        attack.fit(Target(clusterer.eval()), [(views, None)], attack.threat)
        return attack

    def test_is_one_perturbation_for_samples_it_never_saw(self, small_clusterer: CoMVC, small_views: Views) -> None:
        attack = self.fitted(small_clusterer, tuple(view[:6] for view in small_views))
        unseen = tuple(view[6:] / 2 + 0.25 for view in small_views)  # away from the box, which would clip some
        changes = [new - old for new, old in zip(attack(small_clusterer, unseen), unseen, strict=True)]
        for change in changes:
            torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-6, rtol=0)

    def test_moves_samples_that_it_never_saw(self) -> None:
        clusterer, generator = Linear([(30,)] * 2, 4).eval(), torch.Generator().manual_seed(1)
        seen, unseen = ([torch.rand(60, 30, generator=generator) for _ in range(2)] for _ in range(2))
        own = clusters(clusterer, unseen)
        moved = [
            int((clusters(clusterer, attack(clusterer, unseen)) != own).sum())
            for attack in (UniformNoise(EPSILON), self.fitted(clusterer, seen))
        ]
        assert moved[1] > 2 * moved[0] > 0

    def test_before_it_has_learned_it_says_so(self, small_clusterer: CoMVC, small_views: Views) -> None:
        with pytest.raises(ConfigurationError, match="has learned nothing yet: fit it first"):
            Universal(epsilon=EPSILON)(small_clusterer, small_views)
        with pytest.raises(ValueError, match="has to learn first"):
            Ensemble({"one": Universal()})
        with pytest.raises(ConfigurationError, match="what it learned is not of views"):
            self.fitted(small_clusterer, small_views).check_views([(5,)])


@pytest.mark.parametrize("objective", ["contrastive_alignment", "structure"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in an ensemble"])
def test_what_couples_samples_meets_them_all(objective: str, wrapped: bool, small_clusterer: CoMVC, small_views: Views) -> None:
    attack: Attack = APGD(objective, EPSILON, 5)
    attack = Ensemble({"one": attack}, EPSILON) if wrapped else attack
    target = Target(small_clusterer.eval())
    target.watched = True
    last = torch.tensor([len(small_views[0]) - 1])
    attacked = attack.against(target, small_views, samples=last)
    assert target.signs.samples >= len(small_views[0])
    assert target.signs.flat == 0
    for view, other in zip(small_views, attacked, strict=True):
        assert torch.equal(view[:-1], other[:-1])
        assert not torch.equal(view[-1], other[-1])


class TestReach:
    @pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
    @pytest.mark.parametrize("attack", [UniformNoise(EPSILON, share=0.25), APGD("margin", EPSILON, 3, share=0.25)])
    def test_a_share_of_the_samples(self, attack: Attack, small_clusterer: CoMVC, small_views: Views, training: bool) -> None:
        changed = []
        for position in (0, 0, 1):
            attack.reseed(position)
            attacked = attack(small_clusterer.train(training), small_views)
            different = [(new != old).flatten(1).any(1) for new, old in zip(attacked, small_views, strict=True)]
            assert torch.equal(different[0], different[1])
            changed.append(different[0])
        assert [int(part.sum()) for part in changed] == [3, 3, 3]
        assert torch.equal(changed[0], changed[1])
        assert not torch.equal(changed[0], changed[2])

    def test_samples_left_alone_are_not_queried(self, small_clusterer: CoMVC, small_views: Views) -> None:
        target = Target(small_clusterer.eval())
        PGD("margin", EPSILON, steps=3, share=0.5).against(target, small_views)
        assert target.queries is not None
        assert sorted(target.queries.tolist()) == [0] * 6 + [3] * 6

    def test_one_budget_over_all_views(self, small_clusterer: CoMVC, small_views: Views) -> None:
        for attack in (APGD("margin", 0.5, 10, norm="l2", joint=True), UniformNoise(0.5, norm="l2", joint=True)):
            attacked = attack(small_clusterer.eval(), small_views)
            changes = torch.cat(
                [(new.double() - old.double()).flatten(1) for new, old in zip(attacked, small_views, strict=True)], 1
            )
            lengths = L2().size(changes)
            assert (lengths <= 0.5).all()
            assert (lengths > 0.3).all()
            torch.testing.assert_close(attack.threat.sizes(small_views, attacked), lengths)

    def test_none_of_a_joint_budget_is_spent_on_views_that_are_missing(self, small_views: Views) -> None:
        mask = torch.tensor([[True, True], [True, False], [False, True]] * 4)
        noise = UniformNoise(0.5, norm="l2", joint=True)
        start, threat = noise.random_start(small_views), noise.threat
        there = threat.of_present(start, mask)
        torch.testing.assert_close(L2().size(_joined(there)), L2().size(_joined(start)))
        for change, present in zip(there, mask.unbind(1), strict=True):
            assert not change[~present].any()
        for change, other in zip(there, start, strict=True):
            torch.testing.assert_close(change[::3], other[::3])
        assert threat.of_present(start, None) == start

    def test_a_joint_budget_and_single_views_go_together(self, small_clusterer: CoMVC, small_views: Views) -> None:
        attacked = APGD("margin", 0.5, 5, norm="l2", joint=True, views=[1])(small_clusterer.eval(), small_views)
        alone = APGD("margin", 0.5, 5, norm="l2", views=[1])(small_clusterer, small_views)
        assert torch.equal(attacked[0], small_views[0])
        assert torch.equal(attacked[1], alone[1])

    def test_a_share_is_one(self) -> None:
        with pytest.raises(ValueError, match="share must be in"):
            PGD(share=0.0)


def test_the_mean_over_passes_points_where_a_single_one_of_a_random_clusterer_does_not(small_views: Views) -> None:
    """Expectation over transformations, against an output with noise that a generator of its own draws."""

    class Noisy(SiMVC):
        def forward(self, views: Views, mask: Tensor | None = None) -> ClustererOutput:
            generator = torch.Generator().manual_seed(self.passes)
            self.passes += 1
            noise = [torch.randn(view.shape, generator=generator) for view in views]
            return super().forward(tuple(view + 0.5 * one for view, one in zip(views, noise, strict=True)), mask)

    torch.manual_seed(0)
    noisy = Noisy([(1, 8, 8)] * 2, 4).eval()
    noisy.passes = 0
    target = Target(noisy)
    target.clean(small_views)

    def gradient(expectation: int) -> Tensor:
        attack = PGD("cross_entropy", EPSILON, expectation=expectation)
        return torch.cat([part.flatten() for part in attack.gradients(target, small_views, small_views)[1]])

    def agreement(expectation: int) -> Tensor:
        return torch.cosine_similarity(gradient(expectation), gradient(expectation), 0)

    assert agreement(30) > agreement(1) + 0.2
