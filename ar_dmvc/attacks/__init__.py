"""Attacks: clusterer and views in, perturbed views out."""

from ar_dmvc.attacks.base import Attack, Views, undisturbed, within_budget
from ar_dmvc.attacks.gan import GeneratorAttack, TrainedGenerator, perturb_with
from ar_dmvc.attacks.gradient import FGSM, PGD
from ar_dmvc.attacks.noise import UniformNoise
from ar_dmvc.attacks.objectives import OBJECTIVES, Objective, attack_distance
from ar_dmvc.attacks.suite import standard_suite

__all__ = [
    "FGSM",
    "OBJECTIVES",
    "PGD",
    "Attack",
    "GeneratorAttack",
    "Objective",
    "TrainedGenerator",
    "UniformNoise",
    "Views",
    "attack_distance",
    "perturb_with",
    "standard_suite",
    "undisturbed",
    "within_budget",
]
