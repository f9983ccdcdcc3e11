"""The IDX format of MNIST and its kin, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ar_dmvc.data.readers.expansion import check_expansion
from ar_dmvc.errors import DataError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    No more is read than the header announces.

    Args:
        path: the file; gzipped if its name ends in ``.gz``.
        dimensions: how many the array must have: 3 for images, 1 for labels.

    Returns:
        The array, of the shape in the header.

    Raises:
        DataError: the file is missing, unreadable, damaged, of another kind, or shorter or longer than announced.
    """
    try:
        with cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as file:
            shape = _read_header(file, path, dimensions)
            size = int(np.prod(shape, dtype=object))
            if size == 0:
                raise DataError(f"{path}: no samples")
            check_expansion(path.stat().st_size, size, str(path))
            content = _read_at_most(file, size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut short ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) != size:
        kind = "cut short" if len(content) < size else "longer than its header says"
        raise DataError(f"{path}: {kind}, {size} bytes of {'x'.join(map(str, shape))} values expected")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(file: IO[bytes], path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if magic != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise DataError(f"{path}: not an IDX file of {dimensions}-dimensional unsigned bytes (it starts with {magic.hex()!r})")
    sizes = file.read(4 * dimensions)
    if len(sizes) != 4 * dimensions:
        raise DataError(f"{path}: cut short within its header")
    return struct.unpack(f">{dimensions}I", sizes)


def _read_at_most(file: IO[bytes], size: int) -> bytes:
    """Read up to ``size`` bytes in pieces: memory follows what the file holds, not what its header claims."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
