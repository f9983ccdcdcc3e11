"""Noise, what every attack has to beat."""

from __future__ import annotations

from torch import Tensor

from ar_dmvc.attacks.base import Attack, Views
from ar_dmvc.clusterers import Clusterer


class UniformNoise(Attack):
    """Noise uniform in the budget, the same for every clusterer.

    Args:
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        seed: of the noise.
    """

    def perturb(self, clusterer: Clusterer, views: Views, start: Views | None) -> tuple[Tensor, ...]:
        """Perturb views; see :class:`Attack`."""
        return tuple(view + noise for view, noise in zip(views, start or self.uniform(views), strict=True))
