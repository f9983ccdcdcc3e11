"""Data: files to views to batches."""

from ar_dmvc.data.batch import MultiViewBatch
from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import BatchLoader, MultiViewData, MultiViewDataset
from ar_dmvc.data.digits import Digits
from ar_dmvc.data.feature_views import FeatureViews
from ar_dmvc.data.mnist import EdgeFashion, EdgeMNIST, NoisyFashion, NoisyMNIST, PatchedMNIST
from ar_dmvc.data.part import describe_part, may_overlap
from ar_dmvc.data.regdb import RegDB

__all__ = [
    "BatchLoader",
    "Digits",
    "EdgeFashion",
    "EdgeMNIST",
    "FeatureViews",
    "MultiViewBatch",
    "MultiViewData",
    "MultiViewDataModule",
    "MultiViewDataset",
    "NoisyFashion",
    "NoisyMNIST",
    "PatchedMNIST",
    "RegDB",
    "describe_part",
    "may_overlap",
]
