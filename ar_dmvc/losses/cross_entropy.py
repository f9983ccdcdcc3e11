"""Binary cross-entropy of probabilities, under mixed precision too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of probabilities against targets of the same shape, both in [0, 1]; at least in float32.

    Of probabilities that are no numbers it is none: torch would stop with an error instead.
    """
    with torch.autocast(probabilities.device.type, enabled=False):  # which does not allow it in half precision
        precise = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        zero_or_nan = (precise - precise).detach().sum()
        numbers = torch.nan_to_num(precise, nan=0.5).clamp(0, 1)
        return binary_cross_entropy(numbers, targets.to(precise.dtype)) + zero_or_nan
