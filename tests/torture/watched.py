"""A piece of work in a process of its own, watched: what it opens and starts outside of its folder, its time, its memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from tests.conftest import REPOSITORY

SECONDS, MEBIBYTES = 10, 1024

_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"}
_STARTS |= {"webbrowser.open", "socket.connect", "socket.bind", "socket.getaddrinfo"}
_CHANGES = {"os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}
_CHANGES |= {"os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/share/zoneinfo", "/usr/lib/os-release", sys.prefix, sys.base_prefix)
_OF_THE_SYSTEM += tuple(str(REPOSITORY / part) for part in ("ar_dmvc", "configs", "tests"))
_OF_THE_SYSTEM += tuple(sysconfig.get_paths().values())


_NOBODY_S = re.compile(r"/etc/(passwd|shadow)|/proc/\d+/(mem|environ|fd/.*)|/dev/(zero|stdin|full|u?random)")
"""Of the system, but what a command has no reason to read."""


@dataclass(frozen=True)
class Watched:
    """How it went.

    Attributes:
        code: the exit code; None where it had to be stopped.
        out: what it printed.
        err: its errors.
        outside: what it opened, changed or started outside of its folder.
        seconds: that it took.
        mebibytes: that it took beyond those of the process that it came from.
    """

    code: int | None
    out: str
    err: str
    outside: tuple[str, ...]
    seconds: float
    mebibytes: float

    def fault(self, codes: tuple[int, ...] = (0, 1, 2)) -> str:
        """What was not as promised of a command that meets a hostile file; empty where all was."""
        if self.code is None:
            return f"hangs: {self.err[-200:]}"
        found = [f"outside: {', '.join(self.outside)}"] if self.outside else []
        if self.code not in codes:
            found.append(f"exit code {self.code}")
        if "Traceback" in self.err:
            found.append("a traceback")
        if self.code and sum(line.startswith("ardmvc: error: ") for line in self.err.splitlines()) != 1:
            found.append("not one line of error")
        if self.seconds > SECONDS:
            found.append(f"took {self.seconds:.0f} s")
        if self.mebibytes > MEBIBYTES:
            found.append(f"took {self.mebibytes:.0f} MiB")
        return "; ".join([*found, self.err[-300:]]) if found else ""


def watched(folder: Path, work: Callable[[], Any], seconds: float = SECONDS, name: str = "watched") -> Watched:
    """Do a piece of work in a forked process, in a folder, and watch it.

    Args:
        folder: its working directory, the only one that it may touch; beside it, its output is kept.
        work: what to do; what it returns is the exit code.
        seconds: after which it is stopped.
        name: of the folder for its output, where several work in one at once.
    """
    record = folder.with_name(f"{folder.name}.{name}")
    record.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_watch, args=(folder.resolve(), record, work))
    begun = time.monotonic()
    process.start()
    process.join(seconds)
    lasted = time.monotonic() - begun
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    out, err = (path.read_text(errors="replace") if (path := record / stream).exists() else "" for stream in ("out", "err"))
    told = (record / "told").read_text() if (record / "told").exists() else ""
    events = [json.loads(line) for line in told.splitlines()]
    peak = next((event[1] for event in events if event[0] == "peak"), 0.0)
    outside = tuple(dict.fromkeys(f"{event} {what}" for event, what in events if event != "peak"))
    return Watched(None if hangs else process.exitcode, out, err, outside, lasted, peak)


def _watch(folder: Path, record: Path, work: Callable[[], Any]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ["TMPDIR"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.tempdir = str(folder)
    for name, number in (("out", 1), ("err", 2)):
        file = (record / name).open("w")
        os.dup2(file.fileno(), number)
        setattr(sys, "stdout" if number == 1 else "stderr", file)
    told = (record / "told").open("w", buffering=1)
    before = _resident()
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + (6 << 30), -1))  # lest a fault takes the machine
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.addaudithook(_Ears(folder, lambda event, what: told.write(json.dumps([event, what]) + "\n")))
    try:
        code = work()
    except BaseException:  # noqa: BLE001  an error of the program's is what is looked for
        traceback.print_exc()
        code = 99
    told.write(json.dumps(["peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before]) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


class _Ears:
    """Hears of all that Python opens, changes and starts from now on, and tells what is outside of a folder."""

    def __init__(self, folder: Path, tell: Callable[[str, str], object]) -> None:
        self._tell = tell
        self._ours = (str(folder), str(Path(matplotlib.get_cachedir()).resolve()))
        self._readable = (*self._ours, *map(os.path.realpath, _OF_THE_SYSTEM))

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            self._opened(_place(args[0]), writes=bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        elif event in _CHANGES:
            for path in filter(None, map(_place, args)):
                if not _is_in(path, self._ours):
                    self._tell(event, path)
        elif event in _STARTS and not self._is_ours(event, args):
            self._tell(event, repr(args)[:200])
            raise PermissionError(f"{event} is not for this process")

    def _is_ours(self, event: str, args: tuple[Any, ...]) -> bool:
        """What the program starts for itself: the parser's question, and a socket that is a file of its folder."""
        if event == "subprocess.Popen":
            return _asks_for_the_path(args[1])
        return event in ("socket.bind", "socket.connect") and _is_in(_place(args[1]) or os.sep, self._ours)

    def _opened(self, path: str | None, writes: bool) -> None:
        where = self._ours if writes and not str(path).startswith("/dev/") else self._readable
        if path is not None and (_NOBODY_S.fullmatch(path) or not _is_in(path, where)):
            self._tell("writes" if writes else "reads", path)


def _place(path: object) -> str | None:
    return os.path.realpath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else None


def _is_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(f"{one}{os.sep}") for one in folders)


def _asks_for_the_path(command: object) -> bool:
    """As the parser does, of this Python, where a class of a library has its types in a stub."""
    return command == [sys.executable, "-c", "import sys, json; print(json.dumps(sys.path))"]


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
