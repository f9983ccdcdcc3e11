"""Noise, what every attack has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views


class UniformNoise(Attack):
    """Noise uniform in the budget, the same for every clusterer.

    Args:
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        seed: of the noise.
        norm: of the budget, ``linf`` or ``l2``.
        views: which views it changes; None: all.
    """

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> tuple[Tensor, ...]:
        """Perturb views; see :class:`Attack`."""
        noise = threat.of_present(self.initial(views, threat, generator), target.mask) if start is None else start
        return threat.move(views, noise)
