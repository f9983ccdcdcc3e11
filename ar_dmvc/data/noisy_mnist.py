"""NoisyMNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.download import download
from ar_dmvc.data.idx import read_idx
from ar_dmvc.data.pairing import pair_with_noisy
from ar_dmvc.errors import DataError
from ar_dmvc.networks import Shape

Split = Literal["train", "test"]
_STEMS: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class NoisyMNIST(MultiViewDataModule):
    """MNIST in two views: the image, and another image of the same class with noise.

    The pairing is by class, so the second view carries class information.

    Args:
        root: folder with MNIST's IDX files, gzipped or not; missing ones are downloaded into it.
        splits: which pairs of files are used, together: ``train`` (60,000 images), ``test`` (10,000).
        mirrors: addresses to download from, tried in order; None takes the known ones.
        kwargs: see :class:`MultiViewDataModule`. The usual budget is 0.3.

    Raises:
        DataError: no or unknown splits.
    """

    view_shapes: tuple[Shape, ...] = ((1, 28, 28), (1, 28, 28))
    num_classes = 10
    usual_epsilon: ClassVar[float] = 0.3

    default_mirrors: ClassVar[Sequence[str]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    sha256: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }

    def __init__(
        self,
        root: str | Path = "data/mnist",
        splits: Sequence[Split] = ("train", "test"),
        mirrors: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not splits or len(set(splits)) != len(splits) or not set(splits) <= set(_STEMS):
            raise DataError(f"{self.name}: splits must be some of {', '.join(_STEMS)}, each once; got {list(splits)}")
        self.root = Path(root)
        self.splits = tuple(splits)
        self.mirrors = self.default_mirrors if mirrors is None else mirrors

    def fetch(self) -> None:
        """Download the files that are not in ``root``.

        Raises:
            DataError: no mirror has them, or the folder cannot be written.
        """
        for split in self.splits:
            for stem in _STEMS[split]:
                if self._find(stem) is None:
                    download(f"{stem}.gz", self.root, self.mirrors, self.sha256[f"{stem}.gz"])

    def load(self) -> MultiViewData:
        """Read the files and make the two views."""
        images, labels = zip(*(self._read(split) for split in self.splits), strict=True)
        return pair_with_noisy(np.concatenate(images), np.concatenate(labels), self.seed, largest=255)

    def _read(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images_stem, labels_stem = _STEMS[split]
        images, labels = read_idx(self._require(images_stem), 3), read_idx(self._require(labels_stem), 1)
        if len(images) != len(labels):
            raise DataError(f"{self.root}: {images_stem} has {len(images)} images, {labels_stem} has {len(labels)} labels")
        if images.shape[1:] != self.view_shapes[0][1:]:
            raise DataError(f"{self.root / images_stem}: images are {images.shape[1]}x{images.shape[2]}, not 28x28")
        return images, labels

    def _find(self, stem: str) -> Path | None:
        candidates = (self.root / stem, self.root / f"{stem}.gz")
        return next((path for path in candidates if path.is_file()), None)

    def _require(self, stem: str) -> Path:
        path = self._find(stem)
        if path is None:
            raise DataError(f"{self.root}: {stem} or {stem}.gz is not there")
        return path
