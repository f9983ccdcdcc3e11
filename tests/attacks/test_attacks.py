import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ar_dmvc.attacks import (
    APGD,
    FGSM,
    MIFGSM,
    OBJECTIVES,
    PGD,
    Attack,
    Ensemble,
    GeneratorAttack,
    GradientAttack,
    RayS,
    Square,
    Target,
    TargetedAPGD,
    ThreatModel,
    Transfer,
    UniformNoise,
    attack_distance,
)
from ar_dmvc.attacks.objectives import attack_distance_terms
from ar_dmvc.attacks.threat import NORMS
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import attack_mitigator, contrastive_alignment
from ar_dmvc.networks import Generator
from tests.conftest import load_parts

Arrays = dict[str, torch.Tensor]
Views = tuple[torch.Tensor, ...]
EPSILON = 0.1


def every_attack() -> dict[str, Attack]:
    torch.manual_seed(3)
    attacks: dict[str, Attack] = {
        "noise": UniformNoise(EPSILON),
        "fgsm from the clean views": FGSM("contrastive_alignment", EPSILON, random_start=False),
        "generator": GeneratorAttack(Generator([(1, 8, 8)] * 2), EPSILON),
        "several restarts": PGD("attack_distance", EPSILON, steps=2, restarts=3),
        "adaptive steps": APGD("margin", EPSILON, steps=4),
        "towards other clusters": TargetedAPGD(EPSILON, targets=3, steps=3),
        "momentum": MIFGSM(epsilon=EPSILON, steps=3),
        "expectation": PGD("margin", EPSILON, steps=2, expectation=2),
        "square": Square(EPSILON, queries=10),
        "rays": RayS(EPSILON, queries=20),
        "ensemble": Ensemble({"one": APGD(steps=3), "other": Square(queries=5)}, EPSILON),
        "transfer": Transfer(CoMVC([(1, 8, 8)] * 2, 5), epsilon=EPSILON),
    }
    for name in OBJECTIVES:
        attacks[f"fgsm on {name}"] = FGSM(name, EPSILON)
        attacks[f"pgd on {name}"] = PGD(name, EPSILON, steps=3)
    return attacks


@pytest.fixture(params=list(every_attack()))
def attack(request: pytest.FixtureRequest) -> Attack:
    return every_attack()[request.param]


class TestContract:
    @pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
    def test_clusterer_comes_out_as_it_went_in(
        self, attack: Attack, small_clusterer: CoMVC, small_views: Views, training: bool
    ) -> None:
        small_clusterer.train(training)
        small_clusterer.head.eval()  # a mixed mode has to survive as well
        small_clusterer.encoders[0].requires_grad_(False)
        before = copy.deepcopy(small_clusterer)
        attack(small_clusterer, small_views)
        for (name, value), old in zip(small_clusterer.state_dict().items(), before.state_dict().values(), strict=True):
            assert torch.equal(value, old), name
        for (name, module), old in zip(small_clusterer.named_modules(), before.modules(), strict=True):
            assert module.training == old.training, name
            assert getattr(module, "track_running_stats", None) == getattr(old, "track_running_stats", None), name
        for parameter, old in zip(small_clusterer.parameters(), before.parameters(), strict=True):
            assert parameter.grad is None
            assert parameter.requires_grad == old.requires_grad

    def test_result_is_within_budget_and_range_exactly(
        self, attack: Attack, small_clusterer: CoMVC, small_views: Views
    ) -> None:
        attacked = attack(small_clusterer.eval(), small_views)
        assert any(not torch.equal(new, old) for new, old in zip(attacked, small_views, strict=True))
        for new, old in zip(attacked, small_views, strict=True):
            assert (new.double() - old.double()).abs().max() <= EPSILON
            assert new.min() >= 0
            assert new.max() <= 1
            assert not new.requires_grad

    def test_keeps_the_budget_on_its_own(self, attack: Attack, small_clusterer: CoMVC, small_views: Views) -> None:
        """Before the caller's projection, which is there for rounding alone."""
        target, generator = Target(small_clusterer.eval()), torch.Generator().manual_seed(0)
        attacked = attack.run(target, small_views, attack.threat, generator)
        sizes = attack.threat.sizes(small_views, attacked)
        assert (sizes <= EPSILON * (1 + 1e-5)).all()
        assert (sizes > EPSILON / 2).all()  # and uses it
        for view in attacked:
            assert view.min() >= -1e-6
            assert view.max() <= 1 + 1e-6

    def test_counts_what_it_takes_and_shares_the_clean_pass(
        self, attack: Attack, small_clusterer: CoMVC, small_views: Views
    ) -> None:
        calls = []
        small_clusterer.eval().register_forward_hook(lambda *_: calls.append(None))
        target = Target(small_clusterer)
        target.clean(small_views)
        attack.against(target, small_views)
        assert len(calls) - 1 == target.passes
        if attack.needs in ("nothing", "surrogate"):
            assert target.passes == 0
            assert target.queries is None
        else:
            assert target.queries.max() <= target.passes
        if isinstance(attack, GradientAttack):  # and one more a start, where there are several points to choose from
            passes = attack.restarts * (attack.steps + (attack.restarts > 1 or attack.keep_best)) * attack.expectation
            assert target.passes == passes
            assert (target.queries == passes).all()

    def test_repeats_after_reseeding_and_leaves_global_randomness_alone(
        self, attack: Attack, small_clusterer: CoMVC, small_views: Views
    ) -> None:
        small_clusterer.eval()
        state = torch.get_rng_state()
        attack.reseed(5)
        first = attack(small_clusterer, small_views)
        torch.randn(3)
        attack.reseed(5)
        again = attack(small_clusterer, small_views)
        torch.set_rng_state(state)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        attack.reseed(6)
        attack(small_clusterer, small_views)
        assert torch.equal(torch.get_rng_state(), state)

    def test_works_under_inference_mode(self, attack: Attack, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        attack.reseed(1)
        expected = attack(small_clusterer, small_views)
        attack.reseed(1)
        with torch.inference_mode():
            copies = tuple(view * 1 for view in small_views)
            result = attack(small_clusterer, copies)
        assert all(torch.equal(one, other) for one, other in zip(expected, result, strict=True))

    def test_clean_views_are_not_changed(self, attack: Attack, small_clusterer: CoMVC, small_views: Views) -> None:
        before = [view.clone() for view in small_views]
        attack(small_clusterer.eval(), small_views)
        assert all(torch.equal(view, old) for view, old in zip(small_views, before, strict=True))


class TestCleanViews:
    @pytest.mark.parametrize(
        ("value", "message"),
        [(2.0, r"view 1 has values from .* to 2, and attacks keep views in \[0, 1\]"), (float("nan"), "view 1 holds NaN")],
    )
    def test_have_to_be_in_the_box(
        self, attack: Attack, small_clusterer: CoMVC, small_views: Views, value: float, message: str
    ) -> None:
        small_views[1][3].view(-1)[5] = value
        with pytest.raises(ValueError, match=message):
            attack(small_clusterer.eval(), small_views)

    def test_that_are_not_there_do_not_matter(self, small_views: Views) -> None:
        mask = torch.ones(len(small_views[0]), len(small_views), dtype=torch.bool)
        mask[3, 1] = False
        small_views[1][3] = float("nan")
        ThreatModel(EPSILON).check_clean(small_views, mask)

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    @pytest.mark.parametrize("joint", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
    def test_infinity_is_cut_back_on_its_side(self, norm: str, joint: bool, dtype: torch.dtype) -> None:
        threat = ThreatModel(0.25, NORMS[norm], joint=joint)
        clean = torch.full((2, 4), 0.5, dtype=dtype)
        for far in (torch.inf, torch.finfo(dtype).max):
            attacked = clean.clone()
            attacked[0, :2] = torch.tensor([far, -far])
            (kept,) = threat.project([clean], [attacked])
            assert float(threat.sizes([clean], [kept])[0]) == pytest.approx(0.25, rel=1e-2)
            assert kept[0, 0] > 0.5 > kept[0, 1]
            assert (kept[:, 2:] == 0.5).all()
            assert (kept[1] == 0.5).all()

    def test_outside_of_the_box_can_still_be_projected(self) -> None:
        clean, attacked = torch.tensor([[2.0, -1.0, 1.00001]]), torch.tensor([[2.5, 0.5, 1.5]])
        (kept,) = ThreatModel(0.25).project([clean], [attacked])
        assert kept.tolist() == [[2.0, -0.75, pytest.approx(1.00001)]]


def test_order_of_samples_does_not_matter(small_clusterer: CoMVC, small_views: Views) -> None:
    small_clusterer.double().eval()
    views = tuple(view.double() for view in small_views)
    attack = PGD("attack_distance", EPSILON, steps=3)
    start = attack.random_start(views)
    order = torch.randperm(len(views[0]), generator=torch.Generator().manual_seed(0))
    plain = attack(small_clusterer, views, start)
    shuffled = attack(small_clusterer, [view[order] for view in views], [change[order] for change in start])
    for one, other in zip(plain, shuffled, strict=True):
        torch.testing.assert_close(one[order], other)


def test_in_training_mode_the_batch_statistics_are_used(small_clusterer: CoMVC, small_views: Views) -> None:
    attack = PGD("contrastive_alignment", EPSILON, steps=2)
    start = attack.random_start(small_views)
    in_training = attack(small_clusterer.train(), small_views, start)
    in_evaluation = attack(small_clusterer.eval(), small_views, start)
    assert not torch.equal(in_training[0], in_evaluation[0])


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_pgd_raises_its_objective_above_that_of_noise(name: str, small_clusterer: CoMVC, small_views: Views) -> None:
    small_clusterer.eval()
    objective = OBJECTIVES[name]

    def value(views: Views) -> float:
        with torch.no_grad():
            return float(objective.terms(small_clusterer(small_views), small_clusterer(views)).mean())

    noise = value(UniformNoise(EPSILON)(small_clusterer, small_views))
    assert value(PGD(name, EPSILON)(small_clusterer, small_views)) > noise
    assert value(FGSM(name, EPSILON)(small_clusterer, small_views)) > noise


def test_more_restarts_never_lower_a_sample_s_objective(small_clusterer: CoMVC, small_views: Views) -> None:
    small_clusterer.eval()
    clean = small_clusterer(small_views)
    values = []
    for restarts in (1, 4):
        attack = PGD("attack_distance", EPSILON, steps=2, restarts=restarts)
        values.append(attack_distance_terms(clean, small_clusterer(attack(small_clusterer, small_views))))
    assert (values[1] >= values[0] - 1e-5).all()
    assert (values[1] > values[0] + 1e-5).any()


@given(
    epsilon=st.floats(1e-6, 1),
    values=st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(-2, 3, width=32)), min_size=1, max_size=50),
)
def test_projection_holds_exactly(epsilon: float, values: list[tuple[float, float]]) -> None:
    clean, attacked = torch.tensor(values).T
    threat = ThreatModel(epsilon)
    (kept,) = threat.project([clean[:, None]], [attacked[:, None]])
    kept = kept[:, 0]
    assert (kept.double() - clean.double()).abs().max() <= epsilon
    assert kept.min() >= 0
    assert kept.max() <= 1
    (again,) = threat.project([clean[:, None]], [kept[:, None]])
    assert torch.equal(again[:, 0], kept)


class TestSettings:
    def test_no_budget_is_said(self, small_clusterer: CoMVC, small_views: Views) -> None:
        with pytest.raises(ConfigurationError, match="no budget"):
            PGD()(small_clusterer, small_views)
        assert PGD().with_default_budget(0.3).budget == 0.3
        assert PGD(epsilon=0.1).with_default_budget(0.3).budget == 0.1

    def test_step_size_follows_the_budget(self) -> None:
        assert PGD(epsilon=0.2, step_size=0.02).with_budget(0.1).step_size == pytest.approx(0.01)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epsilon": 0.0}, "epsilon must be positive"),
            ({"epsilon": float("nan")}, "epsilon must be positive"),
            ({"step_size": -1.0}, "step_size must be positive"),
            ({"steps": 0}, "at least 1"),
            ({"restarts": 0}, "at least 1"),
            ({"objective": "acc"}, "'acc' is not one of contrastive_alignment, assignment_divergence, attack_distance"),
        ],
    )
    def test_values_out_of_range_are_refused(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            PGD(**settings)

    def test_fgsm_from_the_clean_views_needs_a_gradient_there(self) -> None:
        with pytest.raises(ValueError, match="FGSM needs random_start"):
            FGSM("assignment_divergence", random_start=False)


class TestGolden:
    def test_pgd(self, golden_step: Arrays, golden_comvc: CoMVC) -> None:
        views = [golden_step["view0"], golden_step["view1"]]
        start = [golden_step["pgd.initial_delta0"], golden_step["pgd.initial_delta1"]]
        attack = PGD(objective="contrastive_alignment", epsilon=0.2, step_size=0.02, steps=3)
        for view, attacked in enumerate(attack(golden_comvc, views, start=start)):
            expected = golden_step[f"pgd.adversarial_view{view}_3steps"]
            assert torch.isclose(attacked, expected, rtol=0, atol=1e-6).float().mean() > 0.99

    def test_attack_distance_halves(self, golden_losses: Arrays) -> None:
        from ar_dmvc.clusterers import ClustererOutput

        views = sum(name.startswith("latent_adv") for name in golden_losses)
        hidden, assignments = golden_losses["hidden"], golden_losses["assignments"]
        latents = tuple(golden_losses[f"latent{view}"] for view in range(views))
        attacked_latents = tuple(golden_losses[f"latent_adv{view}"] for view in range(views))
        clean = ClustererOutput(latents, latents[0], hidden, assignments)
        attacked = ClustererOutput(attacked_latents, latents[0], golden_losses["hidden_adv"], assignments)
        samples = len(hidden)
        parts = {"hidden": (1.0, 0.0), "latents": (0.0, 1.0)}
        for part, (consistency, complementarity) in parts.items():
            distance = attack_distance(clean, attacked, consistency, complementarity) * samples
            torch.testing.assert_close(distance, golden_losses[f"attack_distance_{part}_sum"], rtol=1e-9, atol=0, msg=part)
        whole = attack_distance(clean, attacked) * samples
        torch.testing.assert_close(
            whole, golden_losses["attack_distance_hidden_sum"] + golden_losses["attack_distance_latents_sum"]
        )

    def test_objectives_average_to_the_losses(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        clean, attacked = small_clusterer(small_views), small_clusterer([view.flip(0) for view in small_views])
        means = {name: objective.terms(clean, attacked).mean() for name, objective in OBJECTIVES.items()}
        torch.testing.assert_close(means["contrastive_alignment"], contrastive_alignment(attacked.latents))
        torch.testing.assert_close(means["assignment_divergence"], attack_mitigator(clean.assignments, attacked.assignments))
        torch.testing.assert_close(means["attack_distance"], attack_distance(clean, attacked))

    def test_generator(self, golden_step: Arrays, golden_comvc: CoMVC) -> None:
        generator = Generator([(1, 28, 28)] * 2)
        load_parts(generator, golden_step, "generator.view")
        views = [golden_step["view0"], golden_step["view1"]]
        for view, attacked in enumerate(GeneratorAttack(generator, 0.3)(golden_comvc, views)):
            expected = (views[view] + golden_step[f"gan.perturbation{view}"]).clamp(0, 1)
            torch.testing.assert_close(attacked, expected, rtol=1e-4, atol=1e-5)
