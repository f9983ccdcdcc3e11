import json
from pathlib import Path

import pytest
import torch

from ar_dmvc.attacks import PGD, UniformNoise
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.evaluation import RobustnessEvaluator, RobustnessReport, attack_figure, comparison_rows, markdown
from ar_dmvc.evaluation.robustness import METRICS, notes_on

Views = tuple[torch.Tensor, ...]


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, value)


class TestEvaluator:
    def test_batches_add_up_and_results_repeat(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.eval()
        labels = torch.arange(12) % 4

        def evaluate() -> RobustnessReport:
            evaluator = RobustnessEvaluator({"noise": UniformNoise(0.1), "pgd": PGD("attack_distance", 0.1, steps=2)})
            for number, half in enumerate((slice(0, 7), slice(7, 12))):
                evaluator.update(small_clusterer, [view[half] for view in small_views], labels[half], number)
            return evaluator.compute()

        report = evaluate()
        assert list(report.rows()) == ["clean", "noise", "pgd", "worst"]
        assert report.scores == evaluate().scores
        clusters = small_clusterer(small_views).assignments.argmax(1)
        purity = sum(int((labels[clusters == c]).bincount().max()) for c in clusters.unique()) / 12
        assert report.scores["clean"]["purity"] == pytest.approx(purity)

    def test_training_mode_leaves_buffers_alone(self, small_clusterer: CoMVC, small_views: Views) -> None:
        small_clusterer.train()
        before = {name: value.clone() for name, value in small_clusterer.state_dict().items()}
        evaluator = RobustnessEvaluator({"noise": UniformNoise(0.1)})
        evaluator.update(small_clusterer, small_views, torch.arange(12) % 4, 0)
        assert all(torch.equal(value, before[name]) for name, value in small_clusterer.state_dict().items())

    def test_a_table_of_nan_says_so(self, small_clusterer: CoMVC, small_views: Views) -> None:
        evaluator = RobustnessEvaluator({"noise": UniformNoise(0.1)})
        evaluator.update(small_clusterer.eval(), small_views, torch.arange(12) % 4, 0)
        assert not any("NaN" in note for note in evaluator.compute().notes)
        with torch.no_grad():
            next(small_clusterer.head.parameters()).fill_(float("nan"))
        evaluator.update(small_clusterer, small_views, torch.arange(12) % 4, 1)
        assert evaluator.compute().notes[0].startswith("24 assignments are not finite numbers (NaN)")

    @pytest.mark.parametrize("name", ["clean", "worst"])
    def test_reserved_names_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"named '{name}'"):
            RobustnessEvaluator({name: UniformNoise(0.1)})


class TestReport:
    def test_worst_is_the_lowest_of_each_metric(self) -> None:
        report = RobustnessReport(
            {
                "clean": scores(0.1),
                "one": {"acc": 0.5, "nmi": 0.9, "ari": 0.4, "purity": 0.6},
                "other": {"acc": 0.6, "nmi": 0.2, "ari": 0.4, "purity": 0.6},
            }
        )
        assert report.worst == {"acc": 0.5, "nmi": 0.2, "ari": 0.4, "purity": 0.6}

    def test_files_hold_the_numbers(self, tmp_path: Path) -> None:
        RobustnessReport({"clean": scores(0.9), "noise": scores(0.8)}, ["careful"]).write(tmp_path)
        content = json.loads((tmp_path / "robustness.json").read_text())
        assert content["scores"]["worst"]["acc"] == 0.8
        assert content["notes"] == ["careful"]
        assert (tmp_path / "robustness.csv").read_text().splitlines()[1] == "clean,0.9,0.9,0.9,0.9"


class TestNotes:
    """An evaluation that looks too kind says so itself."""

    def test_a_full_suite_with_effect_has_none(self) -> None:
        suite = {"noise": UniformNoise(0.1), "pgd": PGD("assignment_divergence", 0.1)}
        assert notes_on({"clean": scores(0.9), "noise": scores(0.9), "pgd": scores(0.3)}, suite) == []

    def test_a_gradient_attack_weaker_than_noise(self) -> None:
        suite = {"noise": UniformNoise(0.1), "pgd": PGD("assignment_divergence", 0.1)}
        (note,) = notes_on({"clean": scores(0.9), "noise": scores(0.5), "pgd": scores(0.8)}, suite)
        assert "pgd did less harm than noise" in note

    def test_a_suite_without_attacks_on_the_assignments(self) -> None:
        suite = {"pgd": PGD("contrastive_alignment", 0.1)}
        (note,) = notes_on({"clean": scores(0.9), "pgd": scores(0.8)}, suite)
        assert "assignment_divergence" in note

    def test_different_budgets(self) -> None:
        suite = {"noise": UniformNoise(0.1), "pgd": PGD("assignment_divergence", 0.2)}
        (note,) = notes_on({"clean": scores(0.9), "noise": scores(0.8), "pgd": scores(0.8)}, suite)
        assert "different budgets, 0.1, 0.2" in note

    def test_poor_clean_clustering(self) -> None:
        suite = {"pgd": PGD("assignment_divergence", 0.1)}
        (note,) = notes_on({"clean": scores(0.2), "pgd": scores(0.3)}, suite)
        assert "clean clustering is poor" in note


def test_table_shows_means_and_spreads() -> None:
    one = {"clean": scores(0.8), "worst": scores(0.4)}
    two = {"clean": scores(0.9), "worst": scores(0.6)}
    rows = comparison_rows({"A": [one, two], "B": [one]})
    assert rows[0] == ["clusterer", "clean", "worst"]
    assert rows[1][1] == "0.85±.07 / 0.85±.07 / 0.85±.07"
    assert rows[2][2] == "0.40 / 0.40 / 0.40"
    assert markdown(rows).splitlines()[1] == "| --- | --- | --- |"


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (20,)], ids=["grey", "colour", "features"])
def test_figure_shows_three_rows_a_view(shape: tuple[int, ...], tmp_path: Path) -> None:
    views = [torch.rand(4, *shape) for _ in range(2)]
    figure = attack_figure(views, [view.flip(0) for view in views], samples=3)
    assert len(figure.axes) == 2 * 3 * 3
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
