"""The three LightningModules."""

from ar_dmvc.modules.attacker import GANAttacker
from ar_dmvc.modules.defender import RobustDefender
from ar_dmvc.modules.victim import VictimClusterer

__all__ = ["GANAttacker", "RobustDefender", "VictimClusterer"]
