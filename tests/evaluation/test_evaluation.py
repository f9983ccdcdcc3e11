import copy
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ar_dmvc.attacks import PGD, UniformNoise
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.evaluation import (
    AttackRecord,
    RobustnessEvaluator,
    RobustnessReport,
    attack_figure,
    comparison_rows,
    markdown,
    model_card,
    projection_figure,
)
from ar_dmvc.evaluation.record import METRICS
from ar_dmvc.evaluation.sanity import notes_on

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
        assert evaluator.compute().worst["kept"] == 0.5  # of two batches

    @pytest.mark.parametrize("trains", [False, True])
    def test_alone_is_among_clean_samples(self, small_clusterer: CoMVC, small_views: Views, trains: bool) -> None:
        small_clusterer.train(trains)
        labels = torch.zeros(len(small_views[0]), dtype=torch.long)
        clusters = []
        for alone in (False, True):
            evaluator = RobustnessEvaluator({"pgd": PGD("attack_distance", 0.3, steps=2)}, alone)
            attacked = evaluator.update(small_clusterer, small_views, labels, 0)["pgd"]
            clusters.append(evaluator.compute().record.cluster[0].tolist())
        expected = []
        for row in range(len(labels)):
            mixed = [view.clone() for view in small_views]
            for view, other in zip(mixed, attacked, strict=True):
                view[row] = other[row]
            with torch.no_grad():
                expected.append(int(copy.deepcopy(small_clusterer).cluster(tuple(mixed)).assignments[row].argmax()))
        assert clusters[1] == expected
        assert (clusters[0] == clusters[1]) is not trains

    @pytest.mark.parametrize("name", ["clean", "worst"])
    def test_reserved_names_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"named '{name}'"):
            RobustnessEvaluator({name: UniformNoise(0.1)})


def record(label: Sequence[int], clean: Sequence[int], **attacked: list[int]) -> AttackRecord:
    """Of samples with these labels and clusters, clean and under each attack."""
    clusters = torch.tensor(list(attacked.values())).view(len(attacked), len(label))
    zeros = torch.zeros_like(clusters)
    index = torch.arange(len(label))
    none, members = zeros - 1, ((),) * len(attacked)
    return AttackRecord(
        tuple(attacked), index, torch.tensor(label), torch.tensor(clean), clusters, zeros, zeros.float(), none, members
    )


class TestReport:
    LABEL = (0, 0, 0, 1, 1, 1)
    CLEAN = (7, 7, 5, 5, 5, 5)  # 7 is class 0 and 5 is class 1, five of six right

    def test_worst_is_the_worst_case_of_each_sample(self) -> None:
        one, other = [7, 5, 5, 5, 5, 5], [7, 7, 5, 7, 5, 5]
        report = RobustnessReport(record(self.LABEL, self.CLEAN, one=one, other=other))
        assert report.scores["clean"]["fixed_acc"] == pytest.approx(5 / 6)
        assert report.scores["one"]["fixed_acc"] == pytest.approx(4 / 6)
        assert report.scores["other"]["fixed_acc"] == pytest.approx(4 / 6)
        assert report.worst["acc"] == report.worst["fixed_acc"] == pytest.approx(3 / 6)
        assert report.worst["kept"] == pytest.approx(4 / 6)
        assert report.scores["clean"]["kept"] == 1
        worst = [7, 5, 5, 7, 5, 5]
        assert report.record.worst_cluster().tolist() == worst
        assert report.worst["nmi"] == pytest.approx(normalized_mutual_info_score(self.LABEL, worst))
        assert report.worst["ari"] == pytest.approx(adjusted_rand_score(self.LABEL, worst))

    def test_a_clustering_that_is_permuted_is_not_unharmed(self) -> None:
        swapped = [12 - cluster for cluster in self.CLEAN]
        scores = RobustnessReport(record(self.LABEL, self.CLEAN, swap=swapped)).rows()
        assert scores["swap"]["acc"] == scores["clean"]["acc"]
        assert scores["swap"]["fixed_acc"] == scores["worst"]["acc"] == 0

    def test_no_attack_leaves_the_clean_figures(self) -> None:
        rows = RobustnessReport(record(self.LABEL, self.CLEAN)).rows()
        assert rows["worst"] == rows["clean"]

    @given(st.lists(st.tuples(*[st.integers(0, 3)] * 5), min_size=1, max_size=40), st.randoms())
    def test_worst_is_no_better_than_any_attack_and_follows_no_order(
        self, samples: list[tuple[int, ...]], random: Random
    ) -> None:
        def rows(samples: list[tuple[int, ...]]) -> dict[str, dict[str, float]]:
            label, clean, *attacked = map(list, zip(*samples, strict=True))
            return RobustnessReport(record(label, clean, **dict(zip("abc", attacked, strict=True)))).rows()

        table = rows(samples)
        assert all(table["worst"]["fixed_acc"] <= scores["fixed_acc"] <= table["clean"]["acc"] for scores in table.values())
        shuffled = samples[:]
        random.shuffle(shuffled)
        assert rows(shuffled)["a"] == pytest.approx(table["a"])

    def test_names_that_differ_in_a_dot_are_two_attacks(self, small_clusterer: CoMVC, small_views: Views) -> None:
        suite = {"a.b": UniformNoise(0.1), "a_b": PGD("attack_distance", 0.3, steps=5)}
        evaluator = RobustnessEvaluator(suite)
        evaluator.update(small_clusterer.eval(), small_views, torch.arange(12) % 4, 0)
        both = evaluator.compute().record
        assert both.norm.amax(1).tolist() == pytest.approx([0.1, 0.3], abs=1e-3)
        assert both.queries.tolist() == [[0] * 12, [5] * 12]

    def test_files_hold_the_numbers(self, tmp_path: Path) -> None:
        report = RobustnessReport(record(self.LABEL, self.CLEAN, noise=[5] * 6), ["careful"])
        report.write(tmp_path)
        content = json.loads((tmp_path / "robustness.json").read_text())
        assert content["scores"] == report.rows()
        assert content["notes"] == ["careful"]
        with (tmp_path / "robustness.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["attack"] for row in rows] == ["clean", "noise", "worst"]
        assert float(rows[2]["acc"]) == report.worst["acc"]
        with np.load(tmp_path / "robustness_rows.npz", allow_pickle=False) as arrays:
            assert arrays["attacks"].tolist() == ["noise"]
            assert arrays["cluster"].tolist() == [[5] * 6]
            assert arrays["clean"].tolist() == list(self.CLEAN)


class TestNotes:
    """An evaluation that looks too kind says so itself."""

    def test_one_cluster_of_what_has_no_labels_holds_for_nothing(self) -> None:
        one = record([0] * 4, [2] * 4, pgd=[2] * 4)._replace(label=None)
        notes = notes_on({"clean": one.clean_scores(), **one.scores()}, {}, record=one)
        assert any("in one cluster" in note for note in notes)

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

    def test_more_right_under_attack(self) -> None:
        suite = {"pgd": PGD("assignment_divergence", 0.1)}
        (note,) = notes_on({"clean": scores(0.2), "pgd": scores(0.3)}, suite)
        assert note.startswith("an attack scored above clean")


def test_table_shows_means_and_spreads() -> None:
    one = {"clean": scores(0.8), "worst": scores(0.4)}
    two = {"clean": scores(0.9), "worst": scores(0.6)}
    rows = comparison_rows({"A": [one, two], "B": [one]})
    assert rows[0] == ["clusterer", "clean", "worst"]
    assert rows[1][1] == "0.85±.07 / 0.85±.07 / 0.85±.07"
    assert rows[2][2] == "0.40 / 0.40 / 0.40"
    assert markdown(rows).splitlines()[1] == "| --- | --- | --- |"


def test_a_table_of_runs_without_labels_says_what_is_kept() -> None:
    results = {"A": [{"clean": {"kept": 1.0}, "worst": {"kept": 0.25}}], "B": [{"clean": scores(0.8), "worst": scores(0.5)}]}
    assert comparison_rows(results)[1:] == [
        ["A", "kept 1.00", "kept 0.25"],
        ["B", "0.80 / 0.80 / 0.80", "0.50 / 0.50 / 0.50"],
    ]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (20,)], ids=["grey", "colour", "features"])
def test_figure_shows_three_rows_a_view(shape: tuple[int, ...], tmp_path: Path) -> None:
    views = [torch.rand(4, *shape) for _ in range(2)]
    figure = attack_figure(views, [view.flip(0) for view in views], samples=3)
    assert len(figure.axes) == 2
    (image,) = figure.axes[0].images
    shown, height = image.get_array(), shape[1] if len(shape) == 3 else 3
    for top, first in ((0, views[0][0]), (2 * (height + 1), views[0][3])):
        expected = first.movedim(0, -1).expand(-1, -1, 3) if len(shape) == 3 else first[:, None].expand(-1, 3)
        place = np.s_[top : top + height, : shape[-1]] if len(shape) == 3 else np.s_[top]
        np.testing.assert_allclose(shown[place], expected, rtol=1e-6)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][::2] == ["clean", "attacked"]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("shape", "times"), [((1, 8, 8), 1), ((20,), 2)])
def test_figure_says_clusters_and_where_to_samples_are_moved(shape: tuple[int, ...], times: int) -> None:
    views = [torch.rand(4, *shape) for _ in range(2)]
    clusters = torch.tensor([3, 1, 0, 2]), torch.tensor([3, 5, -1, 2])
    figure = attack_figure(views, views, samples=3, clusters=clusters)
    said = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert said == ["3", "1 → 5", "0 → –"] * times
    assert [text for axis in attack_figure(views, views).axes for text in axis.texts] == []


@pytest.mark.parametrize("features", [1, 2, 7])
def test_representations_are_drawn_whatever_they_are(features: int) -> None:
    clean = torch.rand(20, features, generator=torch.Generator().manual_seed(0))
    attacked = clean.clone()
    attacked[3] = torch.nan
    moved = torch.arange(20) == 3
    figure = projection_figure(clean, attacked, torch.arange(20) % 4, moved, "pgd")
    drawn = [[len(points.get_offsets()) for points in axis.collections] for axis in figure.axes]
    assert drawn == [[20], [20, 1], [20], [20, 1]]


def test_a_model_card_holds_the_figures_for_people_and_machines() -> None:
    kept = record([0, 0, 1, 1], [0, 0, 1, 1], pgd=[0, 1, 1, 1])
    report = RobustnessReport(kept, ["a | note <b>"], budgets={"pgd": 0.1}, about={"data": "Mine", "torch": "2"})
    _, front, text = model_card(report, "CoMVC", "4 samples", {"seed": "3"}, "mine.ckpt").split("---\n", 2)
    (model,) = yaml.safe_load(front)["model-index"]
    assert model["name"] == "CoMVC"
    clean, worst = (dict(metric.values() for metric in result["metrics"]) for result in model["results"])
    assert (clean["fixed_acc"], worst["fixed_acc"], worst["kept"]) == (1.0, 0.75, 0.75)
    assert "| pgd | 0.1 | 0.750 |" in text
    assert "Mine; licence: not known." in text
    assert "a \\| note &lt;b>" in text
    assert "torch: 2" in text
    assert "* seed: 3" in text
    assert "load_clusterer('mine.ckpt')" in text
    text = model_card(report, "CoMVC", "4 samples", class_path="tests.toys.Mine")
    assert "from tests.toys import Mine\n\nclusterer = load_clusterer('last.ckpt', allowed=[Mine])\n" in text
