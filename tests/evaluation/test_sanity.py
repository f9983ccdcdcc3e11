"""What an evaluation says of itself: each note against a clusterer that deserves it, and none against one that does not."""

import csv
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ar_dmvc.attacks import (
    APGD,
    FGSM,
    PGD,
    Attack,
    Ensemble,
    Margin,
    RayS,
    Square,
    Target,
    TargetedAPGD,
    ThreatModel,
    UniformNoise,
    Universal,
)
from ar_dmvc.attacks.threat import Views
from ar_dmvc.clusterers import ClustererOutput, SiMVC
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import RobustnessEvaluator, RobustnessReport
from tests.toys import Linear, Misleading, Quantised, Random, Unmoved

EPSILON = 0.1
FEATURES = 30


def evaluated(clusterer: Linear, **attacks: Attack) -> RobustnessReport:
    clusterer.eval()
    evaluator = RobustnessEvaluator(attacks)
    generator = torch.Generator().manual_seed(1)
    samples = [tuple(torch.rand(50, FEATURES, generator=generator) for _ in range(2)) for _ in range(2)]
    parts = [(views, None, torch.arange(50) + 50 * number) for number, views in enumerate(samples)]
    evaluator.fit(clusterer, parts)
    for number, (views, _, index) in enumerate(parts):
        labels = Linear([(FEATURES,)] * 2, 4)(views).assignments.argmax(1)
        evaluator.update(clusterer, views, labels, number, index=index)
    return evaluator.compute()


def made(kind: type[Linear]) -> Linear:
    return kind([(FEATURES,)] * 2, 4)


APGD_CE = APGD("cross_entropy", EPSILON, 20)


class Reckless(Attack):
    """Knows no budget."""

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        return [1 - view for view in views]


class Breaking(Unmoved):
    """It holds at any budget, but that nothing is a number where a first view has changed much."""

    def forward(self, views: Views, mask: Tensor | None = None) -> ClustererOutput:
        output = super().forward(views, mask)
        broken = (views[0] - 0.5).abs().mean(1, keepdim=True) > 0.8 * EPSILON
        return output._replace(assignments=output.assignments.masked_fill(broken, torch.nan))


@pytest.mark.parametrize(
    "attack",
    [
        APGD("margin", EPSILON, 20),
        PGD("margin", EPSILON, steps=20),
        TargetedAPGD(epsilon=EPSILON),
        Square(EPSILON, 200),
        Ensemble(epsilon=EPSILON),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_what_breaks_a_clusterer_moves_samples(attack: Attack) -> None:
    evaluator, views = RobustnessEvaluator({"attack": attack}), [torch.full((4, FEATURES), 0.5)] * 2
    clusterer = Breaking([(FEATURES,)] * 2, 4).eval()
    assert clusterer(views).assignments.isfinite().all()
    attacked = evaluator.update(clusterer, views, None, 0)["attack"]
    assert all(view.isfinite().all() for view in attacked)
    report = evaluator.compute()
    assert report.scores["attack"]["kept"] == 0
    assert "not finite" in report.notes[0]


class Broken(Attack):
    """Makes no numbers of one sample."""

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        return [view.index_fill(0, torch.tensor([1]), torch.nan) for view in views]


@pytest.mark.parametrize("joint", [False, True])
def test_an_attack_that_makes_no_numbers_moves_nothing(joint: bool) -> None:
    report = evaluated(made(Linear), broken=Broken(EPSILON, joint=joint, norm="l2" if joint else "linf"))
    assert report.scores["broken"]["kept"] == 1
    assert any(note.startswith("broken left the budget on 2 samples") for note in report.notes)


class TestNotes:
    def test_an_attack_that_leaves_its_budget_is_said(self) -> None:
        report = evaluated(made(Linear), own=Reckless(EPSILON), apgd=APGD_CE)
        assert (
            "own left the budget on 100 samples: what it made of them was cut back, and may be weaker for it." in report.notes
        )
        assert (report.record.norm <= EPSILON + 1e-6).all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
    def test_rounding_leaves_no_budget(self, dtype: torch.dtype) -> None:
        clusterer, generator = made(Linear).to(dtype).eval(), torch.Generator().manual_seed(1)
        views = [(0.9 + 0.1 * torch.rand(50, FEATURES, generator=generator)).to(dtype) for _ in range(2)]
        for norm in ("linf", "l2"):
            evaluator = RobustnessEvaluator(
                {"noise": UniformNoise(EPSILON, norm=norm), "pgd": PGD("margin", EPSILON, norm=norm)}
            )
            evaluator.update(clusterer, views, None, 0)
            assert not any("left the budget" in note for note in evaluator.compute().notes)

    def test_a_clusterer_with_nothing_to_hide_has_none(self) -> None:
        report = evaluated(
            made(Linear), noise=UniformNoise(EPSILON), apgd=APGD_CE, pgd=PGD("margin", EPSILON), square=Square(EPSILON, 200)
        )
        assert report.notes == []
        assert report.worst["kept"] < 0.5

    def test_attacks_of_another_reach_are_no_measure(self) -> None:
        weaker = {"apgd": APGD("cross_entropy", EPSILON, 20, views=[1]), "l2": APGD("cross_entropy", EPSILON, 20, norm="l2")}
        report = evaluated(made(Linear), **weaker, square=Square(EPSILON, 200), noise=UniformNoise(EPSILON))
        assert not any("masked" in note for note in report.notes)
        assert report.scores["square"]["kept"] < report.scores["apgd"]["kept"]

    @pytest.mark.parametrize(
        ("kind", "attacks", "note"),
        [
            (Random, {"apgd": APGD_CE}, "outputs are random"),
            (Unmoved, {"apgd": APGD_CE}, "keep their cluster at a budget of 0.5"),
            (Quantised, {"apgd": APGD_CE}, "apgd: 100% of its ascents start without any gradient"),
            (Misleading, {"apgd": APGD_CE}, "apgd: .*% of its ascents come no higher than their start"),
            (Linear, {"pgd": PGD("margin", EPSILON, 0.001, steps=10)}, "pgd: .* still rise in their last steps: take more"),
            (
                Quantised,
                {"apgd": APGD_CE, "square": Square(EPSILON, 200)},
                "square, which sees no gradient, moved more",
            ),
            (Quantised, {"apgd": APGD_CE, "rays": RayS(EPSILON, 200)}, "rays, which sees no gradient, moved more samples"),
            (Misleading, {"pgd": PGD("margin", 0.3, steps=20), "noise": UniformNoise(0.3)}, "pgd did less harm than noise"),
            (
                Misleading,
                {"short": PGD("cross_entropy", 0.3, 0.03, 1), "long": PGD("cross_entropy", 0.3, 0.03, 20)},
                "long, short with more steps or a larger budget, did less harm",
            ),
            (
                Quantised,
                {"all": Ensemble({"one": APGD(steps=5), "two": Square(queries=200)}, EPSILON)},
                "all: two, which sees no",
            ),
        ],
        ids=[
            "random",
            "holds at 0.5",
            "no gradient",
            "flat",
            "rising",
            "square",
            "rays",
            "noise",
            "more steps",
            "in an ensemble",
        ],
    )
    def test_each_is_deserved(self, kind: type[Linear], attacks: dict[str, Attack], note: str) -> None:
        assert any(re.search(note, said) for said in evaluated(made(kind), **attacks).notes)

    def test_what_comes_first_says_nothing_of_gradients(self) -> None:
        suite = Ensemble({"one": Square(queries=200), "two": APGD(steps=5)}, EPSILON)
        report = evaluated(made(Linear), all=suite)
        assert report.record.taken("all")["one"] > 0.1
        assert not any("which sees no gradient" in note for note in report.notes)

    def test_what_takes_no_gradient_needs_no_look(self) -> None:
        assert not any("random" in note for note in evaluated(made(Random), noise=UniformNoise(EPSILON)).notes)


class TestWhatMovedEachSample:
    def test_is_the_first_attack_and_its_member(self, tmp_path: Path) -> None:
        suite = {
            "noise": UniformNoise(0.03),
            "all": Ensemble({"weak": FGSM("margin"), "strong": APGD(Margin(1), steps=20)}, 0.06),
        }
        report = evaluated(made(Linear), **suite)
        report.write(tmp_path)
        with (tmp_path / "robustness_samples.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["index"]) for row in rows] == list(range(100))
        record = report.record
        for number, row in enumerate(rows):
            moved = record.moved[:, number].tolist()
            assert int(row["clean_cluster"]) == record.clean[number]
            if not any(moved):
                assert (row["moved_by"], float(row["norm"]), row["cluster"]) == ("", 0.0, row["clean_cluster"])
                continue
            assert row["cluster"] != row["clean_cluster"]
            assert row["moved_by"] == "noise" if moved[0] else row["moved_by"] in ("all/weak", "all/strong")
            assert float(row["norm"]) == pytest.approx(0.03 if moved[0] else 0.06, rel=0.2)
        taken = record.taken("all")
        assert sum(taken.values()) == pytest.approx(1 - report.scores["all"]["kept"])
        assert set(taken) == {"weak", "strong"}
        assert record.taken("noise") == {}

    def test_costs_are_counted(self) -> None:
        report = evaluated(
            made(Linear), noise=UniformNoise(EPSILON), pgd=PGD("margin", EPSILON, steps=7), square=Square(EPSILON, 9)
        )
        assert report.costs["noise"][:2] == (0, 0.0)
        assert report.costs["pgd"][:2] == (14, 7.0)
        assert 1 <= report.costs["square"].queries <= 9
        assert all(cost.seconds > 0 for cost in report.costs.values())


def test_what_is_learned_is_measured_on_samples_that_it_was_not_learned_on() -> None:
    """Each half of the samples meets what was learned on the other: labels and the half itself change nothing."""
    seen: list[set[float]] = []

    class Spying(Universal):
        def fit(self, target, batches, threat):
            batches = list(batches)
            seen.append({float(value) for views, _ in batches for value in views[0][:, 0]})
            super().fit(target, batches, threat)

        def run(self, target, views, threat, generator, start=None):
            met.append(({float(value) for value in views[0][:, 0]}, self.learned[0].sum()))
            return super().run(target, views, threat, generator, start)

    met: list[tuple[set[float], torch.Tensor]] = []
    report = evaluated(made(Linear), universal=Spying(epsilon=EPSILON, epochs=2))
    assert len(seen) == 2
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 100
    for samples, learned in met:
        own = 0 if samples <= seen[1] else 1
        assert not samples & seen[own]
        assert learned == next(other for others, other in met if others <= seen[1 - own])
    assert report.scores["universal"]["kept"] < 1


def test_what_learns_takes_two_samples_wherever_they_are() -> None:
    clusterer, views = made(Linear).eval(), [torch.rand(2, FEATURES, generator=torch.Generator().manual_seed(0))] * 2
    for index in (torch.tensor([0, 2]), torch.tensor([7, 3])):
        evaluator = RobustnessEvaluator({"universal": Universal(epsilon=EPSILON, epochs=2)})
        evaluator.fit(clusterer, [(views, None, index)])
        attacked = evaluator.update(clusterer, views, None, 0, index=index)["universal"]
        assert not torch.equal(attacked[0][0] - views[0][0], attacked[0][1] - views[0][1])
    with pytest.raises(ConfigurationError, match="on other samples than they are tested on: give them two at least"):
        evaluator.fit(clusterer, [([view[:1] for view in views], None, torch.tensor([4]))])


def test_what_learns_does_so_under_inference_mode_and_of_incomplete_views() -> None:
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.rand(12, 9, generator=generator) for _ in range(2))
    mask = torch.ones(12, 2, dtype=torch.bool)
    mask[::3, 0] = False
    clusterer, index = SiMVC([(9,)] * 2, 3).eval(), torch.arange(12)
    evaluator = RobustnessEvaluator({"universal": Universal(epsilon=EPSILON, epochs=2)})
    with torch.inference_mode():
        batch = (tuple(view * 1 for view in views), mask.clone(), index * 1)
        evaluator.fit(clusterer, [batch])
        attacked = evaluator.update(clusterer, batch[0], index % 3, 0, mask, index)["universal"]
    for number, view in enumerate(views):
        assert torch.equal(attacked[number][~mask[:, number]], view[~mask[:, number]])
        assert not torch.equal(attacked[number], view)
