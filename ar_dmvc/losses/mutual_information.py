"""Mutual-information alignment of softmaxed latents.

Source: Lin et al., "COMPLETER: Incomplete multi-view clustering via contrastive prediction", CVPR 2021, as used by
Trosten et al., "On the effects of self-supervision and contrastive alignment in deep multi-view clustering", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

import torch
from torch import Tensor

from ar_dmvc.distributed import sum_processes
from ar_dmvc.losses.precision import in_full_precision

_SMALLEST_PROBABILITY = 1e-9


@in_full_precision
def mutual_information_alignment(latents: Sequence[Tensor], entropy_weight: float = 9.0, self_pairs: bool = False) -> Tensor:
    """Minus the mutual information of pairs of views, with their entropies weighted, summed over pairs.

    Args:
        latents: V tensors (N, D), V at least 2, non-negative rows that sum to one.
        entropy_weight: the weight ``a`` of the marginal entropies.
        self_pairs: also pair each view but the last with itself, as published settings do.

    Returns:
        Scalar.

    Raises:
        ValueError: fewer than two views.
    """
    if len(latents) < 2:
        raise ValueError(f"mutual-information alignment needs at least two views, got {len(latents)}")
    last = len(latents) - 1
    if self_pairs:
        pairs = [(u, v) for u, v in combinations_with_replacement(range(len(latents)), 2) if u < last]
    else:
        pairs = list(combinations(range(len(latents)), 2))
    return torch.stack([_pair_term(latents[u], latents[v], entropy_weight) for u, v in pairs]).sum()


def _pair_term(first: Tensor, second: Tensor, entropy_weight: float) -> Tensor:
    joint = sum_processes(first.T @ second)
    joint = (joint + joint.T) / 2
    joint = joint / joint.sum()
    marginal = joint.sum(1)
    log_joint = joint.clamp(min=_SMALLEST_PROBABILITY).log()
    # The joint distribution is symmetric: both marginals are the same.
    log_marginal = marginal.clamp(min=_SMALLEST_PROBABILITY).log()
    penalty = (entropy_weight + 1) * (log_marginal[:, None] + log_marginal)
    return -(joint * (log_joint - penalty)).sum()
