"""Fusion of the views' latents into one representation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WeightedMean(nn.Module):
    """``z = sum_v softmax(w)_v z_v`` with learned ``w``, starting equal.

    Source: Trosten et al., CVPR 2021.

    Args:
        num_views: V, at least one.
    """

    def __init__(self, num_views: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((num_views,), 1 / num_views))

    def forward(self, latents: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Fuse V latents (N, D) into (N, D); with a mask (N, V), at least one view a sample, those that are there."""
        if mask is not None:
            shares = self.normalised() * mask
            shares = shares / shares.sum(1, keepdim=True)
            return torch.einsum("nv,vnd->nd", shares, torch.stack(tuple(latents)))
        return torch.einsum("v,vnd->nd", self.normalised(), torch.stack(tuple(latents)))

    def normalised(self) -> Tensor:
        """The weights after the softmax: (V,), positive, sum one."""
        return self.weights.softmax(0)
