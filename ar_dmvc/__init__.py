"""Adversarially robust deep multi-view clustering."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ar_dmvc.clusterers import load_clusterer
    from ar_dmvc.estimator import MultiViewClustering

__all__ = ["MultiViewClustering", "__version__", "load_clusterer"]

__version__ = "0.1.0"

_PACKAGES = {"api", "attacks", "clusterers", "data", "defences", "evaluation", "losses", "metrics", "modules", "networks"}
_PLACES = {"MultiViewClustering": "ar_dmvc.estimator", "load_clusterer": "ar_dmvc.clusterers"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: torch takes seconds, and a help text does without."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in _PACKAGES:
        return import_module(f"ar_dmvc.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
