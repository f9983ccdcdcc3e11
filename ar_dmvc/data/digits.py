"""Digits: the embedded data set."""

from __future__ import annotations

from typing import Any

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.pairing import pair_with_noisy
from ar_dmvc.networks import Shape


class Digits(MultiViewDataModule):
    """The 1,797 digits of 8x8 pixels that scikit-learn ships, in two views made as NoisyMNIST's; nothing to download.

    Args:
        epsilon: L-infinity budget of attacks that name none of their own; on images as small as these 0.1 is much.
        kwargs: see :class:`MultiViewDataModule`.
    """

    view_shapes: tuple[Shape, ...] = ((1, 8, 8), (1, 8, 8))
    num_classes = 10

    def __init__(self, epsilon: float = 0.1, **kwargs: Any) -> None:
        super().__init__(epsilon=epsilon, **kwargs)

    def load(self) -> MultiViewData:
        """Make the two views of scikit-learn's digits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return pair_with_noisy(digits.images, digits.target, self.seed, largest=16)
