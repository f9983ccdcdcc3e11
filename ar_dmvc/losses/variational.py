"""The evidence lower bound (ELBO) of a variational autoencoder with continuous and discrete codes, and capacities for them.

Source: Xu et al., "Multi-VAE: Learning disentangled view-common and view-peculiar visual representations for multi-view
clustering", ICCV 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ar_dmvc.distributed import mean_rows
from ar_dmvc.losses.cross_entropy import cross_entropy
from ar_dmvc.losses.precision import in_full_precision


class VariationalTerms(NamedTuple):
    """The three terms of the loss, each a scalar, not yet weighted.

    Attributes:
        continuous: distance of the continuous codes' divergences from their capacity, over values a view, summed over views.
        discrete: the same of the discrete code, V times, over values of all views.
        reconstruction: binary cross-entropy summed over a view's values, mean over the batch, summed over views.
    """

    continuous: Tensor
    discrete: Tensor
    reconstruction: Tensor


@in_full_precision
def normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), both (N, C): summed over the code, mean over the batch."""
    return mean_rows((mean.square() + log_variance.exp() - 1 - log_variance).sum(1)) / 2


@in_full_precision
def uniform_divergence(probabilities: Tensor) -> Tensor:
    """KL divergence of rows of probabilities (N, K) from the uniform distribution, mean over the batch."""
    return math.log(probabilities.shape[1]) + mean_rows((probabilities * (probabilities + 1e-12).log()).sum(1))


@in_full_precision
def variational_terms(
    means: Sequence[Tensor],
    log_variances: Sequence[Tensor],
    probabilities: Tensor,
    views: Sequence[Tensor],
    reconstructions: Sequence[Tensor],
    continuous_capacity: float,
    discrete_capacity: float,
) -> VariationalTerms:
    """The terms of Multi-VAE's loss.

    Args:
        means: of the continuous codes, V tensors (N, C).
        log_variances: of the same, V tensors (N, C).
        probabilities: of the discrete code, (N, K), rows sum to one.
        views: V tensors (N, *shape_v) in [0, 1].
        reconstructions: of the same shapes, in [0, 1].
        continuous_capacity: divergence that each view's continuous code is held to, in nats.
        discrete_capacity: the same for the discrete code.
    """
    sizes = [view[0].numel() for view in views]
    continuous = [
        (continuous_capacity - normal_divergence(mean, log_variance)).abs() / size
        for mean, log_variance, size in zip(means, log_variances, sizes, strict=True)
    ]
    discrete = len(views) * (discrete_capacity - uniform_divergence(probabilities)).abs() / sum(sizes)
    reconstruction = [
        size * cross_entropy(other, view) for view, other, size in zip(views, reconstructions, sizes, strict=True)
    ]
    return VariationalTerms(torch.stack(continuous).sum(), discrete, torch.stack(reconstruction).sum())
