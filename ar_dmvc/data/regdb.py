"""RegDB: visible and thermal images of people."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.readers import read_npy_folder
from ar_dmvc.data.scaling import Scaling, pixels
from ar_dmvc.errors import DataError
from ar_dmvc.networks import Shape

_CHANNELS, _HEIGHT, _WIDTH = 3, 128, 64
_SPECTRA = ("visible", "thermal")
_NUMBERED = tuple(enumerate(_SPECTRA))
_MOST_PIXELS = 4_000_000


class RegDB(MultiViewDataModule):
    """RegDB in two views: a visible image of a person, and a thermal one of the same person; 3 x 128 x 64.

    Source: Nguyen et al., "Person recognition system based on a combination of body images from visible light and thermal
    cameras", Sensors 2017; on request from its authors, as a folder with ``Visible/`` and ``Thermal/`` (a sub-folder an
    identity) and ``idx/{train,test}_{visible,thermal}_{trial}.txt``, each line an image's path from the top folder, a space,
    and a label that counts from 0 within its list. Training and test list of a trial are taken together: all 412 identities.

    Images of an identity are paired in the order of their lists; where one spectrum has more, the rest is left out. The pairing
    is by identity, so each view carries class information.

    Args:
        root: the folder.
        trial: which of the ten lists, 1 to 10.
        identities: how many identities, the first of the training list, then of the test list; None: all.
        kwargs: see :class:`MultiViewDataModule`.

    Raises:
        DataError: a trial or number of identities that cannot be; on loading, files that are missing or damaged.
    """

    view_shapes: tuple[Shape, ...] = ((_CHANNELS, _HEIGHT, _WIDTH),) * 2
    licence: str = "for research, on request from its authors (Nguyen et al., 2017)"
    loads_unit_range: ClassVar[bool] = False
    all_identities: ClassVar[int] = 412

    def __init__(self, root: str | Path = "data/regdb", trial: int = 1, identities: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= trial <= 10:
            raise DataError(f"trial must be from 1 to 10, got {trial}")
        if identities is not None and identities < 2:
            raise DataError(f"identities must be at least 2, got {identities}")
        self.root = Path(root)
        self.trial = trial
        self.identities = identities

    @property
    def num_classes(self) -> int:
        """Number of identities."""
        return self.all_identities if self.identities is None else self.identities

    @property
    def scalings(self) -> list[Scaling]:
        """Bytes to [0, 1]."""
        return [pixels()] * 2

    def load(self) -> MultiViewData:
        """Read the images, as bytes; the first time they are decoded, and kept in ``converted`` under the folder."""
        pairs, labels = self._pairs()
        place = self.root / "converted" / _digest(pairs, labels)
        if place.is_dir():
            arrays = read_npy_folder(place)
            views = [np.array(view) for view in arrays.views]
        else:
            console = Console(stderr=True)
            views = [
                np.stack([read_image(pair[view]) for pair in track(pairs, name, console=console, transient=True)])
                for view, name in _NUMBERED
            ]
            _keep(place, {"view_0": views[0], "view_1": views[1], "labels": np.array(labels)})
        return MultiViewData(tuple(torch.from_numpy(view) for view in views), torch.tensor(labels))

    def _pairs(self) -> tuple[list[tuple[Path, Path]], list[int]]:
        """Files of the visible and the thermal image of each sample, and its identity."""
        pairs: list[tuple[Path, Path]] = []
        labels: list[int] = []
        found = 0
        for part in ("train", "test"):
            visible, thermal = (self._list(part, spectrum) for spectrum in _SPECTRA)
            if visible.keys() != thermal.keys():
                raise DataError(
                    f"{self.root}: the {part} lists of trial {self.trial} name different identities for the two spectra"
                )
            for identity in sorted(visible):
                if found == self.identities:
                    return pairs, labels
                both = list(zip(visible[identity], thermal[identity], strict=False))
                pairs += both
                labels += [found] * len(both)
                found += 1
        if found < self.num_classes:
            raise DataError(f"{self.root}: the lists of trial {self.trial} name {found} identities, not {self.num_classes}")
        return pairs, labels

    def _list(self, part: str, spectrum: str) -> dict[int, list[Path]]:
        """The images of each label of a list."""
        path = self.root / "idx" / f"{part}_{spectrum}_{self.trial}.txt"
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: no regular file")
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
        images: dict[int, list[Path]] = {}
        for number, line in enumerate(lines, start=1):
            name, _, label = line.strip().rpartition(" ")
            if not line.strip():
                continue
            if not name or not label.isdecimal():
                raise DataError(f"{path}:{number}: not a path, a space and a label: {line[:80]!r}")
            images.setdefault(int(label), []).append(self._image(name, path, number))
        if not images:
            raise DataError(f"{path}: empty")
        return images

    def _image(self, name: str, path: Path, number: int) -> Path:
        image = self.root / name
        if not image.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path}:{number}: {name} is outside of {self.root}")
        if not image.is_file():
            raise DataError(f"{path}:{number}: names {name}, which is not there")
        return image


def _digest(pairs: list[tuple[Path, Path]], labels: list[int]) -> str:
    """Changes with the images that are asked for, their files, and their labels."""
    digest = hashlib.sha256(repr(labels).encode())
    for pair in pairs:
        for path in pair:
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def _keep(place: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays into a folder, whole or not at all; not where that is not allowed."""
    try:
        place.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as folder:
            whole = Path(folder) / "whole"
            whole.mkdir()
            for name, array in arrays.items():
                np.save(whole / f"{name}.npy", array, allow_pickle=False)
            whole.rename(place)
    except OSError as error:
        print(f"{place}: cannot be written ({error.strerror or error}); images will be decoded again", file=sys.stderr)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as bytes, (3, 128, 64), resized where it has another size.

    Raises:
        DataError: it cannot be read, or is far larger than a picture of a person.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise DataError(f"{path}: {image.width} x {image.height} pixels, too large for a picture of a person")
            colours = image.convert("RGB")
            if colours.size != (_WIDTH, _HEIGHT):
                colours = colours.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
            return np.asarray(colours).transpose(2, 0, 1).copy()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable image ({type(error).__name__})") from error
