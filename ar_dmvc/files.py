"""Atomic writes: to a temporary file in the same folder, flushed to the disk, then renamed in one step."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place, and that of an earlier one, only once it is whole.

    Whoever reads the path, also after a power cut, finds the earlier file or the new one, never a part. After an error the
    earlier one is left as it was.

    Args:
        path: where it is to be; the folder has to exist.

    Yields:
        The file, open for reading and writing.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    with temporary.open("x+b") as file:
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)  # as long as it is held, the file is no stray
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # a full disk says nothing of what did not fit
            raise
    _flush_folder(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a text as a :func:`whole_file`.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(path) as file:
        file.write(text.encode())


def remove_strays(folder: Path) -> None:
    """Remove what processes that were killed while they wrote a :func:`whole_file` left in a folder."""
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
