"""Curves over budgets, and the smallest budget that moves each sample, against a clusterer whose answer is known."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ar_dmvc.attacks import APGD, Attack, Ensemble, Square, UniformNoise
from ar_dmvc.evaluation import CurveEvaluator, CurveReport, curve_figure
from tests.conftest import QUIET, Outcome
from tests.toys import Linear, Misleading

FEATURES, SAMPLES = 30, 40
EPSILONS = (0.0, 0.02, 0.05, 0.1, 0.2)


@pytest.fixture
def views() -> list[Tensor]:
    """Away from the box, so that it stops nothing."""
    generator = torch.Generator().manual_seed(1)
    return [0.3 + 0.4 * torch.rand(SAMPLES, FEATURES, generator=generator) for _ in range(2)]


def drawn(clusterer: Linear, views: list[Tensor], suite: dict[str, Attack], resolution: float | None = 1 / 256) -> CurveReport:
    clusterer.eval()
    evaluator = CurveEvaluator(suite, EPSILONS, resolution)
    labels = clusterer(views).assignments.argmax(1)
    for part in (slice(0, 25), slice(25, SAMPLES)):
        index = torch.arange(SAMPLES)[part]
        evaluator.update(clusterer, [view[part] for view in views], labels[part], int(index[0]), index=index)
    return evaluator.compute()


@pytest.fixture
def linear() -> Linear:
    return Linear([(FEATURES,)] * 2, 4)


def test_the_smallest_budget_is_that_of_the_nearest_boundary(linear: Linear, views: list[Tensor]) -> None:
    report = drawn(linear, views, {"apgd": APGD("margin", steps=20)})
    weights = torch.autograd.functional.jacobian(lambda view: linear([view, view]).hidden[0] / 2, views[0][:1])[:, 0]
    hidden = linear(views).hidden
    own = hidden.argmax(1)
    ahead = hidden.gather(1, own[:, None]) - hidden
    slopes = 2 * (weights[own][:, None] - weights[None]).abs().sum(2)  # of both views together
    exact = (ahead / slopes.clamp(min=1e-9)).scatter(1, own[:, None], torch.inf).amin(1)
    assert report.smallest is not None
    found = report.smallest[exact < 0.19]
    assert len(found) > 20
    assert (found >= exact[exact < 0.19] - 1e-6).all()
    excess = found - exact[exact < 0.19]
    assert (excess <= 1 / 256 + 1e-4).float().mean() > 0.9
    assert (excess <= 3 / 256).all()  # an ascent may miss the boundary once
    assert report.smallest[exact > 0.2].isinf().all()


def test_a_search_ends_where_numbers_lie_no_closer(linear: Linear, views: list[Tensor]) -> None:
    few = [view[:2] for view in views]
    evaluator = CurveEvaluator({"apgd": APGD("margin", steps=2)}, [0.2], resolution=1e-300)
    evaluator.update(linear.eval(), few, torch.zeros(2).long(), 0)
    assert evaluator.compute().smallest is not None


def test_what_a_budget_moves_larger_ones_move(linear: Linear, views: list[Tensor]) -> None:
    suite = {"noise": UniformNoise(), "apgd": APGD(steps=5), "all": Ensemble({"one": APGD(steps=3), "two": Square(queries=20)})}
    report = drawn(linear, views, suite, None)
    assert list(report.scores) == ["noise", "apgd", "all", "worst"]
    for name, scores in report.scores.items():
        kept = [one["kept"] for one in scores]
        assert kept[0] == 1.0, name
        assert kept == sorted(kept, reverse=True), name
    norms = report.record.norm.view(3, len(EPSILONS), SAMPLES)
    assert (norms <= torch.tensor(EPSILONS)[None, :, None] + 1e-6).all()
    for place in range(len(EPSILONS)):
        worst = report.scores["worst"][place]["kept"]
        assert worst <= min(report.scores[name][place]["kept"] for name in suite)
    assert report.smallest is None
    assert report.notes == []


def test_a_budget_that_does_not_hurt_is_said(views: list[Tensor]) -> None:
    report = drawn(Misleading([(FEATURES,)] * 2, 4), views, {"apgd": APGD("cross_entropy", steps=3)}, None)
    (note,) = report.notes
    assert "a budget of 0.2 moves no more than one of 0.02" in note


def test_samples_that_are_lost_are_not_asked_again(linear: Linear, views: list[Tensor]) -> None:
    record = drawn(linear, views, {"apgd": APGD(steps=5)}, None).record
    for smaller, larger, lost in zip(record.queries, record.queries[1:], record.moved, strict=False):
        assert (larger[lost] == smaller[lost]).all()
        assert (larger[~lost] > smaller[~lost]).all() or not smaller.any()


def test_settings_are_checked() -> None:
    suite: dict[str, Attack] = {"apgd": APGD()}
    for epsilons in ([], [0.0], [-0.1, 0.2], [float("nan"), 0.1], [0.1, float("inf")]):
        with pytest.raises(ValueError, match="epsilons: budgets of at least zero"):
            CurveEvaluator(suite, epsilons)
    with pytest.raises(ValueError, match="all of one norm"):
        CurveEvaluator({**suite, "other": APGD(epsilon=1.0, norm="l2")}, [0.1])
    with pytest.raises(ValueError, match="resolution must be positive"):
        CurveEvaluator(suite, [0.1], 0.0)


def test_a_picture_has_a_line_for_each_attack(linear: Linear, views: list[Tensor], tmp_path: Path) -> None:
    report = drawn(linear, views, {"apgd": APGD(steps=5), "noise": UniformNoise()})
    figure = curve_figure(report)
    assert [len(axis.lines) for axis in figure.axes] == [3, 3, 3, 0]
    figure.savefig(tmp_path / "curve.png")


def test_from_the_command_line(ardmvc: Callable[..., Outcome], victim: Path, tmp_path: Path) -> None:
    suite = {"model": {"init_args": {"attacks": {"fgsm": {"class_path": "FGSM"}}}}}
    (tmp_path / "suite.yaml").write_text(str(suite))
    few = ("--trainer.limit_test_batches=1", *QUIET)
    outcome = ardmvc("test", f"--ckpt_path={victim}", "--config=suite.yaml", "--epsilons=[0.1, 0.3]", *few)
    assert outcome.code == 0, outcome.err
    assert "epsilon" in outcome.out
    assert "smallest budgets that were found" in outcome.out
    folder = tmp_path / "runs" / "test" / "version_0"
    with (folder / "robustness_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["attack"], row["epsilon"]) for row in rows] == [
        (attack, epsilon) for attack in ("fgsm", "worst") for epsilon in ("0.1", "0.3")
    ]
    with (folder / "robustness_budgets.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 100
    assert (folder / "pictures" / "test_curve.png").is_file()
    assert "epsilons: budgets of at least zero" in ardmvc("test", f"--ckpt_path={victim}", "--epsilons=[-1]", *few).err
