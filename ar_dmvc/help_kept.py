"""Help texts of commands, kept from one call to the next: to make one takes seconds, nearly all of them Lightning's import."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from importlib.metadata import entry_points, version
from pathlib import Path

from ar_dmvc.files import write_whole

_PACKAGE = Path(__file__).parent
_LIBRARIES = ("jsonargparse", "lightning", "torch", "torchmetrics")


def kept(command: str) -> str | None:
    """The text that an earlier call left; None where there is none, or anything that it depends on is another now."""
    with suppress(OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home
        return _place(command).read_text(encoding="utf-8")
    return None


def keep(command: str, text: str) -> None:
    """Leave a text for later calls, in the user's cache folder, if that can be written to."""
    with suppress(OSError, RuntimeError):
        place = _place(command)
        place.parent.mkdir(parents=True, exist_ok=True)
        for earlier in place.parent.glob(f"{command}-*.txt"):
            earlier.unlink(missing_ok=True)
        write_whole(place, text)


def _place(command: str) -> Path:
    """Where the text is, by what it depends on: this package's files, libraries, classes of other packages, and the width."""
    sources = sorted(_PACKAGE.rglob("*.py"))
    parts = [
        sys.version,
        *(version(name) for name in _LIBRARIES),
        *(f"{point.name}={point.value}" for point in entry_points(group="ar_dmvc")),
        str(shutil.get_terminal_size().columns),
        *(f"{source}:{source.stat().st_mtime_ns}" for source in sources),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ar_dmvc" / f"{command}-{key}.txt"
