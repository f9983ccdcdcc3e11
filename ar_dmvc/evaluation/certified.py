"""Certified radii: how far no perturbation at all can move a sample, once a clusterer is smoothed with noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import betaincinv, ndtri
from torch import Tensor
from torchmetrics import Metric

from ar_dmvc.attacks import Target, Views, usable
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.clusterers.smoothed import noisy_copies
from ar_dmvc.evaluation.curve import CurveReport
from ar_dmvc.evaluation.record import AttackRecord, RecordMetric, own_columns
from ar_dmvc.evaluation.robustness import clusters_of, write_table
from ar_dmvc.evaluation.sanity import WORST
from ar_dmvc.seeding import torch_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABSTAINS = -2
"""The cluster of a sample for which no cluster is likely enough."""
_FIRST_LOOK = 100
_FAILURE = 0.001
_LARGEST = 4096


class SmoothingEvaluator:
    """The smoothed clusterer, whose cluster of a sample is the one that most of its noisy copies get, and how far that holds.

    Each view of a sample gets Gaussian noise, clipped to [0, 1]. Within the certified radius, in L2 of all views as one, no
    perturbation changes the smoothed cluster; for each sample this fails with a probability of at most 0.001.
    A hundred draws choose the cluster; the others bound how likely it is, from below.

    Source: Cohen et al., "Certified adversarial robustness via randomized smoothing", ICML 2019, *Certify*; the bound is
    Clopper and Pearson's.

    Args:
        sigma: standard deviation of the noise, positive.
        draws: from which likelihoods are bounded, at least one.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(self, sigma: float, draws: int = 1000) -> None:
        if not sigma > 0 or draws < 1:
            raise ValueError(f"sigma must be positive and draws at least 1, got {sigma} and {draws}")
        self.sigma = sigma
        self.draws = draws
        self.metric = RecordMetric(["smoothed"])

    @property
    def metrics(self) -> dict[str, Metric]:
        """What gathers the results, by name."""
        return {"certified": self.metric}

    def update(
        self,
        clusterer: Clusterer,
        views: Views,
        labels: Tensor | None,
        batch_number: int,
        mask: Tensor | None = None,
        index: Tensor | None = None,
    ) -> None:
        """Certify a batch; see :meth:`RobustnessEvaluator.update`.

        Raises:
            ValueError: the clusterer is in training mode, where a sample's cluster depends on its batch.
        """
        if clusterer.training:
            raise ValueError("sigma: nothing can be certified of a clusterer whose clusters depend on the batch at hand")
        samples, device = len(views[0]), views[0].device
        self.metric.to(device)
        if samples == 0:
            self.metric.update(torch.zeros(0, 6, device=device), views[0].new_zeros(0, 1))
            return
        index = torch.arange(samples, device=device) if index is None else index
        generator = torch_generator(device, 0, batch_number)
        with torch.no_grad():
            target = Target(clusterer, None if mask is None else usable(mask))
            clean = clusters_of(target.clean(views))
            cluster = self._count(target, clusterer, views, _FIRST_LOOK, generator).argmax(1)
            counts = self._count(target, clusterer, views, self.draws, generator)
        radius = certified_radius(counts.gather(1, cluster[:, None])[:, 0].cpu(), self.draws, self.sigma)
        cluster = torch.where(radius.to(cluster.device) > 0, cluster, ABSTAINS)
        passes = torch.full_like(cluster, _FIRST_LOOK + self.draws)
        found = torch.stack([cluster, passes, torch.full_like(cluster, -1)], 1)
        self.metric.update(torch.cat([own_columns(index, labels, clean), found], 1), radius.to(device)[:, None])

    def _count(self, target: Target, clusterer: Clusterer, views: Views, draws: int, generator: torch.Generator) -> Tensor:
        """How many noisy copies of each sample are in each cluster, (N, K)."""
        samples = len(views[0])
        counts = torch.zeros(samples, clusterer.num_clusters, device=views[0].device, dtype=torch.int64)
        while draws > 0:
            copies = min(draws, max(1, _LARGEST // samples))
            noisy = noisy_copies(views, copies, self.sigma, generator)
            found = clusters_of(target(noisy, torch.arange(samples, device=views[0].device).repeat(copies)))
            here = (found >= 0).nonzero()[:, 0]
            counts.index_put_((here % samples, found[here]), torch.ones_like(here), accumulate=True)
            draws -= copies
        return counts

    def compute(self) -> CertifiedReport:
        """What is certified of all samples of all processes."""
        return CertifiedReport(self.metric.record(), self.sigma)


def certified_radius(counts: Tensor, draws: int, sigma: float) -> Tensor:
    """The radius within which the smoothed cluster holds.

    Args:
        counts: of the draws how many were in the cluster, (N,).
        draws: number of draws.
        sigma: standard deviation of the noise.

    Returns:
        (N,), ``sigma`` times the normal quantile of a lower bound of the cluster's likelihood; zero where that is not above
        a half.
    """
    hits = counts.numpy()
    with np.errstate(invalid="ignore"):
        likely = np.where(hits > 0, betaincinv(np.maximum(hits, 1), draws - hits + 1, _FAILURE), 0.0)
    return torch.from_numpy(sigma * np.maximum(0.0, ndtri(likely))).to(torch.float32)


@dataclass(frozen=True)
class CertifiedReport:
    """What is certified of a smoothed clusterer.

    Attributes:
        record: of each sample: the cluster of the clusterer itself, the smoothed one, and as ``norm`` the certified radius.
        sigma: of the noise.
    """

    record: AttackRecord
    sigma: float

    @property
    def metric(self) -> str:
        """What is certified: ``certified_acc``, without labels ``certified_kept``."""
        return "certified_kept" if self.record.label is None else "certified_acc"

    @property
    def heading(self) -> str:
        """The same in words."""
        return "certified kept" if self.record.label is None else "certified ACC"

    @property
    def radius(self) -> Tensor:
        """Of each sample whose smoothed cluster is the right one, by the matching of the clusterer itself, else -1: (N,).

        Without labels, of each that has a smoothed cluster.
        """
        cluster = self.record.cluster[0]
        counts = cluster != ABSTAINS if self.record.label is None else self.record.is_right(cluster)
        return torch.where(counts, self.record.norm[0], -1.0)

    def certified_acc(self, radius: float) -> float:
        """Share of the samples whose smoothed cluster is the right one and certified to hold within a radius, at least.

        Without labels, right or wrong.
        """
        return float((self.radius >= radius).double().mean())

    def curve(self) -> list[tuple[float, float]]:
        """Radii and the share that is certified at each, from zero to where it is zero."""
        step = self.sigma / 4
        steps = math.ceil(max(0.0, float(self.radius.amax())) / step) + 1
        radii = [number * step for number in range(steps + 1)]
        return [(radius, self.certified_acc(radius)) for radius in radii]

    def write(self, folder: Path) -> None:
        """Write ``certified.csv``, what is certified at each radius, and ``certified_samples.csv``, a row for each sample."""
        write_table(folder / "certified.csv", ["radius", self.metric], self.curve())
        rows = zip(*(part.tolist() for part in (self.record.index, self.record.cluster[0], self.record.norm[0])), strict=True)
        write_table(folder / "certified_samples.csv", ["index", "cluster", "radius"], rows)


def certified_figure(report: CertifiedReport, curve: CurveReport | None = None) -> Figure:
    """What is certified against the radius, beside it what attacks of the same norm leave within the same budgets, if known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axis = figure.add_subplot()
    radii = np.linspace(0, max(float(report.radius.amax()), report.sigma) * 1.05, 200)
    axis.plot(radii, [report.certified_acc(radius) for radius in radii], color="black", label="certified")
    if curve is not None:
        kept = [scores[curve.metric] for scores in curve.scores[WORST]]
        axis.plot(curve.epsilons, kept, color="tab:red", linestyle="--", marker=".", label="left by attacks")
        axis.legend(fontsize=7)
    axis.set(title=f"smoothed with noise of {report.sigma:g}", xlabel="radius, L2 of all views", ylabel=report.heading)
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    return figure
