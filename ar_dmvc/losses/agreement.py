"""How alike two views' representations are distributed.

Used by SEM (Xu et al., "Self-weighted contrastive learning among multiple views for mitigating representation degeneration",
NeurIPS 2023) to weigh pairs of views.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ar_dmvc.losses.kernels import squared_distances

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def jensen_shannon_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two views' representations (N, D), softmaxed over features, mean over samples.

    Returns:
        Scalar in [0, log 2].
    """
    p, q = first.log_softmax(1), second.log_softmax(1)
    middle = ((p.exp() + q.exp()) / 2).log()
    return ((p.exp() * (p - middle)).sum(1) + (q.exp() * (q - middle)).sum(1)).mean() / 2


def maximum_mean_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two views' representations (N, D).

    The kernel is the sum of five Gaussians ``exp(-d^2 / b)``, with ``b`` a quarter, a half, one, two and four times the mean
    squared distance of different rows of both views together (Long et al., "Learning transferable features with deep
    adaptation networks", ICML 2015).

    Returns:
        Scalar, at least zero.
    """
    samples = len(first)
    both = torch.cat([first, second])
    distances = squared_distances(both, both)
    mean = distances.sum() / (2 * samples * (2 * samples - 1))
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny)
    kernel = torch.stack([torch.exp(-distances / (share * mean)) for share in _BANDWIDTHS]).sum(0)
    within = kernel[:samples, :samples].mean() + kernel[samples:, samples:].mean()
    return (within - kernel[:samples, samples:].mean() - kernel[samples:, :samples].mean()).clamp(min=0)
