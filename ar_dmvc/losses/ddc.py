"""The loss of deep divergence-based clustering (DDC).

Source: Kampffmeyer et al., "Deep divergence-based approach to clustering", Neural Networks, 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ar_dmvc.distributed import gather_rows, sum_processes
from ar_dmvc.losses.blocks import by_blocks
from ar_dmvc.losses.kernels import batch_kernel_width, gaussian_kernel_of_width, squared_distances
from ar_dmvc.losses.precision import in_full_precision

_SMALLEST_ENTRY = 1e-9


class DDCTerms(NamedTuple):
    """The three terms of the DDC loss, each a scalar; the loss is their sum."""

    separation: Tensor
    orthogonality: Tensor
    simplex: Tensor


@in_full_precision
def ddc_terms(hidden: Tensor, assignments: Tensor, relative_width: float = 0.15) -> DDCTerms:
    """Separation, orthogonality and simplex term of the DDC loss.

    Args:
        hidden: hidden representation ``h``, (N, H), N at least 2.
        assignments: soft assignments ``A``, (N, K), rows sum to one, K at least 2.
        relative_width: squared kernel width as a share of the median squared distance, positive.

    Raises:
        ValueError: fewer than two samples or clusters, or different numbers of samples.
    """
    clusters = assignments.shape[1]
    everyone = gather_rows(assignments)
    if len(everyone) < 2 or clusters < 2 or len(hidden) != len(assignments):
        raise ValueError(
            "ddc_terms needs at least 2 samples and 2 clusters, and as many hidden rows as assignments; "
            f"got hidden {tuple(hidden.shape)} and assignments {tuple(assignments.shape)}"
        )
    corners = torch.eye(clusters, dtype=assignments.dtype, device=assignments.device)
    closeness = torch.exp(-squared_distances(assignments, corners))
    by_assignment, by_closeness = _overlaps(hidden, assignments, closeness, relative_width)
    return DDCTerms(
        separation=_cauchy_schwarz_divergence(by_assignment),
        orthogonality=mean_off_diagonal_product(everyone),
        simplex=_cauchy_schwarz_divergence(by_closeness),
    )


def _overlaps(hidden: Tensor, first: Tensor, second: Tensor, relative_width: float) -> Tensor:
    """``W^T K W`` of the kernel of hidden representations (n, H) of the batch, for two weights W (n, K): (2, K, K)."""
    width = batch_kernel_width(hidden, relative_width)
    everyone = gather_rows(hidden)
    both = gather_rows(torch.cat([first, second], 1))

    def overlaps(hidden: Tensor, first: Tensor, second: Tensor) -> Tensor:
        one, other = (gaussian_kernel_of_width(hidden, everyone, width) @ both).chunk(2, 1)
        return torch.stack([first.T @ one, second.T @ other])

    return sum_processes(torch.stack(by_blocks(overlaps, len(everyone), hidden, first, second)).sum(0))


def _cauchy_schwarz_divergence(overlap: Tensor) -> Tensor:
    """Mean similarity of two different clusters, from the kernel's sums (K, K) over samples of one and of the other."""
    clusters = len(overlap)
    own = overlap.diagonal()
    normaliser = (own[:, None] * own).clamp(min=_SMALLEST_ENTRY**2).sqrt()
    similarity = overlap.clamp(min=_SMALLEST_ENTRY) / normaliser
    return 2 / (clusters * (clusters - 1)) * similarity.triu(diagonal=1).sum()


@in_full_precision
def mean_off_diagonal_product(rows: Tensor) -> Tensor:
    """Mean inner product of two different rows of ``rows`` (N, K), in time and memory linear in N.

    With rows = A it is the orthogonality term of DDC, with A transposed the flipped one of EAMC.
    """
    count = len(rows)
    total = rows.sum(0).square().sum() - rows.square().sum()
    return total / (count * (count - 1))
