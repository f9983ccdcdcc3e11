"""Levels: each value of a view as several learned clamps of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_RATE = 5.0
_SLOPE = 0.1


class Levels(nn.Module):
    """What a view's values are to an encoder: each as M levels, ``clamp((x - centre) / width + 1/2, 0, 1) + x / 10``.

    Centres and widths are learned, M of each for a whole view. A clamp is flat on both sides, so that under adversarial
    training they come to lie where a budget moves few values across them, as filters of first layers do on MNIST (Madry et
    al., ICLR 2018, appendix). As in a thermometer code (Buckman et al., ICLR 2018) several stand for a value. What is added
    keeps a gradient where a clamp has none, which attacks can follow: without it students learn to hide from theirs.

    Args:
        count: M, at least one; the clamp of a single one begins as the identity on [0, 1], several half as wide.

    Raises:
        ValueError: fewer than one level.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"levels: at least one, got {count}")
        spread = 0.8 * ((torch.arange(count) + 0.5) / count - 0.5)
        # Both are learned some times as fast as weights are, which an optimiser's steps of equal size would else hardly move.
        self.shifts = nn.Parameter(spread / _RATE)
        self.log_widths = nn.Parameter(torch.full((count,), max(0.5, 1 / count)).log() / _RATE)

    @property
    def centres(self) -> Tensor:
        """Of the levels, (M,), in a view's units."""
        return 0.5 + _RATE * self.shifts

    @property
    def widths(self) -> Tensor:
        """Over which a level rises from 0 to 1, (M,), positive, in a view's units."""
        return (_RATE * self.log_widths).exp()

    def forward(self, view: Tensor) -> Tensor:
        """Of a view (N, C, H, W) or (N, F), values in [0, 1]: (N, C * M, H, W), channels-last, or (N, F * M)."""
        values = view.movedim(1, -1).unsqueeze(-1)
        levels = ((values - self.centres) / self.widths + 0.5).clamp(0, 1) + _SLOPE * values
        return levels.flatten(-2).movedim(-1, 1)
