"""Clusterers, one file a method, and what is put around them, all behind one contract."""

from ar_dmvc.clusterers.aecoddc import AECoDDC
from ar_dmvc.clusterers.base import (
    BatchViews,
    Clusterer,
    ClustererOutput,
    LossTerms,
    OptimizerSettings,
    Stage,
    TrainingViews,
)
from ar_dmvc.clusterers.baselines import KMeans, MultiViewKMeans, SpectralClustering
from ar_dmvc.clusterers.comvc import CoMVC
from ar_dmvc.clusterers.eamc import EAMC
from ar_dmvc.clusterers.experts import ProductOfExperts
from ar_dmvc.clusterers.infoddc import InfoDDC
from ar_dmvc.clusterers.loading import load_clusterer
from ar_dmvc.clusterers.multi_vae import MultiVAE
from ar_dmvc.clusterers.purified import Purified
from ar_dmvc.clusterers.sem import SEM
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.clusterers.smoothed import Smoothed

__all__ = [
    "EAMC",
    "SEM",
    "AECoDDC",
    "BatchViews",
    "Clusterer",
    "ClustererOutput",
    "CoMVC",
    "InfoDDC",
    "KMeans",
    "LossTerms",
    "MultiVAE",
    "MultiViewKMeans",
    "OptimizerSettings",
    "ProductOfExperts",
    "Purified",
    "SiMVC",
    "Smoothed",
    "SpectralClustering",
    "Stage",
    "TrainingViews",
    "load_clusterer",
]
