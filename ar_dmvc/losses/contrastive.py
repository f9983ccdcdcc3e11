"""Contrastive alignment of the views' latents.

Source: Trosten et al., "Reconsidering representation alignment for multi-view clustering", CVPR 2021, after the
normalised-temperature cross-entropy of SimCLR (Chen et al., ICML 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ar_dmvc.distributed import count_rows, gather_rows, mean_rows, row_positions, sum_processes
from ar_dmvc.losses.blocks import by_blocks
from ar_dmvc.losses.precision import in_full_precision


@in_full_precision
def contrastive_terms(latents: Sequence[Tensor], temperature: float = 0.1, mask: Tensor | None = None) -> Tensor:
    """What each sample adds to :func:`contrastive_alignment`, which is the mean of these.

    Args:
        latents: V tensors (N, D), V at least 2, of equal shapes.
        temperature: positive.
        mask: (N, V) bool, which views are present; None: all.

    Returns:
        (N,), both directions added, averaged over the pairs of views; of a pair, only samples that have both take part, scaled
        so that the mean over the batch is theirs.

    Raises:
        ValueError: fewer than two views, or latents of different shapes.
    """
    shapes = {tuple(latent.shape) for latent in latents}
    if len(latents) < 2 or len(shapes) != 1:
        raise ValueError(f"contrastive alignment needs at least two views with latents of one shape, got {sorted(shapes)}")
    directions = [normalize(latent, dim=1) for latent in latents]
    if mask is None:
        pairs = [_pair_terms(first, second, temperature) for first, second in combinations(directions, 2)]
    else:
        views = list(zip(directions, mask.unbind(1), strict=True))
        pairs = [_incomplete_pair_terms(*first, *second, temperature) for first, second in combinations(views, 2)]
    return torch.stack(pairs).mean(0)


def contrastive_alignment(latents: Sequence[Tensor], temperature: float = 0.1, mask: Tensor | None = None) -> Tensor:
    """Normalised-temperature cross-entropy between views, mean over all pairs of views, both directions added.

    The only positive of a sample is the same sample in the other view; all others in the two views are negatives.
    Not weighted by fusion weights; :class:`ar_dmvc.clusterers.CoMVC` does that.

    Args:
        latents: V tensors (N, D), V at least 2, of equal shapes.
        temperature: positive.
        mask: (N, V) bool, which views are present: of a pair, only samples that have both take part. None: all.

    Returns:
        Scalar.

    Raises:
        ValueError: fewer than two views, or latents of different shapes.
    """
    return mean_rows(contrastive_terms(latents, temperature, mask))


@in_full_precision
def info_nce(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """InfoNCE of two views, mean over both directions.

    Source: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020.

    Args:
        first: rows of length one, (N, D).
        second: the other view's, (N, D).
        temperature: positive.

    Returns:
        Scalar.
    """
    return mean_rows(_pair_terms(first, second, temperature)) / 2


@in_full_precision
def spectral_contrastive(first: Tensor, second: Tensor) -> Tensor:
    """Population spectral contrastive loss (PSCL): ``-2 mean x_i y_i + mean_{i != j} (x_i y_j)^2``.

    Source: HaoChen et al., "Provable guarantees for self-supervised deep learning with spectral contrastive loss",
    NeurIPS 2021.

    Args:
        first: rows of length one, (N, D), N at least 2.
        second: the other view's, (N, D).

    Returns:
        Scalar.
    """
    everyone = gather_rows(second)
    samples = count_rows(first)
    positives = (first * second).sum(1)
    squares = torch.stack(by_blocks(lambda rows: (rows @ everyone.T).square().sum(), samples, first)).sum()
    others = sum_processes(squares - positives.square().sum()) / (samples * (samples - 1))
    return others - 2 * mean_rows(positives)


@in_full_precision
def robust_info_nce(
    first: Tensor, second: Tensor, temperature: float = 0.5, exponent: float = 0.5, density: float = 0.001
) -> Tensor:
    """Robust InfoNCE (RINCE): ``-p^q / q + (l (p + n))^q / q``, mean over both directions.

    ``p`` is the exponential of the positive's similarity over the temperature, ``n`` the sum of those of the negatives.

    Source: Chuang et al., "Robust contrastive learning against noisy views", CVPR 2022.

    Args:
        first: rows of length one, (N, D).
        second: the other view's, (N, D).
        temperature: positive.
        exponent: ``q``, in (0, 1]; near zero it is InfoNCE.
        density: ``l``, positive; the smaller, the less negatives count.

    Returns:
        Scalar.
    """
    positives = ((first * second).sum(1) / temperature).exp()
    totals = _log_totals(first, second, temperature).exp().view(2, -1)
    terms = (density * totals).pow(exponent) - positives.pow(exponent)
    return mean_rows(terms.T).mean() / exponent


def _pair_terms(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """(N,) for rows of length one (N, D): minus log-probability of the positive, from either side, added."""
    positives = (first * second).sum(1) / temperature
    return _log_totals(first, second, temperature).view(2, -1).sum(0) - 2 * positives


def _incomplete_pair_terms(
    first: Tensor, first_there: Tensor, second: Tensor, second_there: Tensor, temperature: float
) -> Tensor:
    both = first_there & second_there
    positives = (first * second).sum(1) / temperature
    terms = _log_totals(first, second, temperature, both).view(2, -1).sum(0) - 2 * positives
    share = sum_processes(both.sum()).clamp(min=1) / count_rows(first)
    return torch.where(both, terms, 0) / share


def _log_totals(first: Tensor, second: Tensor, temperature: float, takes_part: Tensor | None = None) -> Tensor:
    """(2n,) for rows of length one (n, D): log of the summed exponentials of a row's similarities to all others of the batch.

    Rows chosen by ``takes_part`` (n,) bool are compared with chosen rows alone, the others with all, for a finite gradient.
    """
    columns = torch.cat([gather_rows(first), gather_rows(second)])
    positions = row_positions(first)
    positions = torch.cat([positions, positions + len(columns) // 2])
    everyone = torch.arange(len(columns), device=columns.device)
    part = torch.ones_like(positions, dtype=torch.bool) if takes_part is None else takes_part.repeat(2)
    parts = None if takes_part is None else gather_rows(takes_part.to(first.dtype)).bool().repeat(2)

    def totals(rows: Tensor, positions: Tensor, part: Tensor) -> Tensor:
        hidden = positions[:, None] == everyone
        if parts is not None:
            hidden = hidden | (part[:, None] & ~parts)
        return (rows @ columns.T / temperature).masked_fill(hidden, float("-inf")).logsumexp(1)

    return torch.cat(by_blocks(totals, len(columns), torch.cat([first, second]), positions, part))
