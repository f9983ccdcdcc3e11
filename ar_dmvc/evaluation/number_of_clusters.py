"""How many clusters there are, without labels: those numbers are plausible for which clusterings repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ar_dmvc.attacks import Views
from ar_dmvc.clusterers import KMeans, SpectralClustering
from ar_dmvc.evaluation.robustness import mean_and_spread
from ar_dmvc.seeding import numpy_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"KMeans": KMeans, "SpectralClustering": SpectralClustering}


class Stability(NamedTuple):
    """How alike clusterings of subsamples are: adjusted Rand index of all pairs of runs, mean and standard deviation."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Suggestion:
    """A number of clusters, and what speaks for it.

    Attributes:
        n_clusters: the largest number whose stability is within ``tolerance`` of the best.
        stability: of each number that was tried.
        tolerance: what counts as as good as the best.
    """

    n_clusters: int
    stability: Mapping[int, Stability]
    tolerance: float

    def figure(self) -> Figure:
        """Stability against the number of clusters."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axis = figure.subplots()
        numbers, means, spreads = zip(*((number, *value) for number, value in self.stability.items()), strict=True)
        axis.errorbar(numbers, means, spreads, marker=".", capsize=2)
        axis.axhline(max(means) - self.tolerance, color="grey", linestyle="--", linewidth=0.8)
        axis.axvline(self.n_clusters, color="black", linewidth=0.8)
        axis.set(xlabel="number of clusters", ylabel="stability (adjusted Rand index)", ylim=(-0.05, 1.05))
        axis.set_title(f"suggested: {self.n_clusters}, the largest above the dashed line")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        return figure


def suggest_n_clusters(
    views: Views,
    candidates: Sequence[int] = tuple(range(2, 21)),
    clusterer: Literal["KMeans", "SpectralClustering"] = "SpectralClustering",
    runs: int = 6,
    share: float = 0.8,
    samples: int = 2000,
    tolerance: float = 0.03,
    seed: int = 0,
    says: Callable[[str], None] = lambda line: None,
) -> Suggestion:
    """Suggest a number of clusters by stability: each is found on several subsamples, and all samples are compared.

    Small numbers are often stable whatever the data, hence the largest of those that are about as stable as the best.

    Source: Ben-Hur, Elisseeff & Guyon, "A stability based method for discovering structure in clustered data", PSB 2002.

    Args:
        views: V views (N, *shape_v), scaled.
        candidates: numbers of clusters, at least two each.
        clusterer: a baseline, with which clusters are found.
        runs: subsamples, at least two.
        share: of the samples in each, in (0, 1].
        samples: that are looked at, drawn at random where there are more.
        tolerance: what counts as as good as the best.
        seed: of whatever is drawn.
        says: is told each result.

    Raises:
        ValueError: a value out of range, or fewer samples than clusters.
    """
    if clusterer not in _KINDS:
        raise ValueError(f"clusterer must be one of {', '.join(_KINDS)}, got {clusterer!r}")
    if runs < 2 or not 0 < share <= 1 or not candidates or min(candidates) < 2:
        raise ValueError("runs and candidates must be at least 2, and share in (0, 1]")
    if not tolerance >= 0 or samples < 1:
        raise ValueError(f"tolerance must be at least 0 and samples at least 1, got {tolerance} and {samples}")
    if len(views[0]) > samples:
        chosen = torch.from_numpy(numpy_generator(seed).permutation(len(views[0]))[:samples])
        views = [view[chosen] for view in views]
    part = int(share * len(views[0]))
    if part < max(candidates):
        raise ValueError(f"subsamples of {part} samples are too few for {max(candidates)} clusters")
    stability = {}
    for number in candidates:
        labels = [_clusters(views, clusterer, number, part, seed, run) for run in range(runs)]
        stability[number] = _agreement(labels)
        says(f"{number} clusters: {stability[number].mean:.3f}")
    best = max(value.mean for value in stability.values())
    suggested = max(number for number, value in stability.items() if value.mean >= best - tolerance)
    return Suggestion(suggested, stability, tolerance)


@torch.no_grad()
def _clusters(views: Views, clusterer: str, number: int, part: int, seed: int, run: int) -> torch.Tensor:
    """The clusters of all samples, found on some of them."""
    chosen = torch.from_numpy(numpy_generator(seed, run).permutation(len(views[0]))[:part])
    made = _KINDS[clusterer]([view.shape[1:] for view in views], number, starts=3, seed=seed + run).eval()
    made.fit_clusters([[view[chosen] for view in views]], final=True)
    return made(views).assignments.argmax(1)  # type: ignore[no-any-return]


def _agreement(labels: Sequence[torch.Tensor]) -> Stability:
    from sklearn.metrics import adjusted_rand_score

    return Stability(*mean_and_spread([float(adjusted_rand_score(one, other)) for one, other in combinations(labels, 2)]))
