"""Students: a teacher's clusters, learned under attack."""

import copy
import json
import math
import multiprocessing
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import PGD, Universal
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.cli import main
from ar_dmvc.clusterers import SEM, Clusterer, ClustererOutput, CoMVC, ProductOfExperts, Purified, SiMVC
from ar_dmvc.data import Digits
from ar_dmvc.data.part import joined
from ar_dmvc.defences import MART, TRADES, AdversarialCrossEntropy, HiddenDistance, WithinCluster
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.modules import RobustDefender
from ar_dmvc.modules.teaching import Curriculum, WeightPerturbation
from tests.conftest import CONFIGS, ONE_STEP, QUIET, Outcome, fit_arguments
from tests.modules.test_modules import FewDigits, trainer
from tests.processes import Beside, free_port, ranks

Call = Callable[..., Outcome]
SHAPES = [(1, 8, 8)] * 2


def fit(teacher: Path, *more: str) -> list[str]:
    return [*fit_arguments("defenders/robust.yaml", "data/digits.yaml"), f"--model.teacher={teacher}", *more]


def made_of_it(assignments: list[list[float]], hidden: list[list[float]] | None = None) -> ClustererOutput:
    rows = torch.tensor(assignments, dtype=torch.float64)
    found = rows if hidden is None else torch.tensor(hidden, dtype=torch.float64)
    return ClustererOutput((), found, found, rows)


class TestOuterLosses:
    CLEAN = made_of_it([[0.5, 0.5], [0.9, 0.1]])
    ATTACKED = made_of_it([[0.25, 0.75], [0.9, 0.1]], hidden=[[1.0, 2.0], [3.0, 0.0]])
    TARGETS = made_of_it([[1.0, 0.0], [0.0, 1.0]], hidden=[[1.0, 4.0], [3.0, -2.0]])

    def test_adversarial_cross_entropy(self) -> None:
        terms = AdversarialCrossEntropy().terms(None, self.ATTACKED, self.TARGETS)
        expected = -(torch.tensor([0.25, 0.1], dtype=torch.float64).log()).mean()
        torch.testing.assert_close(terms, {"attacked": expected})

    def test_trades_is_cross_entropy_and_a_distance(self) -> None:
        terms = TRADES(weight=6.0).terms(self.CLEAN, self.ATTACKED, self.TARGETS)
        clean, attacked = self.CLEAN.assignments, self.ATTACKED.assignments
        divergence = torch.nn.functional.kl_div(attacked.log(), clean, reduction="batchmean")
        torch.testing.assert_close(terms["distance"], 6 * divergence)
        torch.testing.assert_close(terms["clean"], -(torch.tensor([0.5, 0.1], dtype=torch.float64).log()).mean())
        reverse = TRADES(2.0, "reverse_kl").terms(self.CLEAN, self.ATTACKED, self.TARGETS)["distance"]
        torch.testing.assert_close(reverse, 2 * torch.nn.functional.kl_div(clean.log(), attacked, reduction="batchmean"))
        squared = TRADES(1.0, "squared").terms(self.CLEAN, self.ATTACKED, self.TARGETS)["distance"]
        torch.testing.assert_close(squared, torch.tensor(2 * 0.25**2 / 2, dtype=torch.float64))

    def test_mart_looks_at_the_runner_up_and_at_who_is_unsure(self) -> None:
        terms = MART(weight=5.0).terms(self.CLEAN, self.ATTACKED, self.TARGETS)
        own, other = torch.tensor([[0.25, 0.1], [0.75, 0.9]], dtype=torch.float64)
        torch.testing.assert_close(terms["attacked"], (-own.log() - (1 - other).log()).mean())
        unsure = 0.5 * (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))  # of the first; the second did not change
        torch.testing.assert_close(terms["divergence"], torch.tensor(5 * unsure / 2, dtype=torch.float64))

    def test_the_distance_of_hidden_representations_is_a_share_of_the_teacher_s(self) -> None:
        terms = HiddenDistance(weight=2.0).terms(None, self.ATTACKED, self.TARGETS)
        torch.testing.assert_close(terms["hidden"], torch.tensor((2 + 2) / (1 + 4 + 3 + 2), dtype=torch.float64))
        alone = AdversarialCrossEntropy().terms(None, self.ATTACKED, self.TARGETS)
        torch.testing.assert_close(terms["attacked"], 2 * alone["attacked"])

    def test_what_cannot_be_is_refused(self) -> None:
        for loss in (TRADES, MART, HiddenDistance):
            with pytest.raises(ValueError, match="weight must be at least 0"):
                loss(-1.0)
        with pytest.raises(ValueError, match="'l1' is not one of kl, reverse_kl, squared"):
            TRADES(distance="l1")


@pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")  # untrained
@pytest.mark.parametrize("curriculum", [None, 0.03])
def test_experts_are_taught_one_by_one_as_well_as_together(curriculum: float | None, tmp_path: Path) -> None:
    def terms(weight: float, student: Clusterer) -> dict[str, float]:
        settings: dict[str, Any] = {"inner_budget": 2.0, "curriculum": curriculum, "experts_weight": weight}
        module = RobustDefender(student, PGD("cross_entropy", steps=1), epsilon=0.1, teacher=SiMVC(SHAPES, 10), **settings)
        training = trainer(tmp_path, max_steps=1)
        training.fit(module, FewDigits())
        return {
            name.removeprefix("train/"): float(value)
            for name, value in training.logged_metrics.items()
            if name.startswith("train/")
        }

    torch.manual_seed(0)
    student = ProductOfExperts(SHAPES, 10)
    before = copy.deepcopy(student)
    taught = terms(0.5, student)
    loss = taught.pop("loss")
    assert set(taught) == {"attacked", "view_0_attacked", "view_1_attacked"}
    assert loss == pytest.approx(sum(taught.values()))
    assert not any(torch.equal(*pair) for pair in zip(student.parameters(), before.parameters(), strict=True))
    assert set(terms(0.0, student)) == set(terms(1.0, SiMVC(SHAPES, 10))) == {"attacked", "loss"}


def test_a_student_learns_its_teacher_s_clusters_and_does_without_it_afterwards(
    victim: Path, ardmvc: Call, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.ckpt"
    teacher.write_bytes(victim.read_bytes())
    outcome = ardmvc(*fit(teacher, "--trainer.max_epochs=8"))
    assert outcome.code == 0, outcome.err
    teacher.unlink()
    checkpoint = tmp_path / "runs/robust/version_0/checkpoints/last.ckpt"
    student, batch = load_clusterer(checkpoint), next(iter(Digits(batch_size=899).test_dataloader()))
    taught = load_clusterer(victim)(batch.views).assignments.argmax(1)
    assert type(student) is SiMVC
    assert (student(batch.views).assignments.argmax(1) == taught).float().mean() > 0.8
    for command in ("test", "predict", "validate"):
        outcome = ardmvc(
            command,
            f"--ckpt_path={checkpoint}",
            f"--trainer.limit_{'val' if command == 'validate' else command}_batches=1",
            *QUIET,
        )
        assert outcome.code == 0, outcome.err
    assert not any(name.startswith("teacher") for name in read_checkpoint(checkpoint)["state_dict"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"outer": MART()}, "outer"), ({"soft_targets": True, "averaging": 0.9}, "soft_targets, averaging")],
)
def test_settings_of_students_are_refused_without_a_teacher(settings: dict[str, object], named: str, tmp_path: Path) -> None:
    module = RobustDefender(SiMVC(SHAPES, 10), PGD("cross_entropy", steps=1), epsilon=0.1, **settings)
    with pytest.raises(ConfigurationError, match=f"^{named}: for students alone, and there is no teacher"):
        trainer(tmp_path, max_epochs=1).fit(module, FewDigits())


class TestWeightPerturbation:
    def test_weights_go_up_the_loss_by_a_share_of_their_norm_and_come_back(self) -> None:
        layers = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()
        before = {name: value.clone() for name, value in layers.state_dict().items()}
        views = torch.arange(6, dtype=torch.float64).view(2, 3)

        def loss() -> torch.Tensor:
            return layers(views).square().mean()

        low = loss()
        gradients = dict(zip(before, torch.autograd.grad(loss(), [*layers.parameters()]), strict=True))
        perturbation = WeightPerturbation()
        perturbation.move(layers, low, 0.1)
        assert loss() > low
        for name, value in layers.state_dict().items():
            gradient = gradients[name]
            moved = 0.1 * before[name].norm() / gradient.norm() * gradient if value.ndim > 1 else 0 * gradient
            torch.testing.assert_close(value, before[name] + moved)
        perturbation.undo()
        for name, value in layers.state_dict().items():
            assert torch.equal(value, before[name])

    def test_a_loss_without_a_gradient_leaves_them(self) -> None:
        layer = nn.Linear(3, 2)
        before = layer.weight.clone()
        WeightPerturbation().move(layer, 0 * layer(torch.ones(1, 3)).sum(), 0.1)
        assert torch.equal(layer.weight, before)

    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")  # it has learned nothing
    def test_each_step_is_taken_from_there_and_statistics_are_of_the_weights_themselves(self, tmp_path: Path) -> None:
        made = []
        for share in (0.0, 0.05):
            module = student(weight_perturbation=share)
            trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(module, FewDigits())
            made.append(module.clusterer.state_dict())
        assert any(not torch.equal(made[0][name], made[1][name]) for name in made[0] if name.endswith("weight"))
        statistics = [name for name in made[0] if "running" in name or "num_batches" in name]
        assert statistics
        for name in statistics:
            assert torch.equal(made[0][name], made[1][name]), name

    def test_it_is_not_negative(self) -> None:
        with pytest.raises(ValueError, match="weight_perturbation must be at least 0"):
            student(weight_perturbation=-0.1)


@pytest.mark.parametrize(("outer", "kind"), [("AdversarialCrossEntropy", "SiMVC"), ("MART", "ProductOfExperts")])
def test_interrupted_and_resumed_it_ends_the_same(outer: str, kind: str, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
    perturbed = "--model.weight_perturbation=0.01"
    grown = ("--model.curriculum=0", "--model.warmup_epochs=2.9")
    few = (
        f"--model.outer={outer}",
        f"--model.clusterer={kind}",
        perturbed,
        *grown,
        "--trainer.limit_train_batches=2",
        "--trainer.max_epochs=3",
        "--model.warm_start=true",
    )
    dying = multiprocessing.get_context("fork").Process(
        target=main, args=([*fit(victim, *few), "--trainer.callbacks=tests.test_safety.DyingInTheLastEpoch"],)
    )
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    for more in (["--ckpt_path=last"], []):
        outcome = ardmvc(*fit(victim, *few, *more))
        assert outcome.code == 0, outcome.err
    resumed, whole = (read_checkpoint(tmp_path / f"runs/robust/version_{number}/checkpoints/last.ckpt") for number in (1, 2))
    assert resumed["global_step"] == whole["global_step"] == 6
    assert resumed["curriculum"] == whole["curriculum"]
    assert outer == "MART" or 0 < whole["curriculum"][0] < 1
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_the_mean_of_the_weights_is_what_is_kept_and_resuming_goes_on_with_both(
    victim: Path, ardmvc: Call, tmp_path: Path
) -> None:
    few = ("--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.max_epochs=2")
    arguments = fit(victim, *few)
    stop = "--trainer.callbacks+=tests.modules.test_teaching.StopsAfterOneEpoch"
    for more in ([stop], ["--ckpt_path=last"], []):
        outcome = ardmvc(*arguments, *more)
        assert outcome.code == 0, outcome.err
    stopped, resumed, whole = (
        read_checkpoint(tmp_path / f"runs/robust/version_{number}/checkpoints/last.ckpt") for number in (0, 1, 2)
    )
    name = "clusterer.head.output.weight"
    assert stopped["global_step"] == 3
    assert not torch.equal(whole["state_dict"][name], whole["current_model_state"][name])
    for state in ("state_dict", "current_model_state"):
        for name, value in whole[state].items():
            assert torch.equal(value, resumed[state][name]), name
    student = load_clusterer(tmp_path / "runs/robust/version_2/checkpoints/last.ckpt")
    assert torch.equal(student.state_dict()["head.output.weight"], whole["state_dict"]["clusterer.head.output.weight"])


def student(**settings: object) -> RobustDefender:
    torch.manual_seed(1)
    teacher = CoMVC(SHAPES, 10)
    return RobustDefender(SiMVC(SHAPES, 10), PGD("cross_entropy", steps=1), epsilon=0.1, teacher=teacher, **settings)


class Growing(Curriculum):
    """One that always grows."""

    def update(self, *batch: object, step: float) -> None:
        super().update(TestCurriculum.HOLD, TestCurriculum.TAUGHT, torch.tensor([True, True, True, False]), step)


class TestCurriculum:
    TAUGHT = made_of_it([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    HOLD = made_of_it([[0.6, 0.4], [0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    """All but the last."""

    def test_the_budget_goes_beyond_the_data_s_where_fewer_hold_that_are_not_learned_from(self) -> None:
        curriculum, learned = Curriculum(0.2), torch.tensor([True, True, True, False])
        found = []
        for rows in (learned, learned, ~learned, learned, ~learned, ~learned, ~learned):
            curriculum.update(self.HOLD, self.TAUGHT, rows, step=0.4)
            found.append(curriculum.beyond)
        assert found == pytest.approx([0.4, 0.8, 0.4, 0.8, 0.4, 0.0, 0.0])

    @pytest.mark.parametrize(("gap", "beyond"), [(0.0, 0.5), (0.09, 0.5), (0.11, 0.0), (0.9, 0.0)])
    def test_by_more_than_the_gap(self, gap: float, beyond: float) -> None:
        curriculum = Curriculum(gap)
        taught = made_of_it([[1.0, 0.0]] * 20)
        held_out = torch.arange(20) >= 10
        attacked = made_of_it([[1.0, 0.0]] * 19 + [[0.0, 1.0]])  # a tenth of those held out is moved
        curriculum.update(attacked, taught, ~held_out, step=0.5)
        assert curriculum.beyond == beyond

    def test_what_was_seen_fades(self) -> None:
        curriculum, learned = Curriculum(0.1), torch.tensor([True, True, True, False])
        for _ in range(3):
            curriculum.update(self.HOLD, self.TAUGHT, learned, step=0.3)
        for _ in range(20):
            curriculum.update(self.TAUGHT, self.TAUGHT, learned, step=0.01)
        assert curriculum.beyond > 0.6  # the mean of late still has a gap
        for _ in range(20):
            curriculum.update(self.TAUGHT, self.TAUGHT, learned, step=0.3)
        assert curriculum.beyond == 0.0

    @pytest.mark.parametrize("start", [0, 1, 12345, 2_000_000])
    def test_a_tenth_is_held_out_until_the_budget_is_at_its_largest(self, start: int) -> None:
        curriculum, index = Curriculum(0.1), torch.arange(start, start + 1000)
        learned = curriculum.learned(index)
        assert 890 <= int(learned.sum()) <= 910
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
        assert torch.equal(curriculum.learned(index[order]), learned[order])
        curriculum.beyond = 1.0
        assert curriculum.learned(index) is None

    @pytest.mark.parametrize(
        ("curriculum", "warmup", "strengths"),
        [
            (Growing(0.0), 4, [0.25, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0, 1.0]),
            (Curriculum(0.99), 4, [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
            (Growing(0.0), 0, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ],
        ids=["it overfits", "it does not", "no warm-up"],
    )
    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")
    def test_of_students(self, curriculum: Curriculum, warmup: float, strengths: list[float], tmp_path: Path) -> None:
        found: list[float] = []
        each = LambdaCallback(on_train_batch_start=lambda *arguments: found.append(arguments[1].strength()))
        torch.manual_seed(1)
        clusterer, attack = SiMVC(SHAPES, 10), PGD("cross_entropy", steps=1)
        module = RobustDefender(
            clusterer,
            attack,
            epsilon=0.1,
            teacher=clusterer,
            curriculum=curriculum.gap,
            inner_budget=2.0,
            warmup_epochs=warmup,
        )
        module.curriculum = curriculum
        run = trainer(tmp_path, max_epochs=8, limit_train_batches=1, limit_val_batches=0, callbacks=[each])
        run.fit(module, FewDigits())
        assert found == pytest.approx(strengths)
        assert float(run.callback_metrics["inner_budget"]) == pytest.approx(strengths[-1] * 0.2)

    @pytest.mark.parametrize(
        "settings", [{}, {"attack": PGD("cross_entropy", norm="l2", epsilon=1.0)}, {"epsilon": 0.5, "inner_budget": 2.0}]
    )
    def test_has_no_part_where_there_is_no_room(self, settings: dict[str, Any]) -> None:
        given = {"attack": PGD("cross_entropy"), "epsilon": 0.1, "teacher": CoMVC(SHAPES, 10), **settings}
        assert RobustDefender(SiMVC(SHAPES, 10), **given, curriculum=0.03).curriculum is None
        room = RobustDefender(SiMVC(SHAPES, 10), **{**given, "epsilon": 0.1, "inner_budget": 2.0}, curriculum=0.03)
        assert (room.curriculum is None) == ("attack" in settings)

    @pytest.mark.parametrize("gap", [-0.1, 1.0, math.nan])
    def test_it_is_a_difference_of_shares(self, gap: float) -> None:
        with pytest.raises(ValueError, match="curriculum must be in"):
            student(curriculum=gap)

    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")
    def test_a_student_of_before_there_was_one_goes_on_with_the_largest_budget(self, tmp_path: Path) -> None:
        trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(before := student(inner_budget=2.0), FewDigits())
        before.trainer.save_checkpoint(tmp_path / "before.ckpt")
        module = student(inner_budget=2.0, curriculum=0.9)
        run = trainer(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=0)
        run.fit(module, FewDigits(), ckpt_path=tmp_path / "before.ckpt")
        assert float(run.callback_metrics["inner_budget"]) == pytest.approx(0.2)

    @pytest.mark.parametrize(
        "state",
        [
            1.0,
            None,
            [],
            [0.5] * 4,
            ["0.5"] * 5,
            [1.5, 0.0, 0.0, 0.0, 0.0],
            [0.5, -1.0, 0.0, 0.0, 0.0],
            [math.nan] * 5,
            [0.5, math.inf] * 5,
        ],
    )
    def test_no_other_state_is_taken(self, state: object) -> None:
        with pytest.raises(CheckpointError, match="curriculum is not what a defender keeps"):
            Curriculum(0.5).load_state_dict(state)


class Weights(Callback):
    """Keeps the weights that training would go on from, and interrupts a validation where it is told to."""

    def __init__(self, interrupts: bool = False) -> None:
        self.interrupts, self.crafted, self.budgets = interrupts, [], []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.last = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.budgets.append(pl_module.warmup())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if self.interrupts:
            assert not torch.equal(
                pl_module.state_dict()["clusterer.head.output.weight"], self.last["clusterer.head.output.weight"]
            )
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")
class TestSteps:
    def test_interrupted_in_a_validation_the_mean_and_the_last_weights_stay_what_they_are(self, tmp_path: Path) -> None:
        weights, module = Weights(interrupts=True), student(averaging=0.9)
        with pytest.raises(SystemExit):
            trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0, callbacks=[weights]).fit(module, FewDigits())
        for name, value in module.state_dict().items():
            assert torch.equal(value, weights.last[name]), name

    def test_with_accumulated_gradients_the_budget_grows_as_fast_and_each_batch_draws_for_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn: list[int] = []
        reseed = PGD.reseed
        monkeypatch.setattr(PGD, "reseed", lambda attack, number: (drawn.append(number), reseed(attack, number))[1])
        weights, module = Weights(), student(warmup_epochs=2)
        settings = {"accumulate_grad_batches": 2, "limit_val_batches": 0, "callbacks": [weights]}
        trainer(tmp_path, max_epochs=2, **settings).fit(module, FewDigits(batch_size=10))
        assert len(set(drawn[: len(weights.budgets)])) == len(weights.budgets) == 6
        assert weights.budgets[-1] == 1.0
        assert weights.budgets[0] < 1

    def test_a_schedule_without_an_end_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="needs an end"):
            trainer(tmp_path, max_epochs=-1).fit(student(), FewDigits())


class StopsAfterOneEpoch(Callback):
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True


class TestFittedFirst:
    """A teacher that is given as the settings to fit it with."""

    FEW = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.max_epochs=1")

    def settings(self, *more: str) -> str:
        return json.dumps([str(CONFIGS / "victims/comvc.yaml"), *self.FEW, *more])

    def test_one_command_does_both_and_what_is_done_is_not_done_again(self, ardmvc: Call, tmp_path: Path) -> None:
        arguments = [*fit_arguments("defenders/robust.yaml"), f"--model.teacher={self.settings()}", *self.FEW]
        with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
            assert ardmvc(*arguments, "--data.batch_size=50").code == 0
        (teacher,) = tmp_path.glob("runs/teachers/comvc_*/checkpoints/last.ckpt")
        student = tmp_path / "runs/robust/version_0/checkpoints/last.ckpt"
        assert type(load_clusterer(teacher)) is CoMVC
        assert type(load_clusterer(student)) is SiMVC
        assert read_checkpoint(student)["config"]["model"]["init_args"]["teacher"] == str(teacher.relative_to(tmp_path))
        assert read_checkpoint(teacher)["config"]["data"]["init_args"]["batch_size"] == 50
        made = teacher.stat().st_mtime_ns
        outcome = ardmvc(*arguments[:-1], "--data.batch_size=50", "--trainer.max_epochs=2", "--ckpt_path=last")
        assert outcome.code == 0, outcome.err
        assert teacher.stat().st_mtime_ns == made
        assert read_checkpoint(tmp_path / "runs/robust/version_1/checkpoints/last.ckpt")["global_step"] == 4

    def test_another_configuration_is_another_teacher(self, ardmvc: Call, tmp_path: Path) -> None:
        file = tmp_path / "mine.yaml"
        for batch_size in (40, 60):
            file.write_text(
                (CONFIGS / "victims/comvc.yaml").read_text() + f"data:\n  init_args:\n    batch_size: {batch_size}\n"
            )
            arguments = [*fit_arguments("defenders/robust.yaml"), f"--model.teacher={json.dumps([str(file), *self.FEW])}"]
            with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
                assert ardmvc(*arguments, *self.FEW).code == 0
        teachers = tmp_path.glob("runs/teachers/mine_*/checkpoints/last.ckpt")
        assert sorted(read_checkpoint(path)["config"]["data"]["init_args"]["batch_size"] for path in teachers) == [40, 60]

    def test_the_student_is_the_one_that_the_checkpoint_would_have_taught(self, ardmvc: Call, tmp_path: Path) -> None:
        base = [*fit_arguments("defenders/robust.yaml"), *self.FEW]
        for teacher in (self.settings("--data.batch_size=60"), "{checkpoint}"):
            found = [str(path) for path in tmp_path.glob("runs/teachers/*/checkpoints/last.ckpt")]
            with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
                assert ardmvc(*base, f"--model.teacher={teacher.format(checkpoint=found[0]) if found else teacher}").code == 0
        first, second = (tmp_path / f"runs/robust/version_{number}/checkpoints/last.ckpt" for number in (0, 1))
        for name, value in read_checkpoint(first)["state_dict"].items():
            assert torch.equal(value, read_checkpoint(second)["state_dict"][name]), name

    def test_what_uses_the_checkpoint_fits_none(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        assert ardmvc(*fit(victim, *self.FEW)).code == 0
        checkpoint = tmp_path / "runs/robust/version_0/checkpoints/last.ckpt"
        config = CONFIGS / "defenders/robust.yaml"
        outcome = ardmvc(
            "predict", f"--config={config}", f"--model.teacher={self.settings()}", f"--ckpt_path={checkpoint}", *QUIET
        )
        assert outcome.code == 0, outcome.err
        assert not (tmp_path / "runs/teachers").exists()

    def test_what_is_wrong_with_the_student_is_said_before(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(
            *fit_arguments("defenders/robust.yaml"), f"--model.teacher={self.settings()}", "--model.attack.steps=0"
        )
        assert outcome.code == 1
        assert outcome.err.endswith("ardmvc: error: steps, restarts and expectation must be at least 1, got 0, 1 and 1\n")
        assert not (tmp_path / "runs").exists()

    def test_a_dry_run_leaves_nothing_behind(self, ardmvc: Call, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
            outcome = ardmvc(
                *fit_arguments("defenders/robust.yaml"), f"--model.teacher={self.settings()}", "--trainer.fast_dev_run=true"
            )
        assert outcome.code == 0, outcome.err
        assert not list(tmp_path.rglob("*.ckpt"))

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # Python's word on fork
    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")
    def test_on_several_devices_the_first_fits_it_for_all(self, tmp_path: Path) -> None:
        arguments = [*fit_arguments("defenders/robust.yaml"), f"--model.teacher={self.settings()}", *self.FEW]
        several = [*arguments, "--trainer.devices=2", "--trainer.strategy=ddp"]
        both = [Beside(tmp_path, *several, **variables) for variables in ranks(free_port())]
        for code, _, err in [one.end() for one in both]:
            assert code == 0, err
        assert len(list(tmp_path.glob("runs/teachers/comvc_*/checkpoints/last.ckpt"))) == 1
        assert len(list(tmp_path.glob("runs/robust/version_*/checkpoints/last.ckpt"))) == 1

    def test_from_python_it_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"settings to fit one with are for ardmvc and ar_dmvc\.api"):
            RobustDefender(SiMVC(SHAPES, 4), PGD("margin"), epsilon=0.1, teacher=["comvc.yaml"])


@pytest.mark.parametrize(
    ("epsilon", "multiple", "expected"), [(0.1, 2.0, 0.2), (0.3, 2.0, 0.4), (0.3, 1.2, 0.36), (0.3, 0.5, 0.15), (0.6, 2.0, 0.6)]
)
def test_the_inner_budget_is_larger_than_the_data_s_and_leaves_something_to_see(
    epsilon: float, multiple: float, expected: float
) -> None:
    made = RobustDefender(
        SiMVC(SHAPES, 4), PGD("cross_entropy"), epsilon=epsilon, teacher=CoMVC(SHAPES, 4), inner_budget=multiple
    )
    assert made.budget == pytest.approx(expected)


class TestWrongUse:
    def defender(self, teacher: CoMVC, student: SiMVC | None = None, objective: str = "cross_entropy") -> RobustDefender:
        return RobustDefender(student or SiMVC(SHAPES, 4), PGD(objective), epsilon=0.1, teacher=teacher)

    def test_is_said(self) -> None:
        with pytest.raises(ConfigurationError, match=r"^attack: Universal learns from all samples before it attacks"):
            RobustDefender(SiMVC(SHAPES, 4), Universal("cross_entropy"), epsilon=0.1)
        with pytest.raises(ConfigurationError, match="teacher: it takes views of shapes"):
            self.defender(CoMVC([(5,)] * 2, 4))
        with pytest.raises(ConfigurationError, match="teacher: it has 5 clusters, its student 4"):
            self.defender(CoMVC(SHAPES, 5))
        with pytest.raises(ConfigurationError, match="clusters of SEM come from no head"):
            RobustDefender(SEM(SHAPES, 4), PGD("cross_entropy"), epsilon=0.1, teacher=CoMVC(SHAPES, 4))
        with pytest.raises(ConfigurationError, match="attack_distance compares representations"):
            self.defender(CoMVC(SHAPES, 4), objective="attack_distance")
        with pytest.raises(ConfigurationError, match="outer: the hidden representation of SiMVC is not its teacher's"):
            RobustDefender(SiMVC(SHAPES, 4), PGD("margin"), epsilon=0.1, teacher=CoMVC(SHAPES, 4), outer=HiddenDistance())
        with pytest.raises(ConfigurationError, match="WithinCluster changes what a sample is, and HiddenDistance teaches"):
            RobustDefender(
                Purified(SHAPES, 4),
                PGD("margin"),
                epsilon=0.1,
                teacher=CoMVC(SHAPES, 4),
                outer=HiddenDistance(),
                augmentation=WithinCluster(),
            )
        with pytest.raises(ValueError, match="inner_budget must be positive"):
            RobustDefender(SiMVC(SHAPES, 4), PGD("margin"), epsilon=0.1, inner_budget=0.0)

    def test_a_teacher_that_has_seen_the_tested_samples_is_refused(self, victim: Path, ardmvc: Call) -> None:
        outcome = ardmvc(*fit(victim, "--data.partition=attacker", "--data.test_partition=victim"))
        assert outcome.code == 1
        assert "error: teacher: it was trained on" in outcome.err

    def test_what_weights_and_their_teacher_have_seen_is_one_after_the_other(self) -> None:
        first, second, third = ({"data": name} for name in "abc")
        assert joined({**first, "before": second}, third) == {**first, "before": {**second, "before": third}}
        assert (joined(first, None), joined(None, third)) == (first, third)
        endless: dict[str, object] = {}
        endless["before"] = endless
        assert isinstance(joined(endless, third), dict)

    def test_a_student_s_checkpoint_says_what_its_teacher_has_seen(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*fit(victim, *ONE_STEP, "--data.partition=attacker", "--data.test_partition=attacker"))
        assert outcome.code == 0, outcome.err
        checkpoint = tmp_path / "runs/robust/version_0/checkpoints/last.ckpt"
        seen = torch.load(checkpoint, weights_only=True)["trained_on"]
        assert (seen["partition"], seen["before"]["partition"]) == ("attacker", "victim")
        options = ["--data.test_partition=victim", "--trainer.limit_test_batches=1", "--model.attacks={}", *QUIET]
        outcome = ardmvc("test", f"--ckpt_path={checkpoint}", *options)
        assert "may have been trained on some of these samples" in outcome.out + outcome.err

    def test_a_teacher_that_takes_other_views_is_refused(self, ardmvc: Call, tmp_path: Path) -> None:
        generator = np.random.default_rng(0)
        views = {"view_0": generator.normal(size=(120, 5)), "view_1": generator.normal(size=(120, 4))}
        np.savez(tmp_path / "whole.npz", **views, labels=np.arange(120) % 3)
        np.savez(tmp_path / "larger.npz", **{name: 2 * view for name, view in views.items()}, labels=np.arange(120) % 3)
        views["view_0"][:7] = np.nan
        mask = np.ones((120, 2), bool)
        mask[:7, 0] = False
        np.savez(tmp_path / "part.npz", **views, mask=mask, labels=np.arange(120) % 3)
        data = ["--data=FeatureViews", "--data.batch_size=20", *QUIET]
        for scaling in ("min_max", "standardise"):
            fit_one = ["fit", "--config=victims/kmeans.yaml", *data, "--data.path=whole.npz", f"--data.scaling={scaling}"]
            assert ardmvc(*fit_one).code == 0
        for version, file, said in (
            (1, "whole.npz", r"view 0 scaled in another way \(it: standardise; here: min_max"),
            (0, "larger.npz", r"view 0 scaled in another way \(it: min_max; here: min_max, or fitted on other samples"),
            (0, "part.npz", "KMeans does not take samples without some views, which FeatureViews has"),
        ):
            teacher = f"--model.teacher=runs/kmeans/version_{version}/checkpoints/last.ckpt"
            outcome = ardmvc("fit", "--config=defenders/robust.yaml", *data, f"--data.path={file}", teacher)
            assert outcome.code == 1
            assert re.search(f"error: teacher: .*{said}", outcome.err), outcome.err
        victim = "--model.victim=runs/kmeans/version_1/checkpoints/last.ckpt"
        attacked = ardmvc("fit", "--config=attackers/gan.yaml", *data, "--data.path=whole.npz", victim)
        assert "error: victim: it knows view 0 scaled in another way" in attacked.err
        assert not (tmp_path / "runs/robust").exists()

    def test_no_settings_for_a_teacher_are_no_settings_for_none(self, ardmvc: Call) -> None:
        outcome = ardmvc("fit", "--config=defenders/robust.yaml", "--config=data/digits.yaml", "--model.teacher=[]")
        assert outcome.code == 1
        assert "model.teacher: no settings" in outcome.err

    def test_a_class_that_is_not_allowed_is_asked_for_before_a_teacher_is_fitted(self, ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("from ar_dmvc.clusterers import SiMVC\n\n\nclass Mine(SiMVC): ...\n")
        teacher = "--model.teacher=[victims/simvc.yaml, --model.clusterer=mine.Mine, --trainer.max_epochs=1]"
        few = (teacher, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
        command = ("fit", "--config=defenders/robust.yaml", "--config=data/digits.yaml", *few)
        outcome = ardmvc(*command)
        assert outcome.code == 1
        assert re.search("error: model.teacher: made from class 'mine.Mine'.*--allow", outcome.err)
        assert not (tmp_path / "runs/teachers").exists()
        with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
            assert ardmvc(*command, "--allow=mine.Mine").code == 0

    def test_a_clusterer_that_teaches_stays_as_it_is(self) -> None:
        teacher = SiMVC(SHAPES, 4).train()
        RobustDefender(SiMVC(SHAPES, 4), PGD("cross_entropy"), epsilon=0.1, teacher=teacher)
        assert teacher.training
        assert all(weight.requires_grad for weight in teacher.parameters())
        with pytest.raises(TypeError, match="teacher: a checkpoint or a Clusterer is expected, not a int"):
            RobustDefender(SiMVC(SHAPES, 4), PGD("cross_entropy"), epsilon=0.1, teacher=3)

    def test_clusters_that_it_leaves_empty_are_said(self, ardmvc: Call, tmp_path: Path) -> None:
        assert (
            ardmvc(*fit_arguments("victims/comvc.yaml"), "--trainer.max_epochs=1", "--trainer.limit_train_batches=1").code == 0
        )
        with pytest.warns(UserWarning, match=r"the teacher puts no sample into clusters \[\d"):
            ardmvc(
                *fit(
                    tmp_path / "runs/comvc/version_0/checkpoints/last.ckpt",
                    "--trainer.max_epochs=1",
                    "--trainer.limit_train_batches=1",
                )
            )
