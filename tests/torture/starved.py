"""Commands short of something: room, rights, their folder, open files, memory, time, a folder to themselves.

Each ends with one clear line and an exit code that is not zero, or does without; what was there before stays as it was.
"""

from __future__ import annotations

import importlib
import os
import random
import re
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.cli import main
from tests.conftest import QUIET, fit_arguments
from tests.torture import Trial
from tests.torture.watched import Watched, watched

SHORT = ("--trainer.max_epochs=3", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1")
NOBODY = 65534


def trials(checkpoint: Path, folder: Path, share: float = 1.0) -> Iterator[Trial]:
    """Try all commands in all kinds of need.

    Args:
        checkpoint: of a clusterer that has learned.
        folder: for all of it; others may enter it.
        share: of the trials, the rest left out by lot.
    """
    lot = random.Random(0)
    commands = _commands(checkpoint)
    for number, need in enumerate(_needs(commands)):
        if lot.random() < share:
            before = commands["test"] if need.command[0] == "report" else ()
            yield Trial(need.kind, need.name, _starved(folder / str(number), need, before))
    yield from _clock(folder / "clock")
    for option in ("--trainer.logger.version=mine", "--checkpoint.dirpath=mine") if share == 1 else ():
        yield from _same_folder(folder / option, option)


@dataclass(frozen=True)
class _Need:
    """A command, and how it is starved; whether it has to fail then, and a pattern of what its error has to name."""

    kind: str
    name: str
    command: Sequence[str]
    starve: Callable[[], None]
    has_to_fail: bool = False
    named: str = ""


_FULL = "File too large|No space left"
_FILES = "Too many open files"
_NO_RIGHT = "Permission denied"
_GONE = "was removed or moved away"


def _needs(commands: Mapping[str, Sequence[str]]) -> Iterator[_Need]:
    for name, command in commands.items():
        for size in (1 << 9, 1 << 11, 1 << 13):
            limit = partial(_limit, resource.RLIMIT_FSIZE, size)
            yield _Need("a full disk (a limit on files)", f"{name}, {size} bytes", command, limit, True, _FULL)
        for files in (0, 1, 2, 4, 8):
            yield _Need("no more open files", f"{name}, {files} more", command, partial(_few_files, files), named=_FILES)
        yield _Need("a folder that is read-only", name, command, _read_only, True, _NO_RIGHT)
    for size in (1 << 15, 1 << 16, 1 << 17):
        limit = partial(_limit, resource.RLIMIT_FSIZE, size)
        yield _Need("a full disk (a limit on files)", f"fit, {size} bytes", commands["fit"], limit, True, _FULL)
    for moment in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        delete = partial(_delete_soon, moment)
        yield _Need("a folder deleted in training", f"after {moment} s", commands["fit"], delete, named=_GONE)
    for size in (64, 80, 96, 112):
        large = [*commands["fit"], "--data.batch_size=1700", "--data.partition=all"]
        little = partial(_little_memory, size)
        yield _Need("no memory for the batch", f"{size} MiB", large, little, True, "data.batch_size")


def _commands(checkpoint: Path) -> dict[str, Sequence[str]]:
    digits = fit_arguments("victims/simvc.yaml", "data/digits.yaml")
    return {
        "fit": [*digits, *SHORT],
        "test": ["test", f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1", "--data.batch_size=10", *QUIET],
        "predict": ["predict", f"--ckpt_path={checkpoint}", *QUIET],
        "report": ["report", "."],
    }


def _starved(folder: Path, need: _Need, before: Sequence[str]) -> str:
    """What was not as promised, in a folder that has seen a run before, or another command."""
    here = folder / "here"
    here.mkdir(parents=True)
    earlier = before or [*_commands(here)["fit"], "--trainer.logger.name=earlier"]
    if (outcome := watched(here, lambda: main(earlier), seconds=60)).code:
        return f"what came before failed: {outcome.err[-300:]}"
    kept = {path: path.read_bytes() for path in here.glob("runs/**/*") if path.is_file()}

    def work() -> int:
        need.starve()
        return main(need.command)

    outcome = watched(here, work, seconds=60)
    found = [_said(outcome, need)]
    nothing_left = need.command[0] == "fit" and not list(here.glob("runs/simvc/*/checkpoints/last.ckpt"))
    if nothing_left and outcome.code == 0 and "`max_epochs=3` reached" not in outcome.err:  # after which all may be deleted
        found.append("nothing is there of what went well")
    if any(not path.is_file() or path.read_bytes() != content for path, content in kept.items()):
        found.append("earlier results are not what they were")
    if half := [path.name for path in here.rglob("*.ckpt") if not path.name.startswith(".") and not _is_whole(path)]:
        found.append(f"half-written: {half}")
    shutil.rmtree(folder)
    return "; ".join(filter(None, found))


def _said(outcome: Watched, need: _Need) -> str:
    said = [line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]
    if outcome.code is None:
        return f"hangs: {outcome.err[-300:]}"
    if outcome.code == 0:
        return "exit code 0" if need.has_to_fail else ""
    if outcome.code not in (1, 2) or len(said) != 1 or "Traceback" in outcome.err or not re.search(need.named, said[0]):
        return f"exit code {outcome.code}, {len(said)} lines of error: {outcome.err[-600:]}"
    return ""


def _is_whole(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except Exception:  # noqa: BLE001  whatever it is, it cannot be read
        return False
    return True


def _limit(kind: int, most: int) -> None:
    """Of a resource."""
    resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


def _few_files(more: int) -> None:
    """Room for a few more open files only."""
    _limit(resource.RLIMIT_NOFILE, len(list(Path("/proc/self/fd").iterdir())) - 1 + more)


def _read_only() -> None:
    """The working directory, for somebody who is not root."""
    for path in (Path.cwd(), *Path.cwd().rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


def _delete_soon(seconds: float) -> None:
    """Have the runs deleted in the midst."""

    def delete() -> None:
        time.sleep(seconds)
        shutil.rmtree("runs/simvc", ignore_errors=True)

    threading.Thread(target=delete, daemon=True).start()


def _little_memory(mebibytes: int) -> None:
    """Room for little more than what is used, with all that is imported late imported."""
    importlib.import_module("sklearn.cluster")
    importlib.import_module("sklearn.metrics")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _limit(resource.RLIMIT_AS, used + (mebibytes << 20))


def _clock(folder: Path) -> Iterator[Trial]:
    """A clock that is set back between one run and what goes on with it, twice: what was trained last is gone on from."""
    here = folder / "here"
    here.mkdir(parents=True)
    fit = [*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), *SHORT[1:]]
    for number, epochs in enumerate((2, 4, 6)):
        command = [*fit, f"--trainer.max_epochs={epochs}", *(["--ckpt_path=last"] if number else [])]
        outcome = watched(here, partial(main, command), seconds=60)
        later = time.time() + 86_400 * (3 - number)
        for path in here.glob(f"runs/simvc/version_{number}/**/*"):
            os.utime(path, (later, later))
        as_it_should = outcome.code == 0 and (not number or f"going on from runs/simvc/version_{number - 1}/" in outcome.err)
        yield Trial("a clock that is set back", f"run {number}", "" if as_it_should else outcome.err[-300:])


def _same_folder(folder: Path, option: str) -> Iterator[Trial]:
    """Two runs that are told to use one folder."""
    here = folder / "here"
    here.mkdir(parents=True)
    loud = [one for one in fit_arguments("victims/simvc.yaml", "data/digits.yaml") if "progress_bar" not in one]
    fit = [*loud, option, "--trainer.max_epochs=5000"]
    outcomes: list[Watched] = []
    threads = [
        threading.Thread(target=lambda name=name: outcomes.append(watched(here, partial(main, fit), 14, name)))  # type: ignore[misc]
        for name in ("first", "second")
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.7)
    for thread in threads:
        thread.join()
    ran_on = [outcome for outcome in outcomes if outcome.code is None and "ardmvc: epoch" in outcome.err]
    refused = [outcome for outcome in outcomes if outcome.code == 1 and "another run is writing there" in outcome.err]
    as_it_should = len(ran_on) == len(refused) == 1 and all(map(_is_whole, here.rglob("*.ckpt")))
    fault = "" if as_it_should else f"{[(outcome.code, outcome.err[-300:]) for outcome in outcomes]}"
    yield Trial("two runs told to use one folder", option, fault)
