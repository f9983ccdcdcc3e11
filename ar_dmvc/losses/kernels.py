"""Gaussian kernels on squared Euclidean distances."""

from __future__ import annotations

import torch
from torch import Tensor

from ar_dmvc.distributed import gather_rows, sum_processes
from ar_dmvc.losses.blocks import LARGEST_BLOCK, blocks_of

_SMALLEST_SHARE = 1e-3
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of ``x`` (N, D) and of ``y`` (M, D): (N, M), at least zero."""
    products = x @ y.T
    return (x.square().sum(1, keepdim=True) - 2 * products + y.square().sum(1)).clamp(min=0)


def kernel_width(distances: Tensor, relative_width: float = 0.15) -> Tensor:
    """Width ``s`` of the kernel: ``s^2 = relative_width * median`` of the squared distances, without gradient.

    The median counts as a thousandth of the mean at least: where most samples coincide it is zero, and gradients overflow.

    Args:
        distances: (N, N) squared distances, self-distances included.
        relative_width: share of the median, positive.

    Returns:
        Scalar ``s``.
    """
    distances = distances.detach()
    return _width(distances.median(), distances.mean(), relative_width)


def batch_kernel_width(x: Tensor, relative_width: float = 0.15) -> Tensor:
    """:func:`kernel_width` of the batch that the rows of ``x`` (n, D) belong to, in memory linear in N where that is large."""
    with torch.no_grad():
        everyone = gather_rows(x)
        if len(everyone) ** 2 <= LARGEST_BLOCK:
            return kernel_width(squared_distances(everyone, everyone), relative_width)
        mean = 2 * (everyone - everyone.mean(0)).square().sum(1).mean()
        return _width(_median_by_counting(x, everyone), mean, relative_width)


def gaussian_kernel_of_width(x: Tensor, y: Tensor, width: Tensor) -> Tensor:
    """Gaussian kernel ``exp(-|x_i - y_j|^2 / (2 s^2))`` of the rows of ``x`` (N, D) and of ``y`` (M, D): (N, M), in (0, 1]."""
    return torch.exp(-squared_distances(x, y) / (2 * width.square()))


def gaussian_kernel(x: Tensor, relative_width: float = 0.15) -> Tensor:
    """Gaussian kernel ``exp(-|x_i - x_j|^2 / (2 s^2))`` of the rows of ``x`` (N, D): (N, N), in (0, 1].

    The width is that of :func:`kernel_width`.

    Source: Kampffmeyer et al., "Deep divergence-based approach to clustering", Neural Networks, 2019.
    """
    return gaussian_kernel_of_width(x, x, kernel_width(squared_distances(x, x), relative_width))


def _width(median: Tensor, mean: Tensor, relative_width: float) -> Tensor:
    typical = torch.maximum(median, _SMALLEST_SHARE * mean)
    # A batch of identical samples has distances of zero; any positive width then gives the right kernel, all ones.
    return (relative_width * typical).clamp(min=torch.finfo(median.dtype).tiny).sqrt()


def _median_by_counting(x: Tensor, everyone: Tensor) -> Tensor:
    """The median of the squared distances of ``everyone`` (N, D), of whose rows ``x`` is this process's share; exact.

    Non-negative floats sort like their bit patterns, so the median's bits are found sixteen at a time (radix selection),
    by counting the distances with each pattern.
    """
    digits = 16
    rank = (len(everyone) ** 2 - 1) // 2
    found = 0
    for shift in range(8 * x.element_size() - digits, -1, -digits):
        counts = torch.zeros(2**digits, dtype=torch.int64, device=x.device)
        for block in blocks_of(x, len(everyone)):
            bits = squared_distances(block, everyone).abs().view(_BITS[x.dtype]).flatten()  # zeros may have a sign
            prefix = bits >> shift
            counts += torch.bincount(prefix[(prefix >> digits) == found] & (2**digits - 1), minlength=2**digits)
        below = sum_processes(counts).cumsum(0)
        digit = int((below <= rank).sum())
        rank -= int(below[digit - 1]) if digit else 0
        found = found << digits | digit
    return torch.tensor(found, dtype=_BITS[x.dtype], device=x.device).view(x.dtype)
