"""What a user adds, each in one file: an objective, an update rule, attacks, a clusterer with a memory, a data set."""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ar_dmvc import load_clusterer, plugins
from ar_dmvc.attacks import (
    APGD,
    OBJECTIVES,
    PGD,
    Ascent,
    Attack,
    Ensemble,
    GradientAttack,
    Objective,
    Target,
    ThreatModel,
    UpdateRule,
    Views,
)
from ar_dmvc.checkpoint import read_checkpoint, write_checkpoint
from ar_dmvc.clusterers import ClustererOutput, OptimizerSettings, SiMVC
from ar_dmvc.data import Digits, MultiViewDataModule, NoisyMNIST
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.defences import OuterLoss
from ar_dmvc.evaluation import RobustnessEvaluator
from ar_dmvc.modules import VictimClusterer
from tests.conftest import ONE_BATCH, ONE_STEP, QUIET, Outcome, fit_arguments

Call = Callable[..., Outcome]


class Confidence(Objective):
    """Minus the probability of the clean cluster."""

    name = "confidence"

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        return -attacked.assignments.gather(1, clean.assignments.argmax(1, keepdim=True))[:, 0]


class OnlyUphill(UpdateRule):
    """Steps that are halved for samples whose value has fallen."""

    def begin(self, threat: ThreatModel, views: Views, steps: int) -> Ascent:
        return _Uphill(threat, views)


class _Uphill(Ascent):
    def __init__(self, threat: ThreatModel, views: Views) -> None:
        self.threat, self.views = threat, views
        self.sizes, self.values = torch.full((len(views[0]),), threat.budget / 2), torch.full((len(views[0]),), -torch.inf)

    def move(self, perturbations: Views, gradients: Views, values: Tensor) -> tuple[Tensor, ...]:
        self.sizes = torch.where(values > self.values, self.sizes, self.sizes / 2)
        self.values = values
        directions = self.threat.steepest(gradients)
        moved = [
            change + self.sizes.view(-1, *[1] * (change.dim() - 1)) * direction
            for change, direction in zip(perturbations, directions, strict=True)
        ]
        return self.threat.restrict(self.views, moved)


class Universal(Attack):
    """One perturbation for all samples, learnt over batches."""

    needs = "gradients"
    learnt: tuple[Tensor, ...] = ()

    def fit(self, target: Target, batches: Iterable[tuple[Views, Tensor | None]], threat: ThreatModel) -> None:
        objective = OBJECTIVES["assignment_divergence"]
        for views, _ in batches:
            if not self.learnt:
                self.learnt = tuple(torch.full_like(view[:1], threat.budget / 9) for view in views)
            clean = Target(target.clusterer).clean(views)
            changes = [change.clone().requires_grad_() for change in self.learnt]
            attacked = threat.move(views, [c.expand_as(v) for c, v in zip(changes, views, strict=True)])
            gradients = torch.autograd.grad(objective.terms(clean, target(attacked)).sum(), changes)
            steps = threat.steepest(gradients)
            self.learnt = threat.clip([c.detach() + threat.budget / 4 * s for c, s in zip(changes, steps, strict=True)])

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        return threat.move(views, [change.expand_as(view) for change, view in zip(self.learnt, views, strict=True)])


class Careless(Attack):
    """Gives what it is told to."""

    def __init__(self, gives: Callable[[Target, Views], Any]) -> None:
        super().__init__(0.1)
        self.gives = gives

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        return self.gives(target, views)


class Doubtful(Objective):
    """Gives what it is told to."""

    name = "doubtful"

    def __init__(self, gives: Callable[[ClustererOutput], Any]) -> None:
        self.gives = gives

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        return self.gives(attacked)


class Vague(OuterLoss):
    """Gives what it is told to."""

    def __init__(self, gives: Callable[[ClustererOutput], Any]) -> None:
        self.gives = gives

    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        return self.gives(attacked)


class TestWhatOnesOwnGives:
    """It is said what is wrong with it, in a line, where torch would speak of sizes."""

    VIEWS = (torch.full((3, 5), 0.5), torch.full((3, 7), 0.5))

    @pytest.mark.parametrize(
        ("gives", "said"),
        [
            (lambda target, views: None, r"Careless.run: .*\[\(3, 5\), \(3, 7\)\] is expected, got a NoneType"),
            (lambda target, views: views[0], "Careless.run: .* is expected, got a Tensor"),
            (lambda target, views: views[:1], r"Careless.run: .* is expected, got \[\(3, 5\)\]"),
            (lambda target, views: [view[:2] for view in views], r"Careless.run: .* is expected, got \[\(2, 5\), \(2, 7\)\]"),
            (lambda target, views: target(views) and views, "Careless asks the clusterer, .* needs = 'decisions'"),
        ],
    )
    @pytest.mark.parametrize("ensemble", [False, True])
    def test_an_attack(self, gives: Callable[[Target, Views], Any], said: str, ensemble: bool) -> None:
        attack = Ensemble({"own": Careless(gives)}, epsilon=0.1) if ensemble else Careless(gives)
        with pytest.raises(TypeError, match=said):
            attack(SiMVC([(5,), (7,)], 3).eval(), self.VIEWS)

    @pytest.mark.parametrize(
        ("gives", "said"),
        [
            (lambda output: output.assignments.sum(), r"a value a sample, \(3,\), is expected, got a tensor of shape \(\)"),
            (lambda output: output.assignments, r"got a tensor of shape \(3, 3\)"),
            (lambda output: 1.0, "got a float"),
        ],
    )
    def test_an_objective(self, gives: Callable[[ClustererOutput], Any], said: str) -> None:
        with pytest.raises(TypeError, match=f"Doubtful.terms: .*{said}"):
            PGD(Doubtful(gives), 0.1)(SiMVC([(5,), (7,)], 3).eval(), self.VIEWS)

    @pytest.mark.parametrize(
        ("gives", "said"),
        [
            (lambda output: output.assignments.sum(), "got a Tensor"),
            (lambda output: {"own": output.assignments}, r"got a tensor of shape \(3, 3\) for 'own'"),
            (lambda output: {"own": 1.0}, "got a float for 'own'"),
        ],
    )
    def test_an_outer_loss(self, gives: Callable[[ClustererOutput], Any], said: str) -> None:
        output = SiMVC([(5,), (7,)], 3).cluster(self.VIEWS, None)
        with pytest.raises(TypeError, match=f"Vague.terms: scalars by name are expected, {said}"):
            Vague(gives).checked_terms(None, output, output)


class MyAttack(PGD):
    """A defender's inner attack of one's own."""

    def __init__(self, epsilon: float | None = None, strength: int = 1) -> None:
        super().__init__(Confidence(), epsilon, steps=strength)


class WithMemory(SiMVC):
    """Keeps each sample's last assignments, and pulls towards them."""

    def __init__(self, view_shapes: Iterable[Sequence[int]], num_clusters: int, samples: int = 1797) -> None:
        super().__init__(view_shapes, num_clusters)
        self.register_buffer("bank", torch.full((samples, num_clusters), -1.0))

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        index = views.index
        before, known = self.bank[index], self.bank[index, :1] >= 0
        memory = ((output.assignments - before).square() * known).mean()
        self.bank[index] = output.assignments.detach()
        return {**super().losses(views, output), "memory": memory}

    def optimizers(self) -> Sequence[OptimizerSettings]:
        return [
            OptimizerSettings(
                "clusterer",
                {"": None},
                kind=torch.optim.SGD,
                options={"momentum": 0.9, "weight_decay": 1e-4},
                scheduler=lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps),
                clip_norm=0.5,
            )
        ]


class Blobs(MultiViewDataModule):
    """Two views of a mixture."""

    view_shapes = ((5,), (7,))
    num_classes = 3

    def load(self) -> MultiViewData:
        generator = np.random.default_rng(self.seed)
        labels = generator.integers(0, 3, 120)
        views = [np.clip((labels[:, None] + 0.5 + generator.normal(0, 0.1, (120, size))) / 3, 0, 1) for size in (5, 7)]
        return MultiViewData(tuple(torch.from_numpy(view).float() for view in views), torch.from_numpy(labels))


def test_an_objective_and_an_update_rule(small_clusterer: SiMVC, small_views: Views) -> None:
    small_clusterer.eval()
    clean = small_clusterer(small_views)
    attack = GradientAttack(Confidence(), OnlyUphill(), 0.1, steps=6, keep_best=True)
    attacked = small_clusterer(attack(small_clusterer, small_views))
    assert (Confidence().terms(clean, attacked) > Confidence().terms(clean, clean)).all()


def test_an_attack_that_learns(small_clusterer: SiMVC, small_views: Views) -> None:
    small_clusterer.eval()
    attack = Universal(0.1)
    evaluator = RobustnessEvaluator({"universal": attack})
    attack.fit(Target(small_clusterer), [(small_views, None)] * 5, attack.threat)
    attacked = evaluator.update(small_clusterer, small_views, torch.arange(12) % 4, 0)["universal"]
    inside = [(view > 0.1) & (view < 0.9) for view in small_views]
    for view, other, place, change in zip(small_views, attacked, inside, attack.learnt, strict=True):
        torch.testing.assert_close((other - view)[place], change.expand_as(view)[place])
    value = OBJECTIVES["assignment_divergence"].terms
    clean = small_clusterer(small_views)
    assert value(clean, small_clusterer(attacked)).mean() > 10 * value(clean, clean).mean()


def test_a_clusterer_with_a_memory_is_trained_as_it_says_and_goes_on(ardmvc: Call, tmp_path: Path) -> None:
    fit = [
        *fit_arguments("victims/simvc.yaml", "data/digits.yaml"),
        "--model.clusterer=tests.test_extending.WithMemory",
        "--trainer.limit_train_batches=3",
        "--trainer.max_epochs=2",
    ]
    stop = ["--trainer.callbacks=tests.test_extending.StopsAfterOneEpoch"]
    assert ardmvc(*fit).code == 0
    assert ardmvc(*fit, *stop).code == 130
    outcome = ardmvc(*fit, f"--ckpt_path={tmp_path}/runs/simvc/version_1/checkpoints/last.ckpt")
    assert outcome.code == 0, outcome.err
    whole, resumed = (read_checkpoint(tmp_path / f"runs/simvc/version_{version}/checkpoints/last.ckpt") for version in (0, 2))
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key
    assert whole["lr_schedulers"][0]["last_epoch"] == 6
    assert (whole["state_dict"]["clusterer.bank"] >= 0).all(1).sum() == 600 - overlap()
    clusterer = load_clusterer(tmp_path / "runs/simvc/version_0/checkpoints/last.ckpt", allowed=[WithMemory])
    assert isinstance(clusterer, WithMemory)


def overlap() -> int:
    """How many of the samples of two epochs' three batches are the same."""
    orders = [np.random.default_rng([0, epoch]).permutation(898)[:300] for epoch in (0, 1)]
    return len(set(orders[0].tolist()) & set(orders[1].tolist()))


class StopsAfterOneEpoch(Callback):
    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_gradients_are_clipped_as_the_clusterer_says() -> None:
    norms = []

    class Watch(Callback):
        def on_before_zero_grad(self, trainer: Trainer, module: LightningModule, optimizer: object) -> None:
            gradients = [p.grad for p in module.clusterer.parameters() if p.grad is not None]
            if gradients:
                norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    data = Digits()
    torch.manual_seed(0)
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Watch()],
        limit_val_batches=0,
        accelerator="cpu",
    )
    trainer.fit(VictimClusterer(WithMemory(data.view_shapes, 10)), data)
    assert max(norms) == pytest.approx(0.5, rel=1e-3)


def test_a_data_set(ardmvc: Call) -> None:
    fit = fit_arguments("victims/comvc.yaml")
    outcome = ardmvc(*fit, "--data=tests.test_extending.Blobs", "--data.batch_size=20", "--trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err
    checkpoint = "--ckpt_path=runs/comvc/version_0/checkpoints/last.ckpt"
    few = ("--trainer.limit_test_batches=1", *QUIET)
    assert ardmvc("test", checkpoint, "--allow=tests.test_extending.Blobs", *few).code == 0
    assert ardmvc("test", checkpoint, *QUIET).code != 0


def test_a_defender_with_an_attack_and_an_objective_of_one_s_own_is_made_again(ardmvc: Call) -> None:
    few = ONE_STEP
    own = ["--model.attack=tests.test_extending.MyAttack", "--model.attack.strength=2"]
    outcome = ardmvc(*fit_arguments("defenders/robust_joint.yaml", "data/digits.yaml"), *own, *few)
    assert outcome.code == 0, outcome.err
    checkpoint = "--ckpt_path=runs/robust_joint/version_0/checkpoints/last.ckpt"
    outcome = ardmvc("test", checkpoint, *ONE_BATCH)
    assert "'tests.test_extending.MyAttack', which is not a class of ar_dmvc" in outcome.err
    assert outcome.code != 0
    Path("allowing.yaml").write_text("allow: tests.test_extending.MyAttack\n")
    for allow in ("--allow=tests.test_extending.MyAttack", "--config=allowing.yaml"):
        outcome = ardmvc("test", checkpoint, allow, *ONE_BATCH)
        assert outcome.code == 0, outcome.err

    own = ["--model.attack.objective=tests.test_extending.Confidence", "--trainer.logger.name=other"]
    outcome = ardmvc(*fit_arguments("defenders/robust_joint.yaml", "data/digits.yaml"), *own, *few)
    assert outcome.code == 0, outcome.err
    checkpoint = "--ckpt_path=runs/other/version_0/checkpoints/last.ckpt"
    assert ardmvc("test", checkpoint, *ONE_BATCH).code != 0
    outcome = ardmvc("test", checkpoint, "--allow=tests.test_extending.Confidence", *ONE_BATCH)
    assert outcome.code == 0, outcome.err


def test_names_in_checkpoints_are_those_of_packages_and_earlier_ones_are_read(victim: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = read_checkpoint(victim)
    assert content["clusterer"]["class_path"] == "ar_dmvc.clusterers.CoMVC"
    content["clusterer"]["class_path"] = "ar_dmvc.clusterers.comvc.CoMVC"
    write_checkpoint(content, tmp_path / "earlier.ckpt")
    assert load_clusterer(tmp_path / "earlier.ckpt").description()["class_path"] == "ar_dmvc.clusterers.CoMVC"


def test_classes_of_installed_packages_need_no_allowance(ardmvc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "theirs-1.0.dist-info").mkdir(parents=True)
    (site / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (site / "theirs-1.0.dist-info" / "entry_points.txt").write_text("[ar_dmvc]\nTheirs = theirs:Theirs\n")
    (site / "theirs.py").write_text("from ar_dmvc.clusterers import SiMVC\n\nclass Theirs(SiMVC):\n    pass\n")
    monkeypatch.syspath_prepend(site)
    plugins.installed_classes.cache_clear()
    try:
        few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), "--model.clusterer=Theirs", *few)
        assert outcome.code == 0, outcome.err
        checkpoint = tmp_path / "runs/simvc/version_0/checkpoints/last.ckpt"
        assert ardmvc("predict", f"--ckpt_path={checkpoint}", *QUIET).code == 0
        assert type(load_clusterer(checkpoint)).__name__ == "Theirs"
    finally:
        monkeypatch.undo()
        importlib.invalidate_caches()
        plugins.installed_classes.cache_clear()
        sys.modules.pop("theirs", None)


def test_help_shows_what_a_class_hands_on() -> None:
    attack, data = signature(APGD).parameters, signature(NoisyMNIST).parameters
    assert list(attack)[:2] == ["objective", "epsilon"]
    assert {"seed", "norm", "views", "joint", "share"} <= set(attack)
    assert not {"rule", "keep_best", "reach"} & set(attack)  # which it sets itself
    assert data["batch_size"].default == 100
    assert "kwargs" not in data
