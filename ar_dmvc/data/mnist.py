"""Data sets made of the images of MNIST and Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.download import download
from ar_dmvc.data.pairing import pair_in_place, to_unit_range
from ar_dmvc.data.readers.idx import read_idx
from ar_dmvc.errors import DataError
from ar_dmvc.networks import Shape

Split = Literal["train", "test"]
_STEMS: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_SIDE = 28
_PIECE = 500


class IDXImages(MultiViewDataModule):
    """Base of data sets made from the four IDX files of MNIST, or of a set that comes in the same form.

    Args:
        root: folder with the files, gzipped or not; missing ones are downloaded into it. None takes the usual one.
        splits: which pairs of files are used, together: ``train`` (60,000 images), ``test`` (10,000).
        mirrors: addresses to download from, tried in order; None takes the known ones.
        kwargs: see :class:`MultiViewDataModule`.

    Raises:
        DataError: no or unknown splits.
    """

    num_classes = 10
    licence: str = "CC BY-SA 3.0 (LeCun & Cortes, MNIST)"
    usual_root: ClassVar[str] = "data/mnist"
    known_mirrors: ClassVar[Sequence[str]] = (
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
        root: str | Path | None = None,
        splits: Sequence[Split] = ("train", "test"),
        mirrors: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not splits or len(set(splits)) != len(splits) or not set(splits) <= set(_STEMS):
            raise DataError(f"{self.name}: splits must be some of {', '.join(_STEMS)}, each once; got {list(splits)}")
        self.root = Path(self.usual_root if root is None else root)
        self.splits = tuple(splits)
        self.mirrors = self.known_mirrors if mirrors is None else mirrors

    @property
    def view_shapes(self) -> tuple[Shape, ...]:
        """Two grey images of 28 x 28."""
        return ((1, _SIDE, _SIDE),) * 2

    def files(self) -> Mapping[str, Path | None]:
        """Where each file is; None for those that are yet to be downloaded."""
        return {stem: self._find(stem) for split in self.splits for stem in _STEMS[split]}

    def missing(self) -> Sequence[str]:
        """Addresses of the files that are not in ``root``, at the first mirror."""
        mirror = f"{self.mirrors[0].rstrip('/')}/" if self.mirrors else ""
        return [f"{mirror}{stem}.gz" for stem, path in self.files().items() if path is None]

    def fetch(self) -> None:
        """Download the files that are not in ``root``.

        Raises:
            DataError: no mirror has them, or the folder cannot be written.
        """
        for stem, path in self.files().items():
            if path is None:
                download(f"{stem}.gz", self.root, self.mirrors, self.sha256[f"{stem}.gz"])

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (N, 28, 28) and labels (N,) of all splits.

        Raises:
            DataError: files are missing or damaged, or do not belong together.
        """
        if len(self.splits) == 1:
            return self._read(self.splits[0])
        images, labels = zip(*(self._read(split) for split in self.splits), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def _read(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images_stem, labels_stem = _STEMS[split]
        images, labels = read_idx(self._require(images_stem), 3), read_idx(self._require(labels_stem), 1)
        if len(images) != len(labels):
            raise DataError(f"{self.root}: {images_stem} has {len(images)} images, {labels_stem} has {len(labels)} labels")
        if images.shape[1:] != (_SIDE, _SIDE):
            raise DataError(f"{self.root}: {images_stem}: images are {'x'.join(map(str, images.shape[1:]))}, not 28x28")
        return images, labels

    def _find(self, stem: str) -> Path | None:
        try:
            return next((path for path in (self.root / stem, self.root / f"{stem}.gz") if path.is_file()), None)
        except OSError as error:
            raise DataError(f"{self.root}: cannot be read ({error.strerror or error})") from error

    def _require(self, stem: str) -> Path:
        path = self._find(stem)
        if path is None:
            raise DataError(f"{self.root / stem}: no such file, gzipped or not")
        return path


class NoisyMNIST(IDXImages):
    """MNIST in two views: the image, and another image of the same class with noise.

    The pairing is by class, so the second view carries class information.

    Args: see :class:`IDXImages`. The usual budget is 0.3.
    """

    usual_epsilon: ClassVar[float] = 0.3

    def load(self) -> MultiViewData:
        """Read the files and make the two views."""
        return _noisy(self)


class PatchedMNIST(IDXImages):
    """The digits 0, 1 and 2 of MNIST in up to twelve views: patches of the image enlarged four times.

    Images are enlarged to 112 x 112 by linear interpolation and cut in 4 x 4 patches of 28 x 28; the four corners are dropped,
    the other twelve count in row order. Each view is scaled to [0, 1] by its minimum and maximum.

    Args:
        select_views: which of the twelve patches, counted from zero.
        kwargs: see :class:`IDXImages`. The usual budget is 0.3.

    Raises:
        DataError: no patch, or one that is not there.
    """

    usual_epsilon: ClassVar[float] = 0.3
    num_classes = 3

    def __init__(self, select_views: Sequence[int] = (0, 1, 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not select_views or not set(select_views) <= set(range(len(_PATCHES))):
            raise DataError(f"{self.name}: select_views must be some of 0 to {len(_PATCHES) - 1}, got {list(select_views)}")
        self.select_views = tuple(select_views)

    @property
    def view_shapes(self) -> tuple[Shape, ...]:
        """One patch of 28 x 28 a view."""
        return ((1, _SIDE, _SIDE),) * len(self.select_views)

    def load(self) -> MultiViewData:
        """Read the files and cut the patches."""
        images, labels = self.read()
        chosen = labels < self.num_classes
        views = patches(images[chosen], self.select_views)
        return MultiViewData(views, torch.from_numpy(labels[chosen].astype(np.int64)))


class EdgeMNIST(IDXImages):
    """MNIST in two views: the image, and its edges, the dilation by a 3 x 3 square minus the image.

    Source: Trosten et al., "Reconsidering representation alignment for multi-view clustering", CVPR 2021.

    Args: see :class:`IDXImages`. The usual budget is 0.3.
    """

    usual_epsilon: ClassVar[float] = 0.3

    def load(self) -> MultiViewData:
        """Read the files and find the edges."""
        images, labels = self.read()
        return with_edges(images, labels)


class _Fashion(IDXImages):
    """Fashion-MNIST's files."""

    usual_epsilon: ClassVar[float] = 0.15
    licence: str = "MIT (Zalando, Fashion-MNIST)"
    usual_root: ClassVar[str] = "data/fashion_mnist"
    known_mirrors: ClassVar[Sequence[str]] = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    )
    sha256: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }


PUBLISHED = frozenset((*IDXImages.sha256.values(), *_Fashion.sha256.values()))
"""Checksums of the files that are downloaded."""


class NoisyFashion(_Fashion):
    """Fashion-MNIST in two views made as NoisyMNIST's.

    The pairing is by class, so the second view carries class information.

    Args: see :class:`IDXImages`. The usual budget is 0.15.
    """

    def load(self) -> MultiViewData:
        """Read the files and make the two views."""
        return _noisy(self)


class EdgeFashion(_Fashion):
    """Fashion-MNIST in two views made as EdgeMNIST's: the image and its edges.

    Args: see :class:`IDXImages`. The usual budget is 0.15.
    """

    def load(self) -> MultiViewData:
        """Read the files and find the edges."""
        images, labels = self.read()
        return with_edges(images, labels)


def _noisy(data: IDXImages) -> MultiViewData:
    images, labels = data.read()
    scaled = images[:, None].astype(np.float32)
    del images  # before as much again is needed for the second view
    return pair_in_place(scaled, labels, data.seed, largest=255)


_ENLARGED = 4
_PATCHES = [(row, column) for row in range(4) for column in range(4) if not (row in (0, 3) and column in (0, 3))]


def patches(images: NDArray[np.uint8], selected: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Patches of enlarged images (N, 28, 28), see :class:`PatchedMNIST`: one view (N, 1, 28, 28) for each selected."""
    weights = _interpolation(_SIDE, _ENLARGED)
    views = []
    for row, column in (_PATCHES[number] for number in selected):
        down, across = weights[row * _SIDE : (row + 1) * _SIDE], weights[column * _SIDE : (column + 1) * _SIDE]
        view = np.empty((len(images), 1, _SIDE, _SIDE), dtype=np.float32)
        for start in range(0, len(images), _PIECE):
            view[start : start + _PIECE, 0] = down @ (images[start : start + _PIECE] / 255.0) @ across.T
        views.append(torch.from_numpy(to_unit_range(view)))
    return tuple(views)


def _interpolation(size: int, times: int) -> NDArray[np.float64]:
    """Weights (size * times, size) of linear interpolation between pixels' centres, mirrored at the borders."""
    place = np.abs((np.arange(size * times) + 0.5) / times - 0.5)
    place = np.where(place > size - 1, 2 * (size - 1) - place, place)
    lower = np.minimum(np.floor(place).astype(int), size - 2)
    share = place - lower
    weights = np.zeros((size * times, size))
    rows = np.arange(size * times)
    weights[rows, lower] = 1 - share
    weights[rows, lower + 1] += share
    return weights


def with_edges(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> MultiViewData:
    """Images (N, 28, 28) as one view, in [0, 1], and their edges, dilation by 3 x 3 minus the image, as another."""
    first = torch.from_numpy(images[:, None].astype(np.float32))
    first /= 255
    second = torch.empty_like(first)
    for whole, part in zip(first.split(_PIECE), second.split(_PIECE), strict=True):  # type: ignore[no-untyped-call]
        torch.sub(max_pool2d(whole, 3, stride=1, padding=1), whole, out=part)
    return MultiViewData((first, second), torch.from_numpy(labels.astype(np.int64)))
