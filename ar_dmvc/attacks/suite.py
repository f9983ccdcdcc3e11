"""The suite that clusterers are tested under where none is given."""

from __future__ import annotations

from ar_dmvc.attacks.base import Attack
from ar_dmvc.attacks.gradient import PGD
from ar_dmvc.attacks.noise import UniformNoise


def standard_suite() -> dict[str, Attack]:
    """Noise, and gradient attacks of 20 steps on each objective, as ``configs/attacks/standard.yaml``; without a budget."""
    return {
        "noise": UniformNoise(),
        "pgd_contrastive": PGD("contrastive_alignment", steps=20),
        "pgd_divergence": PGD("assignment_divergence", steps=20),
        "pgd_distance": PGD("attack_distance", steps=20),
    }
