"""Adversarially robust deep multi-view clustering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ar_dmvc.clusterers import load_clusterer

if TYPE_CHECKING:
    from ar_dmvc.estimator import MultiViewClustering

__all__ = ["MultiViewClustering", "__version__", "load_clusterer"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The estimator, which needs Lightning, once it is asked for."""
    if name == "MultiViewClustering":
        from ar_dmvc.estimator import MultiViewClustering

        return MultiViewClustering
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
