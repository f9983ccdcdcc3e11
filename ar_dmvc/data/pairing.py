"""Two views from one set of images: the image, and a noisy image of the same class.

Source: NoisyMNIST as in Huang et al., ICML 2024. The second view is paired with the first *by class*: it carries class
information, which makes these sets easy for anything that aligns views. Labels go no further than that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.seeding import numpy_generator

_NOISE = 0.2
_PIECE = 1000


def pair_with_noisy(images: NDArray[Any], labels: NDArray[Any], seed: int, largest: float) -> MultiViewData:
    """Pair each image with another of its class, noise added.

    Args:
        images: (N, H, W), values in [0, largest].
        labels: (N,) integers.
        seed: of pairing and noise, ``numpy.random.default_rng``, the same on every platform.
        largest: the value that stands for white.

    Returns:
        Two views (N, 1, H, W): the image; a permutation within the class, plus N(0, 0.2) on a scale of [-1, 1]. Each is
        then scaled to [0, 1] by its own minimum and maximum.
    """
    return pair_in_place(images[:, None].astype(np.float32), labels, seed, largest)


def pair_in_place(scaled: NDArray[np.float32], labels: NDArray[Any], seed: int, largest: float) -> MultiViewData:
    """:func:`pair_with_noisy` for images (N, 1, H, W) that become the first view: for many of them, memory counts."""
    random = numpy_generator(seed)
    partner = np.arange(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        partner[members] = random.permutation(members)
    scaled *= np.float32(2 / largest)
    scaled -= 1
    noisy = random.standard_normal(scaled.shape, dtype=np.float32)
    noisy *= np.float32(_NOISE)
    for start in range(0, len(noisy), _PIECE):
        noisy[start : start + _PIECE] += scaled[partner[start : start + _PIECE]]
    views = tuple(torch.from_numpy(to_unit_range(view)) for view in (scaled, noisy))
    return MultiViewData(views, torch.from_numpy(labels.astype(np.int64)))


def to_unit_range(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a view to [0, 1] by its own minimum and maximum, in place; a constant one becomes zero."""
    low, high = view.min(), view.max()
    view -= low
    if high > low:
        view /= high - low
    return np.clip(view, 0, 1, out=view)
