"""Clustering quality and stability as torchmetrics."""

from ar_dmvc.metrics.clustering import (
    AdjustedRandIndex,
    ClusterAccuracy,
    ClusteringStability,
    ClusterPurity,
    NormalizedMutualInformation,
    clustering_metrics,
    compute_metrics,
)

__all__ = [
    "AdjustedRandIndex",
    "ClusterAccuracy",
    "ClusterPurity",
    "ClusteringStability",
    "NormalizedMutualInformation",
    "clustering_metrics",
    "compute_metrics",
]
