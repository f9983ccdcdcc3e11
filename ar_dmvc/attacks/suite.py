"""The suite that clusterers are tested under where none is given."""

from __future__ import annotations

from ar_dmvc.attacks.base import Attack
from ar_dmvc.attacks.gradient import APGD
from ar_dmvc.attacks.noise import UniformNoise


def standard_suite() -> dict[str, Attack]:
    """Noise, and adaptive ascents of 20 passes on three objectives, as ``configs/attacks/standard.yaml``; without a budget."""
    return {
        "noise": UniformNoise(),
        "apgd_contrastive": APGD("contrastive_alignment", steps=19),
        "apgd_cross_entropy": APGD("cross_entropy", steps=19),
        "apgd_distance": APGD("attack_distance", steps=19),
    }
