"""Attacks: a clusterer and views in, perturbed views out."""

from ar_dmvc.attacks.base import Attack
from ar_dmvc.attacks.gan import GeneratorAttack, TrainedGenerator, perturb_with
from ar_dmvc.attacks.gradient import FGSM, PGD, GradientAttack
from ar_dmvc.attacks.noise import UniformNoise
from ar_dmvc.attacks.objectives import OBJECTIVES, Objective, attack_distance
from ar_dmvc.attacks.rules import Ascent, SteepestStep, UpdateRule
from ar_dmvc.attacks.suite import standard_suite
from ar_dmvc.attacks.target import Target, undisturbed, usable
from ar_dmvc.attacks.threat import LInfinity, Norm, ThreatModel, Views

__all__ = [
    "FGSM",
    "OBJECTIVES",
    "PGD",
    "Ascent",
    "Attack",
    "GeneratorAttack",
    "GradientAttack",
    "LInfinity",
    "Norm",
    "Objective",
    "SteepestStep",
    "Target",
    "ThreatModel",
    "TrainedGenerator",
    "UniformNoise",
    "UpdateRule",
    "Views",
    "attack_distance",
    "perturb_with",
    "standard_suite",
    "undisturbed",
    "usable",
]
