"""Certified radii, against a clusterer of which they are known: two half-spaces."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor

from ar_dmvc.attacks import APGD, Ensemble
from ar_dmvc.clusterers import ClustererOutput, SiMVC, Smoothed
from ar_dmvc.clusterers.smoothed import noisy_copies
from ar_dmvc.evaluation import CertifiedReport, RobustnessEvaluator, SmoothingEvaluator, certified_figure
from ar_dmvc.evaluation.certified import ABSTAINS, certified_radius
from tests.conftest import QUIET, Outcome
from tests.toys import Linear

SIGMA, FEATURES, SAMPLES = 0.05, 10, 60


class HalfSpaces(SiMVC):
    """On which side of a plane the views, as one, are."""

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        hidden = signed_distance(views)[:, None] * torch.tensor([1.0, -1.0])
        return ClustererOutput(tuple(views), hidden, hidden, hidden.softmax(1))


def signed_distance(views: Sequence[Tensor]) -> Tensor:
    return (torch.cat(tuple(views), 1) - 0.5).sum(1) / (2 * FEATURES) ** 0.5


@pytest.fixture
def views() -> list[Tensor]:
    """Far enough from the box that noise stays inside."""
    generator = torch.Generator().manual_seed(3)
    return [0.5 + 0.02 * torch.randn(SAMPLES, FEATURES, generator=generator) for _ in range(2)]


def certified(clusterer: SiMVC, views: list[Tensor], labels: Tensor, draws: int = 2000) -> CertifiedReport:
    evaluator = SmoothingEvaluator(SIGMA, draws)
    for part in (slice(0, 35), slice(35, SAMPLES)):
        index = torch.arange(SAMPLES)[part]
        evaluator.update(clusterer.eval(), [view[part] for view in views], labels[part], int(index[0]), index=index)
    return evaluator.compute()


def test_the_radius_of_a_half_space_is_the_distance_to_its_plane(views: list[Tensor]) -> None:
    distance = signed_distance(views)
    report = certified(HalfSpaces([(FEATURES,)] * 2, 2), views, (distance < 0).long())
    radius, certain = report.record.norm[0], report.record.cluster[0] != ABSTAINS
    assert 40 < certain.sum() < SAMPLES
    assert (report.record.cluster[0][certain] == (distance < 0).long()[certain]).all()
    assert (radius <= distance.abs() + 1e-6).all()
    assert (radius > distance.abs() - 0.25 * SIGMA).all()  # what 2000 draws leave open, and chance


def test_certified_acc_counts_what_is_right_and_certain(views: list[Tensor]) -> None:
    distance = signed_distance(views)
    labels = (distance < 0).long()
    labels[:6] = 1 - labels[:6]
    report = certified(HalfSpaces([(FEATURES,)] * 2, 2), views, labels)
    sure = report.record.cluster[0] != ABSTAINS
    for radius in (0.0, 0.01):
        expected = sure & (torch.arange(SAMPLES) >= 6) & (report.record.norm[0] >= radius)
        assert report.certified_acc(radius) == pytest.approx(float(expected.double().mean()))
    assert report.curve()[-1][1] == 0
    axis = certified_figure(report).axes[0]
    assert axis.get_lines()[0].get_ydata()[0] == report.certified_acc(0)


def test_the_bound_is_clopper_and_pearson_s() -> None:
    hits = torch.tensor([0, 400, 520, 700, 1000])
    for hit, radius in zip(hits.tolist(), certified_radius(hits, 1000, 2.0).tolist(), strict=True):
        low = binomtest(hit, 1000, alternative="greater").proportion_ci(0.999).low
        assert radius == pytest.approx(max(0.0, 2 * norm.ppf(low) if low > 0 else 0.0), rel=1e-5)


def test_missing_views_count_for_nothing_and_repeating_repeats() -> None:
    torch.manual_seed(0)
    clusterer = SiMVC([(5,), (5,)], 3).eval()
    views, labels = [torch.rand(8, 5) for _ in range(2)], torch.arange(8) % 3
    mask = torch.tensor([[True, True], [True, False]] * 4)
    other = [view.clone() for view in views]
    other[1][1::2] = 0.7
    records = []
    for given in (views, other, views):
        evaluator = SmoothingEvaluator(0.1, 50)
        evaluator.update(clusterer, given, labels, 0, mask)
        records.append(evaluator.compute().record)
    for record in records[1:]:
        assert torch.equal(record.cluster, records[0].cluster)
        assert torch.equal(record.norm, records[0].norm)


def test_values_out_of_range_and_clusters_of_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma must be positive and draws at least 1"):
        SmoothingEvaluator(0.0)
    with pytest.raises(ValueError, match="depend on the batch at hand"):
        SmoothingEvaluator(0.1).update(Linear([(5,)] * 2, 4).train(), [torch.rand(3, 5)] * 2, torch.zeros(3).long(), 0)


def test_a_smoothed_clusterer_is_the_mean_over_noisy_copies_and_attacks_see_all_of_them(views: list[Tensor]) -> None:
    clusterer = HalfSpaces([(FEATURES,)] * 2, 2)
    smoothed = Smoothed(clusterer, 0.5, draws=5000)
    torch.testing.assert_close(smoothed(views).hidden, smoothed(views).hidden, atol=0.05, rtol=0)  # copies in two parts
    assert not torch.equal(smoothed(views).hidden, smoothed(views).hidden)
    copies = noisy_copies(views, 3, 0.5, torch.Generator().manual_seed(0))
    assert all(copy.shape == (3 * SAMPLES, FEATURES) and copy.min() >= 0 and copy.max() <= 1 for copy in copies)
    two = Smoothed(clusterer, 0.05, draws=2, seed=4)
    first = two(views).assignments
    two.reseed(1)
    assert not torch.equal(two(views).assignments, first)
    two.reseed(0)
    assert torch.equal(two(views).assignments, first)
    attacked = [view.clone().requires_grad_() for view in views]
    Smoothed(clusterer, 0.05)(attacked).hidden[:, 0].sum().backward()
    expected = torch.full((SAMPLES, FEATURES), 1 / (2 * FEATURES) ** 0.5)
    torch.testing.assert_close(attacked[1].grad, expected)  # as without noise: none was cut


def test_attacks_get_up_to_a_certificate_and_not_past_it(views: list[Tensor]) -> None:
    clusterer, distance, budget = HalfSpaces([(FEATURES,)] * 2, 2).eval(), signed_distance(views), 0.01
    certain = certified(clusterer, views, (distance < 0).long()).record.norm[0] > budget
    smoothed = Smoothed(clusterer, SIGMA, draws=4000)
    attacked = APGD("margin", budget, steps=10, norm="l2", joint=True)(smoothed, views)
    moved = smoothed(attacked).assignments.argmax(1) != smoothed(views).assignments.argmax(1)
    assert certain.sum() > 10
    assert not (moved & certain).any()
    assert moved[(distance.abs() > 0.003) & (distance.abs() < 0.007)].all()


def test_luck_in_one_pass_hides_no_sample_from_an_ensemble() -> None:
    torch.manual_seed(0)
    clusterer = Linear([(FEATURES,)] * 2, 4)
    views = [torch.rand(600, FEATURES) for _ in range(2)]
    suite = {"first": APGD("margin", 0.02, steps=20), "all": Ensemble({"first": APGD("margin", steps=20)}, 0.02, repeats=0)}
    evaluator = RobustnessEvaluator(suite)
    evaluator.update(Smoothed(clusterer, 0.25).eval(), views, torch.zeros(600).long(), 0)
    moved = evaluator.compute().record.moved.sum(1)
    assert moved[1] > 0.85 * moved[0] > 100  # but for luck in what eight passes say


def test_on_the_command_line(victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    few = ("--trainer.limit_test_batches=1", "--data.batch_size=10", "--draws=30", *QUIET)
    ascent = {"objective": "margin", "epsilon": 0.3, "steps": 2, "norm": "l2", "joint": True}
    suite = {"apgd": {"class_path": "APGD", "init_args": ascent}}
    attacked = ("--attack_draws=3", f"--model.attacks={json.dumps(suite)}", "--epsilons=[0.3]", "--resolution=null")
    outcome = ardmvc("test", f"--ckpt_path={victim}", "--sigma=0.05", *few, *attacked)
    assert outcome.code == 0, outcome.err
    assert "CoMVC, smoothed with noise of 0.05, under attack" in outcome.out
    assert "certified ACC, smoothed with noise of 0.05, L2 of all views:" in outcome.out
    (folder,) = tmp_path.glob("runs/test/version_*")
    with (folder / "certified_samples.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10
    assert (folder / "certified.csv").read_text().startswith("radius,certified_acc\n0.0,")
    assert (folder / "pictures/test_certified.png").stat().st_size > 1000
    outcome = ardmvc("test", f"--ckpt_path={victim}", "--sigma=0.05", "--model.batch_statistics=true", *few)
    assert outcome.code == 1
    assert "error: sigma: nothing can be certified with model.batch_statistics" in outcome.err


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_curve_that_does_not_belong_beside_certificates_is_said(
    norm: str, victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path
) -> None:
    own = {"epsilon": 0.1, "norm": "l2", "joint": True} if norm == "l2" else {}
    attack = {"class_path": "FGSM", "init_args": {"objective": "cross_entropy", **own}}
    few = ["--draws=10", "--attack_draws=1", "--data.batch_size=20", "--trainer.limit_test_batches=1", *QUIET]
    grows = ["--sigma=0.1", "--epsilons=[0, 0.1]", "--resolution=null", f"--model.attacks={json.dumps({'one': attack})}"]
    assert ardmvc("test", f"--ckpt_path={victim}", *grows, *few).code == 0
    (report,) = tmp_path.rglob("robustness.json")
    notes = " ".join(json.loads(report.read_text())["notes"])
    assert ("not drawn beside the certificates" in notes) == (norm == "linf")
