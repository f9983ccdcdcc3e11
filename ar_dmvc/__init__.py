"""Adversarially robust deep multi-view clustering."""

from ar_dmvc.clusterers import load_clusterer

__all__ = ["__version__", "load_clusterer"]

__version__ = "0.1.0"
