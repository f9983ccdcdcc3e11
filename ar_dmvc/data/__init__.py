"""Data: files to views to batches."""

from ar_dmvc.data.batch import MultiViewBatch
from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData, MultiViewDataset
from ar_dmvc.data.digits import Digits
from ar_dmvc.data.noisy_mnist import NoisyMNIST
from ar_dmvc.data.part import describe_part, may_overlap

__all__ = [
    "Digits",
    "MultiViewBatch",
    "MultiViewData",
    "MultiViewDataModule",
    "MultiViewDataset",
    "NoisyMNIST",
    "describe_part",
    "may_overlap",
]
