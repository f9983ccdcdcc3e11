"""What becomes of a clusterer as the budget grows, and the smallest budget that moves each sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ar_dmvc.attacks import APGD, Attack, Target, ThreatModel, Views, undisturbed, usable
from ar_dmvc.attacks.threat import per_sample, present_only
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.evaluation.record import METRICS, AttackRecord, RecordMetric, Scores, own_columns
from ar_dmvc.evaluation.robustness import clusters_of, write_table
from ar_dmvc.evaluation.sanity import WORST
from ar_dmvc.seeding import torch_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST = "smallest"
_SEARCH_STEPS = 20
_NOTICEABLE = 0.02


class CurveEvaluator:
    """Attacks batches of one clusterer with growing budgets, each ascent beginning where a smaller budget left it.

    A sample that a budget moves is moved by all larger ones as well, by the same perturbation, and is not attacked again.

    Args:
        attacks: by name; those that learn are left out.
        epsilons: budgets, at least zero; zero is the clean clustering.
        resolution: to which the smallest budget that moves each sample is searched, by bisection; None leaves it out.

    Raises:
        ValueError: no budget above zero or one that is not finite, a resolution that is not positive, no attack, or attacks of
            several norms.
    """

    def __init__(self, attacks: Mapping[str, Attack], epsilons: Sequence[float], resolution: float | None = 1 / 256) -> None:
        self.epsilons = sorted({float(epsilon) for epsilon in epsilons})
        if not all(0 <= epsilon < math.inf for epsilon in self.epsilons) or not any(self.epsilons):
            raise ValueError(f"epsilons: budgets of at least zero, all finite and one of them larger, got {list(epsilons)}")
        if resolution is not None and not resolution > 0:
            raise ValueError(f"resolution must be positive, got {resolution}")
        self.attacks = {name: attack for name, attack in attacks.items() if not attack.learns}
        if len({(attack.norm, attack.views, attack.joint) for attack in self.attacks.values()}) != 1:
            raise ValueError("epsilons: a curve needs attacks, all of one norm, on the same views")
        self.resolution = resolution
        self.metric = RecordMetric([f"{name} @ {epsilon:g}" for name in self.attacks for epsilon in self.epsilons])
        self.smallest = RecordMetric([SMALLEST])

    @property
    def metrics(self) -> dict[str, Metric]:
        """What gathers the results, by name."""
        return {"curve": self.metric, "smallest": self.smallest}

    def update(
        self,
        clusterer: Clusterer,
        views: Views,
        labels: Tensor | None,
        batch_number: int,
        mask: Tensor | None = None,
        index: Tensor | None = None,
    ) -> None:
        """Attack a batch; see :meth:`RobustnessEvaluator.update`."""
        samples, device = len(views[0]), views[0].device
        for metric in (self.metric, self.smallest):
            width = len(metric.attacks)
            metric.to(device)
            if samples == 0:
                metric.update(torch.zeros(0, 3 + 3 * width, device=device), views[0].new_zeros(0, width))
        if samples == 0:
            return
        index = torch.arange(samples, device=device) if index is None else index
        with torch.inference_mode(False), undisturbed(clusterer):
            views = tuple(usable(view) for view in views)
            target = Target(clusterer, None if mask is None else usable(mask))
            clean = clusters_of(target.clean(views))
            found = _Found.nothing(views)
            grown = [self._grow(attack, target, views, batch_number, found) for attack in self.attacks.values()]
            if self.resolution is not None:
                threat = next(iter(self.attacks.values())).with_budget(self.epsilons[-1]).threat
                found.search(target, views, threat, self.resolution, torch_generator(device, 0, batch_number))
        clusters, queries, norms = (torch.cat(part, 1) for part in zip(*grown, strict=True))
        own = own_columns(index, labels, clean)
        self.metric.update(torch.cat([own, clusters, queries, torch.full_like(clusters, -1)], 1), norms)
        moved = torch.where(found.high.isfinite(), -2, clean)[:, None]  # to another cluster or not is all that counts
        self.smallest.update(torch.cat([own, moved, torch.zeros_like(moved), moved], 1), found.high[:, None])

    def _grow(
        self, attack: Attack, target: Target, views: Views, batch_number: int, found: _Found
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What becomes of each sample: cluster, queries and norm of the change at each budget, (N, E)."""
        target = target.uncounted()
        clean = clusters_of(target.clean(views))
        moved, cluster, attacked = torch.zeros_like(clean, dtype=torch.bool), clean, views
        columns, sizes = [], attack.with_budget(self.epsilons[-1]).threat.sizes
        for epsilon in self.epsilons:
            if epsilon > 0 and not moved.all():
                scaled = attack.with_budget(epsilon)
                scaled.reseed(batch_number)
                begun = attack.has_start and attacked is not views
                start = [other - view for other, view in zip(attacked, views, strict=True)] if begun else None
                rows = (~moved).nonzero()[:, 0]
                tried = scaled.against(target, views, start, rows)
                attacked = present_only(tried, attacked, moved[:, None].expand(-1, len(views)))
                with torch.no_grad():
                    cluster = torch.where(moved, cluster, clusters_of(target.uncounted().steady(attacked)))
                moved = cluster != clean
                found.offer(moved, attacked, epsilon)
            queries = torch.zeros(len(clean), dtype=torch.int64) if target.queries is None else target.queries
            columns.append((cluster, queries.to(clean.device, copy=True), sizes(views, attacked)))
        return tuple(torch.stack(part, 1) for part in zip(*columns, strict=True))  # type: ignore[return-value]  # three

    def compute(self) -> CurveReport:
        """What became of all samples of all processes."""
        smallest = self.smallest.record().norm[0] if self.resolution is not None else None
        return CurveReport(self.metric.record(), tuple(self.attacks), tuple(self.epsilons), smallest)


class _Found:
    """Of each sample the smallest budget within which a perturbation moves it, as far as is known, and that perturbation."""

    def __init__(self, low: Tensor, high: Tensor, attacked: Views) -> None:
        self.low, self.high, self.attacked = low, high, attacked

    @classmethod
    def nothing(cls, views: Views) -> _Found:
        high = views[0].new_full((len(views[0]),), math.inf, dtype=torch.float64)
        return cls(torch.zeros_like(high), high, views)

    def offer(self, moved: Tensor, attacked: Views, epsilon: float) -> None:
        """Take over what moves samples within a budget smaller than before."""
        better = moved & (self.high > epsilon)
        self.high = torch.where(better, epsilon, self.high)
        self.attacked = present_only(self.attacked, attacked, better[:, None].expand(-1, len(attacked)))

    @torch.no_grad()
    def search(self, target: Target, views: Views, threat: ThreatModel, resolution: float, generator: torch.Generator) -> None:
        """Halve the interval of each moved sample until it is as small as ``resolution``, by adaptive ascent on the margin."""
        clean = clusters_of(target.clean(views))
        while True:
            middle = (self.low + self.high) / 2
            wide = self.high.isfinite() & (self.high - self.low > resolution) & (self.low < middle) & (middle < self.high)
            if not wide.any():
                return
            middle = torch.where(wide, middle, threat.budget)
            trial = threat.with_budgets(middle)
            start = trial.clip([other - view for other, view in zip(self.attacked, views, strict=True)])
            rows = wide if not target.clusterer.training else torch.ones_like(wide)
            part = target.part(rows.nonzero()[:, 0])
            chosen = tuple(view[rows] for view in views)
            within = trial.with_budgets(middle[rows])
            attack = APGD("margin", steps=_SEARCH_STEPS)
            tried = attack.run(part, chosen, within, generator, [change[rows] for change in start])
            tried = within.project(chosen, tried, part.mask)
            left = torch.zeros_like(wide)
            left[rows] = clusters_of(part.steady(tried)) != clean[rows]
            left &= wide
            self.attacked = tuple(view.clone() for view in self.attacked)
            for kept, other, view in zip(self.attacked, tried, views, strict=True):
                whole = view.clone()
                whole[rows] = other
                kept.copy_(torch.where(per_sample(left, view), whole, kept))
            self.high = torch.where(left, middle, self.high)
            self.low = torch.where(wide & ~left, middle, self.low)


@dataclass(frozen=True)
class CurveReport:
    """Scores against the budget.

    Attributes:
        record: what became of each sample, a row for each attack and budget.
        attacks: names.
        epsilons: budgets, ascending.
        smallest: the smallest budget that was found to move each sample, (N,), infinite where none was; None: not searched.
    """

    record: AttackRecord
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    smallest: Tensor | None

    @cached_property
    def scores(self) -> dict[str, list[Scores]]:
        """Attack to its scores at each budget, the sample-wise worst case of all attacks last."""
        rows = list(self.record.scores().values())
        count = len(self.epsilons)
        parts = {name: rows[place * count : (place + 1) * count] for place, name in enumerate(self.attacks)}
        return {**parts, WORST: [self._at(place).worst_scores() for place in range(count)]}

    @property
    def notes(self) -> list[str]:
        """Why the curve may be too kind; empty where nothing stands out."""
        kept = [(epsilon, scores["kept"]) for epsilon, scores in zip(self.epsilons, self.scores[WORST], strict=True) if epsilon]
        (small, before), (large, after) = kept[0], kept[-1]
        if large >= 2 * small and after > before - _NOTICEABLE and after > _NOTICEABLE:
            return [
                f"a budget of {large:g} moves no more than one of {small:g} ({1 - after:.0%}): gradients are likely masked."
            ]
        return []

    def write(self, folder: Path) -> None:
        """Write into a folder.

        ``robustness_curve.csv`` has a row for each attack and budget, and ``robustness_budgets.csv`` the smallest budget of
        each sample, where that was searched.
        """
        rows = [
            [name, epsilon, *(scores.get(metric, "") for metric in METRICS)]
            for name, column in self.scores.items()
            for epsilon, scores in zip(self.epsilons, column, strict=True)
        ]
        write_table(folder / "robustness_curve.csv", ["attack", "epsilon", *METRICS], rows)
        if self.smallest is not None:
            pairs = zip(self.record.index.tolist(), self.smallest.tolist(), strict=True)
            write_table(folder / "robustness_budgets.csv", ["index", "smallest_epsilon"], pairs)

    @property
    def metric(self) -> str:
        """What counts most: ``fixed_acc``, without labels ``kept``."""
        return "kept" if self.record.label is None else "fixed_acc"

    def quantiles(self) -> dict[float, float]:
        """The budgets within which a tenth, a quarter, half, three quarters and nine tenths of all samples are moved."""
        if self.smallest is None:
            return {}
        ordered = self.smallest.sort().values
        places = {share: math.ceil(share * len(ordered)) - 1 for share in (0.1, 0.25, 0.5, 0.75, 0.9)}
        return {share: float(ordered[place]) for share, place in places.items()}

    def _at(self, place: int) -> AttackRecord:
        """The rows of one budget."""
        rows = slice(place, None, len(self.epsilons))
        fields: dict[str, Any] = {name: getattr(self.record, name)[rows] for name in ("cluster", "queries", "norm", "mover")}
        return self.record._replace(attacks=self.attacks, members=self.record.members[rows], **fields)


def curve_figure(report: CurveReport) -> Figure:
    """Fixed ACC, NMI and kept, as far as known, against the budget, a line for each attack; below, the smallest budgets."""
    from matplotlib.figure import Figure

    headings = {"fixed_acc": "fixed ACC", "nmi": "NMI", "kept": "kept"}
    shown = {metric: heading for metric, heading in headings.items() if metric in report.scores[WORST][0]}
    figure = Figure(figsize=(10.5, 3.4 if report.smallest is None else 6.4), layout="constrained")
    rows = 1 if report.smallest is None else 2
    grid = figure.add_gridspec(rows, len(shown))
    for column, (metric, heading) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[0, column])
        for name, scores in report.scores.items():
            worst = name == WORST
            axis.plot(
                report.epsilons,
                [one[metric] for one in scores],
                label=name,
                color="black" if worst else None,
                linestyle="--" if worst else "-",
                marker=".",
            )
        axis.set(title=heading, xlabel="budget", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
        if column == 0:
            axis.legend(fontsize=7)
    if report.smallest is not None:
        axis = figure.add_subplot(grid[1, :])
        finite = report.smallest[report.smallest.isfinite()].numpy()
        axis.hist(finite, bins=40, range=(0, report.epsilons[-1]), color="grey")
        never = len(report.smallest) - len(finite)
        axis.set(title=f"smallest budget that moves a sample ({never} of {len(report.smallest)} not moved)", xlabel="budget")
        axis.set_ylabel("samples")
    return figure
