"""External clustering quality, computed from a contingency table of clusters and classes."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def contingency_cells(preds: Tensor, target: Tensor) -> Tensor:
    """Count how often each pair of cluster and class occurs.

    Args:
        preds: cluster of each sample, (N,), any integers.
        target: class of each sample, (N,), any integers.

    Returns:
        (M, 3) int64 rows (cluster, class, count), M at most clusters times classes.

    Raises:
        ValueError: other shapes or floating-point values.
    """
    if preds.shape != target.shape or preds.dim() != 1:
        raise ValueError(f"preds and target must be of one shape (N,), got {tuple(preds.shape)} and {tuple(target.shape)}")
    if preds.is_floating_point() or target.is_floating_point():
        raise ValueError(f"preds and target must be integer labels, got {preds.dtype} and {target.dtype}")
    pairs = torch.stack([preds, target], dim=1).to(torch.int64)
    return merge_cells(torch.cat([pairs, torch.ones_like(pairs[:, :1])], dim=1))


def merge_cells(cells: Tensor) -> Tensor:
    """Add up the counts of rows (cluster, class, count) with the same cluster and class: (M, 3)."""
    pairs, place = torch.unique(cells[:, :2], dim=0, return_inverse=True)
    counts = torch.zeros(len(pairs), dtype=torch.int64, device=cells.device).index_add_(0, place, cells[:, 2])
    return torch.cat([pairs, counts[:, None]], dim=1)


def contingency_table(cells: Tensor) -> Tensor:
    """Cells (M, 3) as a dense table (clusters, classes) of counts, int64, on the CPU."""
    cells = cells.cpu()
    clusters, rows = torch.unique(cells[:, 0], return_inverse=True)
    classes, columns = torch.unique(cells[:, 1], return_inverse=True)
    table = torch.zeros(len(clusters), len(classes), dtype=torch.int64)
    return table.index_put_((rows, columns), cells[:, 2], accumulate=True)


def cluster_accuracy(table: Tensor) -> Tensor:
    """Share of samples in the right cluster under the best one-to-one matching of clusters to classes, in [0, 1].

    With more clusters than classes, or fewer, the ones left over count as wrong.
    """
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return table[torch.as_tensor(rows), torch.as_tensor(columns)].sum().double() / table.sum()


def cluster_purity(table: Tensor) -> Tensor:
    """Share of samples that belong to the commonest class of their cluster, in (0, 1]."""
    return table.max(1).values.sum().double() / table.sum()


def mutual_information(table: Tensor) -> Tensor:
    """Mutual information of clusters and classes in nats, at least zero."""
    joint = table.double() / table.sum()
    independent = joint.sum(1)[:, None] * joint.sum(0)
    return torch.xlogy(joint, torch.where(joint > 0, joint / independent, 1)).sum().clamp(min=0)


def normalized_mutual_information(table: Tensor) -> Tensor:
    """Mutual information of clusters and classes over the arithmetic mean of their entropies, in [0, 1].

    One cluster and one class agree fully: 1.
    """
    if table.shape == (1, 1):
        return torch.ones((), dtype=torch.float64)
    joint = table.double() / table.sum()
    normaliser = (_entropy(joint.sum(1)) + _entropy(joint.sum(0))) / 2
    return (mutual_information(table) / normaliser).clamp(max=1)


def clustering_stability(table: Tensor, num_clusters: int) -> Tensor:
    """Mutual information of two clusterings of the same samples over the entropy of K equal clusters, log K; in [0, 1].

    One only where the two agree and clusters are of equal size. A clustering that puts all samples into one cluster keeps
    no information and has zero, however stable it is.
    """
    return (mutual_information(table) / math.log(num_clusters)).clamp(max=1)


def adjusted_rand_index(table: Tensor) -> Tensor:
    """Rand index of clusters and classes, adjusted for chance, in [-0.5, 1].

    Two partitions without any pair to disagree on agree fully: 1.
    """
    samples = table.sum()
    same_both = _pairs(table).sum()
    same_cluster, same_class = _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum()
    expected = same_cluster * same_class / _pairs(samples).clamp(min=1)
    largest = (same_cluster + same_class) / 2
    if same_both == same_cluster == same_class:
        return torch.ones((), dtype=torch.float64)
    return (same_both - expected) / (largest - expected)


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum()


def _pairs(counts: Tensor) -> Tensor:
    counts = counts.double()
    return counts * (counts - 1) / 2
