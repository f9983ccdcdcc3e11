"""Gaussian kernels on squared Euclidean distances."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of ``x`` (N, D) and of ``y`` (M, D): (N, M), at least zero."""
    products = x @ y.T
    return (x.square().sum(1, keepdim=True) - 2 * products + y.square().sum(1)).clamp(min=0)


def kernel_width(distances: Tensor, relative_width: float = 0.15) -> Tensor:
    """Width ``s`` of the kernel: ``s^2 = relative_width * median`` of the squared distances, without gradient.

    Args:
        distances: (N, N) squared distances, self-distances included.
        relative_width: share of the median, positive.

    Returns:
        Scalar ``s``.
    """
    # A batch of identical samples has median zero; any positive width then gives the right kernel, all ones.
    tiny = torch.finfo(distances.dtype).tiny
    return (relative_width * distances.detach().median()).clamp(min=tiny).sqrt()


def gaussian_kernel(x: Tensor, relative_width: float = 0.15) -> Tensor:
    """Gaussian kernel ``exp(-|x_i - x_j|^2 / (2 s^2))`` of the rows of ``x`` (N, D): (N, N), in (0, 1].

    The width is that of :func:`kernel_width`.

    Source: Kampffmeyer et al., "Deep divergence-based approach to clustering", Neural Networks, 2019.
    """
    distances = squared_distances(x, x)
    width = kernel_width(distances, relative_width)
    return torch.exp(-distances / (2 * width.square()))
