"""What a defence minimises once there are clusters to defend."""

from ar_dmvc.defences.outer import TRADES, AdversarialCrossEntropy, OuterLoss

__all__ = ["TRADES", "AdversarialCrossEntropy", "OuterLoss"]
