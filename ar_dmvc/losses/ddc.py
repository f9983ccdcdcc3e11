"""The loss of deep divergence-based clustering (DDC).

Source: Kampffmeyer et al., "Deep divergence-based approach to clustering", Neural Networks, 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ar_dmvc.losses.kernels import gaussian_kernel, squared_distances

_SMALLEST_ENTRY = 1e-9


class DDCTerms(NamedTuple):
    """The three terms of the DDC loss, each a scalar; the loss is their sum."""

    separation: Tensor
    orthogonality: Tensor
    simplex: Tensor


def ddc_terms(hidden: Tensor, assignments: Tensor, relative_width: float = 0.15) -> DDCTerms:
    """Separation, orthogonality and simplex term of the DDC loss.

    Args:
        hidden: hidden representation ``h``, (N, H), N at least 2.
        assignments: soft assignments ``A``, (N, K), rows sum to one, K at least 2.
        relative_width: squared kernel width as a share of the median squared distance, positive.

    Raises:
        ValueError: fewer than two samples or clusters, or different numbers of samples.
    """
    samples, clusters = assignments.shape
    if samples < 2 or clusters < 2 or len(hidden) != samples:
        raise ValueError(
            "ddc_terms needs at least 2 samples and 2 clusters, and as many hidden rows as assignments; "
            f"got hidden {tuple(hidden.shape)} and assignments {tuple(assignments.shape)}"
        )
    kernel = gaussian_kernel(hidden, relative_width)
    corners = torch.eye(clusters, dtype=assignments.dtype, device=assignments.device)
    closeness = torch.exp(-squared_distances(assignments, corners))
    return DDCTerms(
        separation=_cauchy_schwarz_divergence(assignments, kernel),
        orthogonality=mean_off_diagonal_product(assignments),
        simplex=_cauchy_schwarz_divergence(closeness, kernel),
    )


def _cauchy_schwarz_divergence(weights: Tensor, kernel: Tensor) -> Tensor:
    """Mean similarity of two different clusters under the kernel (N, N), ``weights`` (N, K) saying who is in which."""
    clusters = weights.shape[1]
    overlap = weights.T @ kernel @ weights
    own = overlap.diagonal()
    normaliser = (own[:, None] * own).clamp(min=_SMALLEST_ENTRY**2).sqrt()
    similarity = overlap.clamp(min=_SMALLEST_ENTRY) / normaliser
    return 2 / (clusters * (clusters - 1)) * similarity.triu(diagonal=1).sum()


def mean_off_diagonal_product(rows: Tensor) -> Tensor:
    """Mean inner product of two different rows of ``rows`` (N, K), in time and memory linear in N.

    With rows = A it is the orthogonality term of DDC, with A transposed the flipped one of EAMC.
    """
    count = len(rows)
    total = rows.sum(0).square().sum() - rows.square().sum()
    return total / (count * (count - 1))
