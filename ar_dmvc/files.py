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
    with _opened(temporary, path) as file:
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


def _opened(temporary: Path, path: Path) -> BinaryIO:
    try:
        return temporary.open("x+b")
    except OSError as error:
        error.filename = str(path)
        raise


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
        with suppress(OSError):
            if part.is_file() and not part.is_symlink():  # of a pipe there is no end
                with part.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()


def link_out_of(folder: Path, but: str) -> Path | None:
    """A link somewhere below a folder that leads out of it, or nowhere; None where there is none.

    Args:
        folder: to look through.
        but: name of folders, real ones, in which links may lead anywhere.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() and not _ends_in(path, root):
                return path
        folders[:] = [name for name in folders if name != but]
    return None


def _ends_in(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # it leads nowhere, or to itself
        return False


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
