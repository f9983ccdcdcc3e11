"""How well decoders reproduce the views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ar_dmvc.distributed import mean_rows, sum_processes
from ar_dmvc.losses.precision import in_full_precision


@in_full_precision
def reconstruction_error(views: Sequence[Tensor], reconstructions: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Mean squared error of reconstructions, summed over views.

    Args:
        views: V tensors (N, *shape_v).
        reconstructions: of the same shapes.
        mask: (N, V) bool, which views are present; only they count. None: all.

    Returns:
        Scalar, at least zero.
    """
    errors = [(view - other).square().flatten(1).mean(1) for view, other in zip(views, reconstructions, strict=True)]
    if mask is None:
        return mean_rows(torch.stack(errors, 1)).sum()
    there = mask.to(errors[0].dtype)
    totals, counts = sum_processes(torch.stack([(torch.stack(errors, 1) * there).sum(0), there.sum(0)]))
    error: Tensor = (totals / counts.clamp(min=1)).sum()
    return error
