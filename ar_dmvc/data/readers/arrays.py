"""NumPy's own files: ``.npz``, and folders of ``.npy`` that are mapped rather than read."""

from __future__ import annotations

import mmap
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ar_dmvc.data.readers.expansion import check_expansion
from ar_dmvc.errors import DataError

Array = NDArray[Any]
_PIECE_BYTES = 1 << 24
_COLOURS = (1, 3, 4)
_SHOWN = 5
_VIEW = re.compile(r"view_(\d+)")


@dataclass(frozen=True)
class Arrays:
    """What a file holds.

    Attributes:
        views: V arrays, (N, ...) of real numbers.
        labels: (N,) int64, or None.
        mask: (N, V) bool, or None.
        files: of views that are mapped, through which they are read without being kept in memory; None: they are in memory.
    """

    views: tuple[Array, ...]
    labels: Array | None = None
    mask: Array | None = None
    files: tuple[ArrayFile, ...] | None = None


def read_npz(path: Path) -> Arrays:
    """Read ``view_0 ...``, and ``labels`` and ``mask`` where they are there, from an ``.npz`` file.

    No array of objects is read, and no more than each member announces.

    Raises:
        DataError: the file is missing, damaged, or holds other things.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
            names = _view_names(members, path)
            wanted = [*names, *(name for name in ("labels", "mask") if name in members)]
            check_expansion(path.stat().st_size, sum(members[name].file_size for name in wanted), str(path))
            arrays = {name: _read_member(archive, members[name], f"{path}: {name}") for name in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: damaged, or no .npz file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _arrays([arrays[name] for name in names], arrays, path)


def read_npy_folder(path: Path) -> Arrays:
    """Map ``view_0.npy ...`` of a folder, and read ``labels.npy`` and ``mask.npy`` where they are there.

    Raises:
        DataError: files are missing, damaged, or hold other things.
    """
    try:
        files = {file.stem: file for file in path.iterdir() if file.suffix == ".npy"}
        views = [_map(files[name]) for name in _view_names(files, path)]
        arrays: dict[str, Array] = {}
        for name in {"labels", "mask"} & set(files):
            arrays[name] = np.array(_map(files[name]).array)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    whole = _arrays([view.array for view in views], arrays, path)
    return Arrays(whole.views, whole.labels, whole.mask, files=tuple(views))


def check_labels(labels: Array, source: str) -> Array:
    """Labels in any integer coding as (N,) int64.

    Raises:
        DataError: they are no vector of integers.
    """
    if labels.ndim > 2 or (labels.ndim == 2 and 1 not in labels.shape) or labels.ndim == 0:
        raise DataError(f"{source}: labels have to be a vector, not of shape {labels.shape}")
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{source}: labels have to be integers, not of type {labels.dtype}")
    vector = labels.reshape(-1)
    if labels.dtype.kind == "f" and not (np.isfinite(vector) & (vector == np.round(vector)) & (abs(vector) < 2**53)).all():
        raise DataError(f"{source}: labels have to be integers, and some are not")
    return vector.astype(np.int64)


def check_view(view: Array, source: str) -> Array:
    """A view as it is.

    Raises:
        DataError: it holds other than real numbers, or is neither (N, features) nor (N, channels, height, width).
    """
    if view.dtype.kind not in "biuf":
        raise DataError(f"{source}: views have to be real numbers, not of type {view.dtype}")
    if view.ndim == 4 and view.shape[3] in _COLOURS and min(view.shape[1:3]) > max(_COLOURS):
        warnings.warn(
            f"{source}: of shape {view.shape}, its channels seem to be last; it is read as (samples, channels, height, width), "
            "which view.transpose(0, 3, 1, 2) would be",
            stacklevel=2,
        )
    if view.ndim not in (2, 4) or 0 in view.shape:
        raise DataError(
            f"{source}: views have to be (samples, features) or (samples, channels, height, width), not of shape {view.shape}"
        )
    return view


def _arrays(views: list[Array], others: Mapping[str, Array], path: Path) -> Arrays:
    checked = tuple(check_view(view, f"{path}: view_{number}") for number, view in enumerate(views))
    labels, mask = others.get("labels"), others.get("mask")
    if mask is not None and (mask.dtype.kind not in "biu" or mask.ndim != 2):
        raise DataError(f"{path}: the mask has to be of truth values, samples by views, not {mask.dtype} of shape {mask.shape}")
    return Arrays(
        checked,
        None if labels is None else check_labels(labels, f"{path}: labels"),
        None if mask is None else mask.astype(bool),
    )


def _view_names(names: Mapping[str, object], path: Path) -> list[str]:
    """The views among names, in order; what is neither a view nor ``labels`` nor ``mask`` is said not to be read."""
    numbers = sorted(int(found[1]) for name in names if (found := _VIEW.fullmatch(name)))
    if not numbers or numbers != list(range(len(numbers))):
        raise DataError(f"{path}: has to hold view_0, view_1 and so on, each once; found {sorted(names)[:10]}")
    views = [f"view_{number}" for number in numbers]
    if other := sorted(set(names) - {*views, "labels", "mask"}):
        shown = ", ".join(other[:_SHOWN]) + (", and more" if len(other) > _SHOWN else "")
        warnings.warn(f"{path}: not read, as it is no view_N, labels or mask: {shown}", stacklevel=2)
    return views


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """In bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def _read_header(file: IO[bytes], source: str) -> _Header:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        header = _Header(*read(file))
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(f"{source}: not a readable .npy array") from error
    if header.dtype.hasobject or header.dtype.kind not in "biufcSU" or header.dtype.itemsize == 0:
        raise DataError(f"{source}: holds {header.dtype}, not numbers; arrays of objects are never read")
    if any(size < 0 for size in header.shape):
        raise DataError(f"{source}: not a readable .npy array")
    return header


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Array:
    with archive.open(member) as file:
        header = _read_header(file, source)
        if header.size != member.file_size - file.tell():
            raise DataError(f"{source}: announces {header.size} bytes and holds {member.file_size - file.tell()}")
        content = bytearray()
        while piece := file.read(_PIECE_BYTES):
            content += piece
    if len(content) != header.size:
        raise DataError(f"{source}: cut short")
    return _shaped(np.frombuffer(content, header.dtype), header)


def _shaped(flat: Array, header: _Header) -> Array:
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


@dataclass(frozen=True)
class ArrayFile:
    """An array mapped from a file. It may be written to, which the file never sees: torch asks for that.

    Reading goes past the map, because what was once touched there counts as memory in use.
    """

    path: Path
    offset: int
    header: _Header
    array: Array

    def rows(self, index: Array) -> Array:
        """The samples at ``index``, (N, ...)."""
        if self.header.fortran_order:
            return self.array[index]
        size = self.header.size // len(self.array)
        return self._read([(self.offset + number * size, size) for number in index.tolist()])

    def pieces(self) -> Iterator[Array]:
        """The array in order, piece by piece."""
        if self.header.fortran_order:
            yield self.array
            return
        rows = max(1, _PIECE_BYTES * len(self.array) // max(1, self.header.size))
        for start in range(0, len(self.array), rows):
            size = self.header.size // len(self.array)
            yield self._read([(self.offset + start * size, min(rows, len(self.array) - start) * size)])

    def _read(self, stretches: Sequence[tuple[int, int]]) -> Array:
        """Samples from stretches of the file, (start, size) in bytes each."""
        content = bytearray(sum(size for _, size in stretches))
        place = 0
        with self.path.open("rb", buffering=0) as file:
            for start, size in stretches:
                piece = os.pread(file.fileno(), size, start)
                if len(piece) != size:
                    raise DataError(f"{self.path}: has become shorter since it was mapped")
                content[place : place + size] = piece
                place += size
        return np.frombuffer(content, self.header.dtype).reshape(-1, *self.header.shape[1:])


def _map(path: Path) -> ArrayFile:
    if not path.is_file():  # a pipe, say, would keep its reader waiting
        raise DataError(f"{path}: no regular file")
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise DataError(f"{path}: a link that leads out of its folder, which is not followed; put the file itself there")
    with path.open("rb") as file:
        header = _read_header(file, str(path))
        offset = file.tell()
        there = path.stat().st_size - offset
        if header.size != there or header.size == 0:
            raise DataError(f"{path}: announces {header.size} bytes and holds {there}")
        flat = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), header.dtype, offset=offset)
    return ArrayFile(path, offset, header, _shaped(flat, header))
