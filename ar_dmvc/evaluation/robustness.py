"""A clusterer under a suite of attacks: numbers, and what to think of them."""

from __future__ import annotations

import copy
import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ar_dmvc.attacks import Attack, Target, Views, undisturbed, usable
from ar_dmvc.attacks.target import Signs
from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation.record import METRICS, NOT_FINITE, AttackRecord, RecordMetric, Scores, own_columns
from ar_dmvc.evaluation.sanity import CLEAN, WORST, Probes, SanityMetric, notes_on, probe
from ar_dmvc.files import whole_file, write_whole


class RobustnessEvaluator:
    """Attacks batches of one clusterer, and keeps what became of each sample.

    Args:
        attacks: the suite, by name; every attack with a budget.
        alone: whether an attacked sample is clustered among clean ones. All are attacked together, then each is put into the
            clean batch by itself, which takes as many passes as there are samples. It matters to clusterers in training mode,
            where a sample's cluster depends on its batch.

    Attributes:
        latest: clusters of the last batch, (N,) each: of clean views, ``clean``, and of attacked ones by attack.

    Raises:
        ValueError: an attack is named ``clean`` or ``worst``.
    """

    def __init__(self, attacks: Mapping[str, Attack], alone: bool = False) -> None:
        if reserved := {CLEAN, WORST} & set(attacks):
            raise ValueError(f"an attack cannot be named {reserved.pop()!r}")
        self.attacks = dict(attacks)
        self.alone = alone
        self.metric = RecordMetric(list(self.attacks))
        self.sanity = SanityMetric(list(self.attacks))
        self.latest: dict[str, Tensor] = {}
        self.members: dict[str, Mapping[str, Attack]] = {}
        self._fitted: dict[str, list[Attack]] = {}
        self._learned_on = torch.zeros(0, dtype=torch.int64)

    def fit(self, clusterer: Clusterer, batches: Sequence[tuple[Views, Tensor | None, Tensor]]) -> None:
        """Let the attacks that learn do so: each twice, so that every sample meets what was learned on others.

        Args:
            clusterer: in the mode in which it is attacked.
            batches: all samples that will be attacked, in parts: V clean views (N, *shape_v), the mask (N, V) of those that are
                present (None: all), and positions in the data set (N,); every second in their order is of one half.

        Raises:
            ConfigurationError: there are fewer than two samples.
        """
        self._learned_on = torch.cat([usable(index) for _, _, index in batches]).sort().values
        if len(self._learned_on) < 2 and any(attack.learns for attack in self.attacks.values()):
            raise ConfigurationError(
                "attacks that learn do so on other samples than they are tested on: give them two at least"
            )
        for name, attack in self.attacks.items():
            if not attack.learns:
                continue
            self._fitted[name] = []
            for half in range(2):
                learner = copy.copy(attack)
                with torch.inference_mode(False), undisturbed(clusterer):
                    others = [_only(self._half(usable(index)) != half, views, mask) for views, mask, index in batches]
                    learner.fit(Target(clusterer), [other for other in others if len(other[0][0])], learner.threat)
                self._fitted[name].append(learner)

    def meet(self, clusterer: Clusterer) -> None:
        """Learn what the attacks are made of against a clusterer; :meth:`update` does so."""
        self.members = {name: attack.members(clusterer) for name, attack in self.attacks.items()}
        self.metric.members = {name: tuple(members) for name, members in self.members.items()}

    @property
    def metrics(self) -> dict[str, Metric]:
        """What gathers the results, by name."""
        return {"record": self.metric, "sanity": self.sanity}

    def update(
        self,
        clusterer: Clusterer,
        views: Views,
        labels: Tensor | None,
        batch_number: int,
        mask: Tensor | None = None,
        index: Tensor | None = None,
    ) -> dict[str, Views]:
        """Attack a batch.

        Args:
            clusterer: in evaluation mode, or in training mode for the statistics of the attacked batch.
            views: V clean views (N, *shape_v); of processes that have no batch left, N is zero.
            labels: (N,) integers; None: the data has none.
            batch_number: seeds each attack's random numbers, so that results repeat.
            mask: (N, V) bool, which views are present; None: all.
            index: positions in the data set, (N,); None: those of the batch.

        Returns:
            The attacked views, by attack.
        """
        count, samples, device = len(self.attacks), len(views[0]), views[0].device
        self.metric.to(device)
        self.sanity.to(device)
        self.meet(clusterer)
        if samples == 0:
            self.metric.update(torch.zeros(0, 3 + 3 * count, device=device), views[0].new_zeros(0, count))
            self.sanity.update([Signs()] * count, Probes(), [0] * count, [0.0] * count)
            return {}
        index = torch.arange(samples, device=device) if index is None else index
        with torch.inference_mode(False), undisturbed(clusterer):
            views = tuple(usable(view) for view in views)
            target = Target(clusterer, None if mask is None else usable(mask))
            clean = target.clean(views)
            attacked = {name: self._attack(name, target, views, batch_number, index) for name in self.attacks}
            looks = batch_number == 0 and any(attack.needs == "gradients" for attack in self.attacks.values())
            probes = probe(target, views) if looks else Probes()
        self.sanity.update(
            [one.signs for one in attacked.values()],
            probes,
            [one.passes for one in attacked.values()],
            [one.seconds for one in attacked.values()],
        )
        self.latest = {CLEAN: clusters_of(clean), **{name: one.cluster for name, one in attacked.items()}}
        own = own_columns(index, labels, self.latest[CLEAN])
        parts = ([getattr(one, part) for one in attacked.values()] for part in ("cluster", "queries", "mover"))
        integers = [*own.unbind(1), *chain.from_iterable(parts)]
        norms = [one.norm for one in attacked.values()]
        self.metric.update(
            torch.stack([column.to(device) for column in integers], 1),
            torch.stack(norms, 1) if norms else views[0].new_zeros(samples, 0),
        )
        return {name: one.views for name, one in attacked.items()}

    def _attack(self, name: str, target: Target, views: Views, batch_number: int, index: Tensor) -> _Attacked:
        attack, target = self.attacks[name], target.uncounted()
        target.watched = True
        begun = time.perf_counter()
        if name in self._fitted:
            attacked = self._cross_fitted(self._fitted[name], target, views, batch_number, index)
        else:
            attack.reseed(batch_number)
            attacked = attack.against(target, views)
        none = torch.full((len(index),), -1)
        queries = none + 1 if target.queries is None else target.queries.clone()
        mover, passes = none if target.movers is None else target.movers, target.passes
        with torch.no_grad():
            cluster = _among_clean(target, views, attacked) if self.alone else clusters_of(target.steady(attacked))
        mover = mover.to(cluster.device).masked_fill(cluster == clusters_of(target.clean(views)), -1)  # waits for the device
        seconds = time.perf_counter() - begun
        return _Attacked(attacked, cluster, queries, attack.threat.sizes(views, attacked), mover, target.signs, passes, seconds)

    def _cross_fitted(
        self, learners: Sequence[Attack], target: Target, views: Views, batch_number: int, index: Tensor
    ) -> Views:
        attacked = views
        for half, learner in enumerate(learners):
            learner.reseed(batch_number)
            rows = (self._half(index) == half).nonzero()[:, 0]
            moved = learner.against(target, views, samples=rows)
            attacked = [view.index_copy(0, rows, other[rows]) for view, other in zip(attacked, moved, strict=True)]
        return attacked

    def _half(self, index: Tensor) -> Tensor:
        """In which half samples at these positions (N,) are, 0 or 1, where attacks learn."""
        return torch.searchsorted(self._learned_on.to(index.device), index.contiguous()) % 2

    def compute(self) -> RobustnessReport:
        """What became of all samples of all processes."""
        signs, probes, passes, seconds = self.sanity.totals()
        record = self.metric.record()
        queries = record.queries.double().mean(1).tolist()
        costs = zip(self.attacks, passes, queries, seconds, strict=True)
        budgets = {name: attack.budget for name, attack in self.attacks.items()}
        report = RobustnessReport(record, costs={name: Cost(*parts) for name, *parts in costs}, budgets=budgets)
        report.notes.extend(notes_on(report.scores, self.attacks, signs, probes, record, self.members))
        if lost := int((report.record.cluster == NOT_FINITE).sum() + (report.record.clean == NOT_FINITE).sum()):
            report.notes.insert(
                0, f"{lost} assignments are not finite numbers (NaN): they count as moved, and as a cluster of their own."
            )
        return report

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()
        self.sanity.reset()


@dataclass(frozen=True)
class _Attacked:
    views: Views
    cluster: Tensor
    queries: Tensor
    norm: Tensor
    mover: Tensor
    signs: Signs
    passes: int
    seconds: float


class Cost(NamedTuple):
    """What an attack took.

    Attributes:
        passes: forward passes of the clusterer, batches added up.
        queries: of these, how many a sample was part of, the mean over samples.
        seconds: processes added up.
    """

    passes: int
    queries: float
    seconds: float


def _among_clean(target: Target, views: Views, attacked: Views) -> Tensor:
    """The cluster of each attacked sample, (N,), in the batch of V clean views (N, *shape_v) of all others."""
    clusters = []
    for row in torch.arange(len(views[0]), device=views[0].device)[:, None]:
        mixed = tuple(view.index_copy(0, row, other[row]) for view, other in zip(views, attacked, strict=True))
        clusters.append(clusters_of(target.steady(mixed))[row])
    return torch.cat(clusters)


def _only(chosen: Tensor, views: Views, mask: Tensor | None) -> tuple[Views, Tensor | None]:
    return tuple(usable(view)[chosen] for view in views), None if mask is None else usable(mask)[chosen]


def clusters_of(output: ClustererOutput) -> Tensor:
    """Each sample's cluster, (N,); :data:`NOT_FINITE` where its assignments are no finite numbers."""
    return output.assignments.argmax(1).masked_fill(~torch.isfinite(output.assignments).all(1), NOT_FINITE)


@dataclass(frozen=True)
class RobustnessReport:
    """What a suite did to a clusterer, and what to think of it.

    Attributes:
        record: what became of each sample.
        notes: sentences on why the evaluation may look too kind; empty where nothing stands out.
        costs: what each attack took.
        budgets: of each attack.
        about: what was tested, with what: plain values by name.
    """

    record: AttackRecord
    notes: list[str] = field(default_factory=list)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

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

        ``robustness.csv`` has a row an attack; ``robustness.json`` the same with notes, budgets, what was tested, and how many
        samples each member of an attack moved; ``robustness_samples.csv`` a row a sample: which attack moved it first, to where
        and by how much; ``robustness_rows.npz`` what became of each sample under each attack, see :class:`AttackRecord`.
        """
        rows = [
            [name, *(scores.get(metric, "") for metric in METRICS), *self.costs.get(name, ("", "", ""))]
            for name, scores in self.rows().items()
        ]
        write_table(folder / "robustness.csv", ["attack", *METRICS, *Cost._fields], rows)
        heading = ["index", "clean_cluster", "moved_by", "cluster", "norm"]
        write_table(folder / "robustness_samples.csv", heading, self.record.first())
        with whole_file(folder / "robustness_rows.npz") as file:
            np.savez_compressed(file, **self.record.arrays())  # type: ignore[arg-type]  # arrays, not its options
        content = {
            "scores": self.rows(),
            "costs": {name: cost._asdict() for name, cost in self.costs.items()},
            "moved_by": {name: taken for name in self.record.attacks if (taken := self.record.taken(name))},
            "budgets": dict(self.budgets),
            "about": self.about,
            "notes": self.notes,
        }
        write_whole(folder / "robustness.json", json.dumps(content, indent=2) + "\n")


def write_table(path: Path, heading: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV, whole or not at all."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(heading)
    writer.writerows(rows)
    write_whole(path, table.getvalue())


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (zero for one value)."""
    tensor = torch.tensor(values, dtype=torch.float64)
    return float(tensor.mean()), float(tensor.std()) if len(values) > 1 else 0.0
