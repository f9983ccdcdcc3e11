"""Binary cross-entropy of probabilities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from ar_dmvc.distributed import batch_mean
from ar_dmvc.losses.precision import in_full_precision


@in_full_precision
def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of probabilities against targets of the same shape (N, ...), both in [0, 1].

    Where probabilities are NaN, so is the result; torch would raise an error instead.
    """
    zero_or_nan = (probabilities - probabilities).detach().sum()
    numbers = torch.nan_to_num(probabilities, nan=0.5).clamp(0, 1)
    return batch_mean(binary_cross_entropy(numbers, targets.to(numbers.dtype), reduction="none")) + zero_or_nan
