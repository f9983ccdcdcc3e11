"""The Attack Mitigator.

Source: Huang et al., "Adversarially Robust Deep Multi-View Clustering", ICML 2024.
"""

from __future__ import annotations

from torch import Tensor

from ar_dmvc.distributed import mean_rows
from ar_dmvc.losses.precision import in_full_precision


@in_full_precision
def assignment_divergence_terms(clean: Tensor, attacked: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Each sample's ``KL(clean || attacked)`` of soft assignments (N, K): (N,), ``epsilon`` added before the logarithm."""
    clean = clean + epsilon
    attacked = attacked + epsilon
    return (clean * (clean.log() - attacked.log())).sum(1)


def attack_mitigator(clean: Tensor, attacked: Tensor, epsilon: float = 1e-4) -> Tensor:
    """``KL(clean || attacked)`` of soft assignments, mean over the batch; gradients flow into both.

    Args:
        clean: soft assignments of clean samples, (N, K), rows sum to one.
        attacked: soft assignments of the same samples attacked, (N, K).
        epsilon: added to both before the logarithm, positive.

    Returns:
        Scalar.

    Raises:
        ValueError: the shapes differ.
    """
    if clean.shape != attacked.shape:
        raise ValueError(f"clean and attacked assignments differ in shape: {tuple(clean.shape)}, {tuple(attacked.shape)}")
    return mean_rows(assignment_divergence_terms(clean, attacked, epsilon))
