"""What a defence is made of once there are clusters to defend: outer losses, and changes that keep a sample's cluster."""

from ar_dmvc.defences.augmentation import Augmentation, GaussianNoise, WithinCluster
from ar_dmvc.defences.outer import MART, TRADES, AdversarialCrossEntropy, HiddenDistance, OuterLoss

__all__ = [
    "MART",
    "TRADES",
    "AdversarialCrossEntropy",
    "Augmentation",
    "GaussianNoise",
    "HiddenDistance",
    "OuterLoss",
    "WithinCluster",
]
