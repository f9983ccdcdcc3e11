"""Digits: the embedded data set."""

from __future__ import annotations

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.pairing import pair_with_noisy
from ar_dmvc.networks import Shape


class Digits(MultiViewDataModule):
    """The 1,797 digits of 8x8 pixels that scikit-learn ships, in two views made as NoisyMNIST's; nothing to download.

    Args: see :class:`MultiViewDataModule`. On images as small as these the usual budget of 0.1 is much.
    """

    licence: str = "CC BY 4.0 (Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI)"
    view_shapes: tuple[Shape, ...] = ((1, 8, 8), (1, 8, 8))
    num_classes = 10

    def load(self) -> MultiViewData:
        """Make the two views of scikit-learn's digits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return pair_with_noisy(digits.images, digits.target, self.seed, largest=16)
