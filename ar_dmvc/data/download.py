"""Downloads: from the first mirror that works, verified, put in place whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from ar_dmvc.errors import DataError

_PIECE = 1 << 16
_TIMEOUT_SECONDS = 30


def download(name: str, folder: Path, mirrors: Sequence[str], sha256: str) -> Path:
    """Download a file from the first mirror whose copy can be fetched and has the right checksum.

    Args:
        name: the file's name, appended to each mirror's address.
        folder: where to put it; made if need be.
        mirrors: addresses of folders, with or without a final slash.
        sha256: checksum that the file must have, hexadecimal.

    Returns:
        The file's path.

    Raises:
        DataError: no mirror gave a file with this checksum, or the folder cannot be written; nothing is left behind.
    """
    failures = []
    for mirror in mirrors:
        address = f"{mirror.rstrip('/')}/{name}"
        try:
            return _fetch(address, folder / name, sha256)
        except (_ChecksumError, HTTPError) as error:
            failures.append(f"{address}: {error}")
        except (URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            failures.append(f"{address}: {getattr(error, 'reason', error)}")
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error
    reasons = "; ".join(failures) or "no mirrors given"
    raise DataError(f"{folder / name}: not there, and cannot be downloaded ({reasons})")


class _ChecksumError(Exception):
    pass


def _fetch(address: str, target: Path, sha256: str) -> Path:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    with urlopen(address, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310  addresses are the user's own or ours
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            digest = hashlib.sha256()
            size = response.headers.get("Content-Length")
            bar = Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True), transient=True)
            with os.fdopen(handle, "wb") as file, bar:
                task = bar.add_task(target.name, total=int(size) if size else None)
                while piece := response.read(_PIECE):
                    file.write(piece)
                    digest.update(piece)
                    bar.advance(task, len(piece))
            if digest.hexdigest() != sha256:
                raise _ChecksumError(f"checksum differs, {digest.hexdigest()} instead of {sha256}")
            Path(temporary).chmod(0o644)  # temporary files are private, data is for all
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink()
            raise
    return target
