"""Binary cross-entropy of probabilities, under mixed precision too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of probabilities against targets of the same shape, both in [0, 1]; at least in float32."""
    with torch.autocast(probabilities.device.type, enabled=False):  # which does not allow it in half precision
        precise = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        return binary_cross_entropy(precise, targets.to(precise.dtype))
