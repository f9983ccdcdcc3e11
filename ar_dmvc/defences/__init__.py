"""What a defence is made of once there are clusters to defend: outer losses, and changes that keep a sample's cluster."""

from ar_dmvc.defences.augmentation import Augmentation, WithinCluster
from ar_dmvc.defences.outer import TRADES, AdversarialCrossEntropy, OuterLoss

__all__ = ["TRADES", "AdversarialCrossEntropy", "Augmentation", "OuterLoss", "WithinCluster"]
