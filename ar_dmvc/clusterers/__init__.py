"""Clusterers, one file a method, all behind one contract."""

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput
from ar_dmvc.clusterers.comvc import CoMVC
from ar_dmvc.clusterers.loading import load_clusterer
from ar_dmvc.clusterers.simvc import SiMVC

__all__ = ["Clusterer", "ClustererOutput", "CoMVC", "SiMVC", "load_clusterer"]
