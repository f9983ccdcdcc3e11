"""The three LightningModules, what keeps their checkpoints, and what watches them."""

from ar_dmvc.modules.attacker import GANAttacker
from ar_dmvc.modules.checkpointing import RunCheckpoint
from ar_dmvc.modules.defender import RobustDefender
from ar_dmvc.modules.stability import StabilityUnderAttack
from ar_dmvc.modules.victim import VictimClusterer

__all__ = ["GANAttacker", "RobustDefender", "RunCheckpoint", "StabilityUnderAttack", "VictimClusterer"]
