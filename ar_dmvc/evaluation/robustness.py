"""A clusterer under a suite of attacks: numbers, and what to think of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection, SumMetric

from ar_dmvc.attacks import PGD, Attack, UniformNoise, Views, undisturbed
from ar_dmvc.clusterers import Clusterer, with_mask
from ar_dmvc.files import write_whole
from ar_dmvc.metrics import clustering_metrics, compute_metrics

CLEAN, WORST = "clean", "worst"
METRICS = ("acc", "nmi", "ari", "purity")
Scores = dict[str, float]

_NOTICEABLE = 0.02
_POOR = 0.2


class RobustnessEvaluator(nn.Module):
    """Counts clean and attacked clusters of one clusterer, batch by batch.

    Args:
        attacks: the suite, by name; every attack with a budget.

    Raises:
        ValueError: an attack is named ``clean`` or ``worst``.
    """

    def __init__(self, attacks: Mapping[str, Attack]) -> None:
        super().__init__()
        if reserved := {CLEAN, WORST} & set(attacks):
            raise ValueError(f"an attack cannot be named {reserved.pop()!r}")
        self.attacks = dict(attacks)
        self.metrics = nn.ModuleDict({_key(name): clustering_metrics() for name in (CLEAN, *self.attacks)})
        self.not_finite = SumMetric()

    def update(
        self, clusterer: Clusterer, views: Views, labels: Tensor, batch_number: int, mask: Tensor | None = None
    ) -> dict[str, Views]:
        """Attack a batch and count.

        Args:
            clusterer: in evaluation mode, or in training mode for the statistics of the attacked batch.
            views: V clean views (N, *shape_v).
            labels: (N,) integers.
            batch_number: seeds each attack's random numbers, so that results repeat.
            mask: (N, V) bool, which views are there; None: all.

        Returns:
            The attacked views, by attack.
        """
        self._count(CLEAN, with_mask(clusterer, mask), views, labels)
        attacked_views: dict[str, Views] = {}
        for name, attack in self.attacks.items():
            attack.reseed(batch_number)
            attacked_views[name] = attack(clusterer, views, mask=mask)
            self._count(name, with_mask(clusterer, mask), attacked_views[name], labels)
        return attacked_views

    def compute(self) -> RobustnessReport:
        """Scores of everything counted, summed across processes."""
        scores = {}
        for name in (CLEAN, *self.attacks):
            scores[name] = {metric: float(value) for metric, value in compute_metrics(self._metrics(name)).items()}
        notes = notes_on(scores, self.attacks)
        if lost := int(self.not_finite.compute()):
            notes.insert(0, f"{lost} assignments are not finite numbers (NaN): no figure of this table means anything.")
        return RobustnessReport(scores, notes)

    def reset(self) -> None:
        """Forget what was counted."""
        for name in (CLEAN, *self.attacks):
            self._metrics(name).reset()
        self.not_finite.reset()

    def _count(self, name: str, clusterer: Clusterer, views: Views, labels: Tensor) -> None:
        with torch.no_grad(), undisturbed(clusterer):
            assignments = clusterer(views).assignments
            self.not_finite.update((~torch.isfinite(assignments)).any(1).sum())
            self._metrics(name).update(assignments.argmax(1), labels)

    def _metrics(self, name: str) -> MetricCollection:
        metrics = self.metrics[_key(name)]
        assert isinstance(metrics, MetricCollection)
        return metrics


@dataclass(frozen=True)
class RobustnessReport:
    """Scores by attack and metric, in the order of the suite, clean first, and what to think of them.

    Attributes:
        scores: attack to metric to value.
        notes: sentences on why the evaluation may look too kind; empty where nothing stands out.
    """

    scores: dict[str, Scores]
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Scores:
        """The lowest value of each metric under any attack; the clean ones where there is no attack."""
        attacked = [scores for name, scores in self.scores.items() if name != CLEAN] or [self.scores[CLEAN]]
        return {metric: min(scores[metric] for scores in attacked) for metric in attacked[0]}

    def rows(self) -> dict[str, Scores]:
        """All scores, the worst last."""
        return {**self.scores, WORST: self.worst}

    def write(self, folder: Path) -> None:
        """Write ``robustness.csv`` (a row an attack) and ``robustness.json`` (with notes) into a folder."""
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["attack", *METRICS])
        writer.writerows([name, *(scores[metric] for metric in METRICS)] for name, scores in self.rows().items())
        write_whole(folder / "robustness.csv", table.getvalue())
        content = {"scores": self.rows(), "notes": self.notes}
        write_whole(folder / "robustness.json", json.dumps(content, indent=2) + "\n")


def notes_on(scores: Mapping[str, Scores], attacks: Mapping[str, Attack]) -> list[str]:
    """Why an evaluation may look kinder than the clusterer deserves; empty where nothing stands out."""
    notes = []
    gradient = {name: attack for name, attack in attacks.items() if isinstance(attack, PGD)}
    noise = {name: attack for name, attack in attacks.items() if isinstance(attack, UniformNoise)}
    for noise_name, noise_attack in noise.items():
        for name, attack in gradient.items():
            weaker = scores[name]["nmi"] > scores[noise_name]["nmi"] + _NOTICEABLE
            if weaker and attack.budget >= noise_attack.budget:
                notes.append(
                    f"{name} did less harm than {noise_name} of no larger budget: it does not reach its objective's worst, "
                    "or gradients are masked; do not count on it."
                )
    if attacks and not any(attack.objective.compares for attack in gradient.values()):
        notes.append(
            "no gradient attack on the assignments or on the representations is in the suite: a clusterer that holds here "
            "may fall to one (add assignment_divergence and attack_distance)."
        )
    budgets = sorted({attack.budget for attack in attacks.values()})
    if len(budgets) > 1:
        notes.append(f"the attacks have different budgets, {', '.join(f'{budget:g}' for budget in budgets)}.")
    if scores[CLEAN]["nmi"] < _POOR:
        notes.append(
            f"the clean clustering is poor (NMI {scores[CLEAN]['nmi']:.2f}): that it holds under attack means nothing."
        )
    if any(scores[CLEAN]["acc"] < scores[name]["acc"] - _NOTICEABLE for name in attacks):
        notes.append("an attack scored above clean: the clean clustering is poor, so there is little left to attack.")
    return notes


def _key(name: str) -> str:
    """Module names may not hold dots, nor be names of ModuleDict's own."""
    return "metrics_" + name.replace(".", "_")


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (zero for one value)."""
    tensor = torch.tensor(values, dtype=torch.float64)
    return float(tensor.mean()), float(tensor.std()) if len(values) > 1 else 0.0
