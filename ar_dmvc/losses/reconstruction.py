"""How well decoders reproduce the views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def reconstruction_error(views: Sequence[Tensor], reconstructions: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Mean squared error of reconstructions, summed over views.

    Args:
        views: V tensors (N, *shape_v).
        reconstructions: of the same shapes.
        mask: (N, V) bool, which views are there; only they count. None: all.

    Returns:
        Scalar, at least zero.
    """
    errors = [(view - other).square().flatten(1).mean(1) for view, other in zip(views, reconstructions, strict=True)]
    if mask is None:
        return torch.stack(errors).mean(1).sum()
    there = mask.T.to(errors[0].dtype)
    return ((torch.stack(errors) * there).sum(1) / there.sum(1).clamp(min=1)).sum()
