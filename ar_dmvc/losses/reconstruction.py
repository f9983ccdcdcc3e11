"""How well decoders reproduce the views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def reconstruction_error(views: Sequence[Tensor], reconstructions: Sequence[Tensor]) -> Tensor:
    """Mean squared error of V reconstructions of the views' shapes (N, *shape_v), summed over views."""
    terms = [(view - other).square().mean() for view, other in zip(views, reconstructions, strict=True)]
    return torch.stack(terms).sum()
