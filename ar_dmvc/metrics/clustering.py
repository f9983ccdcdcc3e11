"""Clustering metrics on one contingency table, of a size that does not depend on the number of samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from ar_dmvc.distributed import reduce_sum
from ar_dmvc.metrics import functional


class ContingencyMetric(Metric):
    """A metric of clusters against classes.

    Its state is the non-empty cells of the contingency table, at most clusters times classes, added up across processes.
    In a ``MetricCollection`` all metrics of this kind share one.

    Args:
        num_clusters: when given, clusters must lie in [0, num_clusters).
        num_classes: when given, classes must lie in [0, num_classes).
        kwargs: of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    cells: list[Tensor]

    def __init__(self, num_clusters: int | None = None, num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_clusters = num_clusters
        self.num_classes = num_classes
        self.add_state("cells", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            preds: cluster of each sample, (N,), any integers.
            target: class of each sample, (N,), any integers.

        Raises:
            ValueError: other shapes, floating-point values, or labels outside the announced range.
        """
        cells = functional.contingency_cells(preds, target)
        _check_range("preds", cells[:, 0], self.num_clusters)
        _check_range("target", cells[:, 1], self.num_classes)
        self.cells = [functional.merge_cells(torch.cat([*self.cells, cells]))]

    def compute(self) -> Tensor:
        """The score of everything counted, a float32 scalar; NaN where nothing was."""
        # A list of cells, or one tensor of them once processes were added up.
        cells = dim_zero_cat(self.cells) if len(self.cells) else torch.empty(0, 3, dtype=torch.int64)
        if len(cells) == 0:
            return torch.tensor(float("nan"), device=self.device)
        score = self.score(functional.contingency_table(cells))
        return score.to(self.device, torch.float32)

    @abstractmethod
    def score(self, table: Tensor) -> Tensor:
        """The score of a contingency table (clusters, classes), a float64 scalar."""

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None) -> None:
        if not self.cells:
            # A process without samples takes part with no rows, of the others' type.
            self.cells = [torch.empty(0, 3, dtype=torch.int64, device=self.device)]
        super()._sync_dist(dist_sync_fn, process_group)


class ClusterAccuracy(ContingencyMetric):
    """Clustering accuracy (ACC): see :func:`ar_dmvc.metrics.functional.cluster_accuracy`.

    Example:
        >>> metric = ClusterAccuracy()
        >>> metric.update(torch.tensor([5, 5, 7, 7]), torch.tensor([0, 0, 1, 0]))
        >>> round(metric.compute().item(), 2)
        0.75
    """

    score = staticmethod(functional.cluster_accuracy)


class NormalizedMutualInformation(ContingencyMetric):
    """Normalised mutual information (NMI), arithmetic mean: see :mod:`ar_dmvc.metrics.functional`."""

    score = staticmethod(functional.normalized_mutual_information)


class AdjustedRandIndex(ContingencyMetric):
    """Adjusted Rand index (ARI): see :func:`ar_dmvc.metrics.functional.adjusted_rand_index`."""

    plot_lower_bound = -0.5
    score = staticmethod(functional.adjusted_rand_index)


class ClusterPurity(ContingencyMetric):
    """Purity: see :func:`ar_dmvc.metrics.functional.cluster_purity`."""

    score = staticmethod(functional.cluster_purity)


class ClusteringStability(ContingencyMetric):
    """Stability of a clustering under perturbation: see :func:`ar_dmvc.metrics.functional.clustering_stability`.

    ``preds`` are the clusters of perturbed samples, ``target`` those of the same samples unperturbed.

    Args:
        num_clusters: K, at least 2.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: fewer than two clusters.

    Example:
        >>> metric = ClusteringStability(num_clusters=2)
        >>> metric.update(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 1]))
        >>> metric.compute()
        tensor(1.)
    """

    def __init__(self, num_clusters: int, **kwargs: Any) -> None:
        if num_clusters < 2:
            raise ValueError(f"stability is about two clusters at least, got num_clusters = {num_clusters}")
        super().__init__(num_clusters, num_clusters, **kwargs)

    def score(self, table: Tensor) -> Tensor:
        """The stability of a contingency table (perturbed clusters, clean clusters), a float64 scalar."""
        assert self.num_clusters is not None
        return functional.clustering_stability(table, self.num_clusters)


def clustering_metrics(prefix: str | None = None) -> MetricCollection:
    """ACC, NMI, ARI and purity under these names, sharing one state."""
    return MetricCollection(
        {
            "acc": ClusterAccuracy(),
            "nmi": NormalizedMutualInformation(),
            "ari": AdjustedRandIndex(),
            "purity": ClusterPurity(),
        },
        prefix=prefix,
    )


def compute_metrics(metrics: MetricCollection) -> dict[str, Tensor]:
    """The scores of everything that all processes have counted, by name; empty where none has counted anything.

    All processes have to call it, also those that had nothing to count.
    """
    first = next(iter(metrics.values()))
    counted = torch.tensor([first.update_called], dtype=torch.int64, device=first.device)
    if not int(reduce_sum(counted)):
        return {}
    if not first.update_called:
        nothing = torch.empty(0, dtype=torch.int64, device=first.device)
        metrics.update(nothing, nothing)
    scores: dict[str, Tensor] = metrics.compute()
    return scores


def _check_range(name: str, labels: Tensor, count: int | None) -> None:
    if count is None or len(labels) == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name}: labels from {low} to {high} do not lie in the announced range [0, {count})")
