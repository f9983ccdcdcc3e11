"""Adversarial and attentive alignment of the views' latents.

Source: Zhou and Shen, "End-to-end adversarial-attention network for multi-modal clustering" (EAMC), CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ar_dmvc.distributed import gather_rows, sum_processes
from ar_dmvc.losses.blocks import by_blocks
from ar_dmvc.losses.cross_entropy import cross_entropy
from ar_dmvc.losses.kernels import batch_kernel_width, gaussian_kernel_of_width
from ar_dmvc.losses.precision import in_full_precision


@in_full_precision
def attention_loss(fused: Tensor, latents: Sequence[Tensor], weights: Tensor, relative_width: float = 0.15) -> Tensor:
    """How far the kernel of the fused latents is from the weighted sum of the views' kernels, squared Frobenius norm.

    Args:
        fused: (N, D).
        latents: V tensors (N, D_v).
        weights: of the views, (V,), sum one.
        relative_width: squared kernel width as a share of the median squared distance, positive.

    Returns:
        Scalar, at least zero.
    """
    representations = [fused, *latents]
    widths = [batch_kernel_width(rows, relative_width) for rows in representations]
    everyone = [gather_rows(rows) for rows in representations]

    def gap(*rows: Tensor) -> Tensor:
        kernel, *kernels = map(gaussian_kernel_of_width, rows, everyone, widths)
        return (kernel - torch.einsum("v,vnm->nm", weights, torch.stack(kernels))).square().sum()

    return sum_processes(torch.stack(by_blocks(gap, len(everyone[0]), *representations)).sum())


def generator_loss(fakes: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of discriminators' probabilities for fake latents against one, summed over discriminators.

    Args:
        fakes: (N, 1) each, in [0, 1].

    Returns:
        Scalar, at least zero.
    """
    return torch.stack([cross_entropy(fake, torch.ones_like(fake)) for fake in fakes]).sum()


def discriminator_loss(reals: Sequence[Tensor], fakes: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of discriminators' probabilities, real latents against one plus fake ones against zero, summed.

    Args:
        reals: (N, 1) each, in [0, 1], one a discriminator.
        fakes: the same for fake latents.

    Returns:
        Scalar, at least zero.
    """
    terms = [
        cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
        for real, fake in zip(reals, fakes, strict=True)
    ]
    return torch.stack(terms).sum()
