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


def contrastive_terms(latents: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """What each sample adds to :func:`contrastive_alignment`, which is the mean of these.

    Args:
        latents: V tensors (N, D), V at least 2, of equal shapes.
        temperature: positive.

    Returns:
        (N,), both directions added, averaged over the pairs of views.

    Raises:
        ValueError: fewer than two views, or latents of different shapes.
    """
    shapes = {tuple(latent.shape) for latent in latents}
    if len(latents) < 2 or len(shapes) != 1:
        raise ValueError(f"contrastive alignment needs at least two views with latents of one shape, got {sorted(shapes)}")
    directions = [normalize(latent, dim=1) for latent in latents]
    pairs = [_pair_terms(first, second, temperature) for first, second in combinations(directions, 2)]
    return torch.stack(pairs).mean(0)


def contrastive_alignment(latents: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Normalised-temperature cross-entropy between views, mean over all pairs of views, both directions added.

    The only positive of a sample is the same sample in the other view; all others in the two views are negatives.
    Not weighted by fusion weights; :class:`ar_dmvc.clusterers.CoMVC` does that.

    Args:
        latents: V tensors (N, D), V at least 2, of equal shapes.
        temperature: positive.

    Returns:
        Scalar.

    Raises:
        ValueError: fewer than two views, or latents of different shapes.
    """
    return contrastive_terms(latents, temperature).mean()


def _pair_terms(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """(N,) for rows of length one (N, D): minus log-probability of the positive, from either side, added."""
    samples = len(first)
    both = torch.cat([first, second])
    similarity = both @ both.T / temperature
    itself = torch.eye(2 * samples, dtype=torch.bool, device=both.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    positives = (first * second).sum(1) / temperature
    return similarity.logsumexp(1).view(2, samples).sum(0) - 2 * positives
