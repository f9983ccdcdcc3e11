"""External clustering quality as torchmetrics."""

from ar_dmvc.metrics.clustering import (
    AdjustedRandIndex,
    ClusterAccuracy,
    ClusterPurity,
    NormalizedMutualInformation,
    clustering_metrics,
    compute_metrics,
)

__all__ = [
    "AdjustedRandIndex",
    "ClusterAccuracy",
    "ClusterPurity",
    "NormalizedMutualInformation",
    "clustering_metrics",
    "compute_metrics",
]
