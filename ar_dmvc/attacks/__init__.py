"""Attacks: a clusterer and views in, perturbed views out."""

from ar_dmvc.attacks.adaptive import AdaptiveStep, MomentumStep
from ar_dmvc.attacks.base import Attack
from ar_dmvc.attacks.ensemble import Ensemble
from ar_dmvc.attacks.gan import GeneratorAttack, TrainedGenerator, perturb_with
from ar_dmvc.attacks.gradient import APGD, FGSM, MIFGSM, PGD, GradientAttack
from ar_dmvc.attacks.noise import UniformNoise
from ar_dmvc.attacks.objectives import OBJECTIVES, Margin, Objective, attack_distance
from ar_dmvc.attacks.rays import RayS
from ar_dmvc.attacks.rules import Ascent, SteepestStep, UpdateRule
from ar_dmvc.attacks.square import Square
from ar_dmvc.attacks.suite import standard_suite
from ar_dmvc.attacks.target import Target, undisturbed, usable
from ar_dmvc.attacks.targeted import TargetedAPGD
from ar_dmvc.attacks.threat import L2, LInfinity, Norm, ThreatModel, Views
from ar_dmvc.attacks.transfer import Transfer
from ar_dmvc.attacks.universal import Universal

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "MIFGSM",
    "OBJECTIVES",
    "PGD",
    "AdaptiveStep",
    "Ascent",
    "Attack",
    "Ensemble",
    "GeneratorAttack",
    "GradientAttack",
    "LInfinity",
    "Margin",
    "MomentumStep",
    "Norm",
    "Objective",
    "RayS",
    "Square",
    "SteepestStep",
    "Target",
    "TargetedAPGD",
    "ThreatModel",
    "TrainedGenerator",
    "Transfer",
    "UniformNoise",
    "Universal",
    "UpdateRule",
    "Views",
    "attack_distance",
    "perturb_with",
    "standard_suite",
    "undisturbed",
    "usable",
]
