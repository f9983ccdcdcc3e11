"""A clusterer under a suite of attacks: numbers, and what to think of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ar_dmvc.attacks import Attack, Target, Views, undisturbed, usable
from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.evaluation.record import METRICS, NOT_FINITE, AttackRecord, RecordMetric, Scores
from ar_dmvc.files import whole_file, write_whole

CLEAN, WORST = "clean", "worst"

_NOTICEABLE = 0.02
_POOR = 0.2


class RobustnessEvaluator:
    """Attacks batches of one clusterer, and keeps what became of each sample.

    Args:
        attacks: the suite, by name; every attack with a budget.

    Raises:
        ValueError: an attack is named ``clean`` or ``worst``.
    """

    def __init__(self, attacks: Mapping[str, Attack]) -> None:
        if reserved := {CLEAN, WORST} & set(attacks):
            raise ValueError(f"an attack cannot be named {reserved.pop()!r}")
        self.attacks = dict(attacks)
        self.metric = RecordMetric(list(self.attacks))

    def update(
        self,
        clusterer: Clusterer,
        views: Views,
        labels: Tensor,
        batch_number: int,
        mask: Tensor | None = None,
        index: Tensor | None = None,
    ) -> dict[str, Views]:
        """Attack a batch.

        Args:
            clusterer: in evaluation mode, or in training mode for the statistics of the attacked batch.
            views: V clean views (N, *shape_v); of processes that have no batch left, N is zero.
            labels: (N,) integers.
            batch_number: seeds each attack's random numbers, so that results repeat.
            mask: (N, V) bool, which views are present; None: all.
            index: positions in the data set, (N,); None: those of the batch.

        Returns:
            The attacked views, by attack.
        """
        count = len(self.attacks)
        self.metric.to(labels.device)
        if len(labels) == 0:
            self.metric.update(labels.new_zeros(0, 3 + 2 * count), views[0].new_zeros(0, count))
            return {}
        with torch.inference_mode(False), undisturbed(clusterer):
            views = tuple(usable(view) for view in views)
            target = Target(clusterer, None if mask is None else usable(mask))
            clean = target.clean(views)
            attacked = {name: self._attack(attack, target, views, batch_number) for name, attack in self.attacks.items()}
        index = torch.arange(len(labels), device=labels.device) if index is None else index
        own = [index, labels, clusters_of(clean)]
        integers = [*own, *(one.cluster for one in attacked.values()), *(one.queries for one in attacked.values())]
        norms = [one.norm for one in attacked.values()]
        self.metric.update(
            torch.stack([column.to(labels.device) for column in integers], 1),
            torch.stack(norms, 1) if norms else views[0].new_zeros(len(labels), 0),
        )
        return {name: one.views for name, one in attacked.items()}

    def _attack(self, attack: Attack, target: Target, views: Views, batch_number: int) -> _Attacked:
        target = target.uncounted()
        attack.reseed(batch_number)
        attacked = attack.against(target, views)
        queries = torch.zeros(len(views[0]), dtype=torch.int64) if target.queries is None else target.queries.clone()
        with torch.no_grad():
            cluster = clusters_of(target(attacked))
        return _Attacked(attacked, cluster, queries, attack.threat.sizes(views, attacked))

    def compute(self) -> RobustnessReport:
        """What became of all samples of all processes."""
        report = RobustnessReport(self.metric.record())
        report.notes.extend(notes_on(report.scores, self.attacks))
        if lost := int((report.record.cluster == NOT_FINITE).sum() + (report.record.clean == NOT_FINITE).sum()):
            report.notes.insert(
                0, f"{lost} assignments are not finite numbers (NaN): they count as moved, and as a cluster of their own."
            )
        return report

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()


@dataclass(frozen=True)
class _Attacked:
    views: Views
    cluster: Tensor
    queries: Tensor
    norm: Tensor


def clusters_of(output: ClustererOutput) -> Tensor:
    """Each sample's cluster, (N,); :data:`NOT_FINITE` where its assignments are no finite numbers."""
    return output.assignments.argmax(1).masked_fill(~torch.isfinite(output.assignments).all(1), NOT_FINITE)


@dataclass(frozen=True)
class RobustnessReport:
    """What a suite did to a clusterer, and what to think of it.

    Attributes:
        record: what became of each sample.
        notes: sentences on why the evaluation may look too kind; empty where nothing stands out.
    """

    record: AttackRecord
    notes: list[str] = field(default_factory=list)

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Attack to metric to value, clean first, then in the order of the suite; see :meth:`AttackRecord.scores`."""
        return {CLEAN: self.record.clean_scores(), **self.record.scores()}

    @cached_property
    def worst(self) -> Scores:
        """The worst case, sample by sample; see :meth:`AttackRecord.worst_scores`."""
        return self.record.worst_scores()

    def rows(self) -> dict[str, Scores]:
        """All scores, the worst last."""
        return {**self.scores, WORST: self.worst}

    def write(self, folder: Path) -> None:
        """Write into a folder.

        ``robustness.csv`` has a row an attack, ``robustness.json`` the same with notes, ``robustness_rows.npz`` what became of
        each sample under each attack, see :class:`AttackRecord`.
        """
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["attack", *METRICS])
        writer.writerows([name, *(scores[metric] for metric in METRICS)] for name, scores in self.rows().items())
        write_whole(folder / "robustness.csv", table.getvalue())
        with whole_file(folder / "robustness_rows.npz") as file:
            np.savez_compressed(file, **self.record.arrays())  # type: ignore[arg-type]  # arrays, not its options
        content = {"scores": self.rows(), "notes": self.notes}
        write_whole(folder / "robustness.json", json.dumps(content, indent=2) + "\n")


def notes_on(scores: Mapping[str, Scores], attacks: Mapping[str, Attack]) -> list[str]:
    """Why an evaluation may look kinder than the clusterer deserves; empty where nothing stands out."""
    notes = []
    gradient = {name: attack for name, attack in attacks.items() if attack.needs == "gradients"}
    noise = {name: attack for name, attack in attacks.items() if attack.needs == "nothing"}
    for noise_name, noise_attack in noise.items():
        for name, attack in gradient.items():
            weaker = scores[name]["nmi"] > scores[noise_name]["nmi"] + _NOTICEABLE
            if weaker and attack.budget >= noise_attack.budget:
                notes.append(
                    f"{name} did less harm than {noise_name} of no larger budget: it does not reach its objective's worst, "
                    "or gradients are masked; do not count on it."
                )
    if attacks and not any(attack.compares for attack in gradient.values()):
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


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (zero for one value)."""
    tensor = torch.tensor(values, dtype=torch.float64)
    return float(tensor.mean()), float(tensor.std()) if len(values) > 1 else 0.0
