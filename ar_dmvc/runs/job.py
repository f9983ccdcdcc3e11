"""A run that is made once: what is done is not done again, what was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml
from filelock import FileLock, Timeout

import ar_dmvc
from ar_dmvc.data.mnist import PUBLISHED
from ar_dmvc.errors import ConfigurationError, TrainingError, message_of
from ar_dmvc.evaluation.so_far import NAME as SO_FAR
from ar_dmvc.files import write_whole
from ar_dmvc.imports import sources_of
from ar_dmvc.settings import find_file, load_yaml, shipped

Call = Callable[..., object]
"""Runs a command: :func:`ar_dmvc.api.call`."""

EARLIER = ".earlier"
"""How the folder is named that keeps, beside a job's, what other settings made, until the job has come to its end."""
_RECORD_ASIDE = "job.json"
_SETTINGS = (".yaml", ".yml")
"""Files of which what they say counts, not their remarks; the order of names does, as of a suite's attacks."""
_CLASS_PATH = re.compile(r"([^\W\d]\w*\.)+[^\W\d]\w*")
_OF_DATA = re.compile(r"(view_\d+|labels|mask)\.npy|(train|t10k)-(images-idx3|labels-idx1)-ubyte(\.gz)?")
_LARGEST_RECORD = 1 << 20
_SECONDS_BETWEEN_LOOKS = 1.0


class Took(NamedTuple):
    """How long a job ran, up to each interruption's last checkpoint, and when it ended, in seconds since the epoch."""

    seconds: float
    until: float


@dataclass(frozen=True)
class Job:
    """One call of :mod:`ar_dmvc.api`.

    Attributes:
        title: for the user.
        command: ``fit`` or ``test``.
        configuration: files and options, merged in order.
        folder: where it keeps its files.
        needs: the job whose checkpoint this one uses.
        uses: the checkpoint that a test is of.
        announced: whether it says that it begins.
        labels: what it is of a grid, by axis, and its ``folder`` there; kept beside what it makes, and no part of what it is.
    """

    title: str
    command: str
    configuration: tuple[str, ...]
    folder: Path
    needs: Job | None = None
    uses: Path | None = None
    announced: bool = True
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that a training job writes."""
        return self.folder / "checkpoints" / "last.ckpt"

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the version, the configuration, every file that it names, one's own code, and the jobs that it needs.

        Of a folder that it names the views in it count, ``view_0.npy`` and so on, with labels and mask, and IDX files; not
        those that are as published, since they may be downloaded in the midst, nor what a data set converts into its own.

        Made once: a file that is changed while jobs run counts from the next run on.
        """
        words = "\n".join((self.command, *self.configuration, str(self.uses)))
        for number, job in enumerate(self._all_needs()):
            words = words.replace(str(job.checkpoint), f"needs {number}")  # wherever it is: what is in it counts, below
        needed = "" if self.needs is None else self.needs.fingerprint
        return fingerprint_of(words + needed, self.configuration, {job.checkpoint for job in self._all_needs()})

    @property
    def is_done(self) -> bool:
        """Whether the job ran to its end, as it is now, and what it made is there."""
        made = self.checkpoint if self.command == "fit" else self.folder / "robustness.json"
        if not made.is_file() or not self._is_recorded() or self._recorded().get("done") is not True:
            return False
        return self.command == "fit" or _is_whole(made)

    @property
    def replaces(self) -> str:
        """Of what it takes the place: of what other settings, or another version, made to the end; empty: of nothing."""
        recorded = self._recorded()
        if recorded.get("done") is not True or self._is_recorded():
            return ""
        version = recorded.get("version", ar_dmvc.__version__)
        return "what other settings made" if version == ar_dmvc.__version__ else f"what version {version} made"

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Keep others from running this job at the same time; False where another does. A process that dies gives it up."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @property
    def is_begun(self) -> bool:
        """Whether an earlier call began it, as it is now, and left a checkpoint to go on from."""
        return self.command == "fit" and self._is_recorded() and self.checkpoint.is_file()

    @property
    def waiting(self) -> str:
        """``done`` or ``goes on`` where what these settings made before waits beside what others did, to be taken back."""
        aside, keeps = self._aside(), (self._earlier / "checkpoints" / "last.ckpt", self._earlier / SO_FAR)
        if aside.get("fingerprint") != self.fingerprint or aside.get("of") != self._needs_state or self.is_done:
            return ""
        return "done" if aside.get("done") is True else "goes on" if any(file.is_file() for file in keeps) else ""

    @property
    def took(self) -> Took | None:
        """How long it ran; None where that is not known."""
        recorded = self._recorded()
        seconds, until = recorded.get("seconds"), recorded.get("until")
        return Took(seconds, until) if isinstance(seconds, float) and isinstance(until, float) else None

    def label(self) -> None:
        """Have the labels stand beside a result that was made without them, or with others."""
        if self._is_recorded() and (recorded := self._recorded()).get("labels") != self.labels:
            write_whole(self._record_file, json.dumps({**recorded, "labels": self.labels}) + "\n")

    def error_since(self, moment: float) -> str | None:
        """What went wrong with it, as it is now, since a moment (seconds since the epoch); None: nothing that is known."""
        try:
            recently = self._record_file.stat().st_mtime >= moment
        except OSError:
            return None
        error = self._recorded().get("error") if recently and self._is_recorded() else None
        return None if error is None else str(error)

    def execute(self, call: Call, options: Sequence[str] = ()) -> None:
        """Run the job, from its last checkpoint where it was interrupted.

        Args:
            call: runs a command.
            options: further ones that make no difference to what comes out.

        Raises:
            SystemExit: SIGTERM came in its last step, and others are not to be begun.
        """
        given, configuration = self.uses, [*self.configuration, "--trainer.enable_model_summary=false", *options]
        configuration.append(f"--trainer.default_root_dir={self.folder}")  # where Lightning goes on from what it finds
        self._make_room()
        if self.is_done:
            print(f"ardmvc: {self.folder}: as it was made with these settings before", file=sys.stderr)
            self.label()
            return
        if self.command == "fit":
            given = self.checkpoint if self._is_recorded() and self.checkpoint.is_file() else None
            if given is None:
                self.checkpoint.unlink(missing_ok=True)
            else:
                configuration.append("--init_from=null")  # it has begun
        spent, begun = self._spent(), time.time()
        self._record(done=False, seconds=spent, begun=begun)
        try:
            made = call(self.command, configuration, self.folder, given, alone=True)
            self._check_made()
        except Exception as error:
            self._record(done=False, seconds=spent, begun=begun, error=message_of(error))
            raise
        until = time.time()
        self._record(done=True, seconds=spent + until - begun, until=until, machine=getattr(made, "machine", {}))
        shutil.rmtree(self._earlier, ignore_errors=True)
        if getattr(made, "asked_to_end", False):
            raise SystemExit(128 + signal.SIGTERM)

    def _make_room(self) -> None:
        """Put aside what other settings, or another version, made here, and have back what these made before them.

        Nothing may go on from what is of other settings, and nothing of it is lost before the new job has come to its end: each
        step is one move, after which the next call knows where it is.
        """
        recorded = self._recorded()
        if recorded and not self._is_recorded():
            keeps = self.folder.is_dir() and (recorded.get("done") is True or not self._earlier.is_dir())
            if other := _in_place_of(recorded):
                kept = f"; until that is done, what was there is in {self._earlier}" if keeps else ""
                print(f"ardmvc: {self.folder}: {other}{kept}", file=sys.stderr)
            if keeps:
                write_whole(self.folder / _RECORD_ASIDE, json.dumps(recorded) + "\n")
                shutil.rmtree(self._earlier, ignore_errors=True)
                self.folder.rename(self._earlier)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
        if self.waiting:
            aside = self._aside()
            shutil.rmtree(self.folder, ignore_errors=True)
            write_whole(self._record_file, json.dumps(aside) + "\n")
            self._earlier.rename(self.folder)
            (self.folder / _RECORD_ASIDE).unlink()

    def _spent(self) -> float:
        """Seconds that what it goes on from took; those after its last checkpoint are lost with what they made."""
        kept = [file.stat().st_mtime for file in (self.checkpoint, self.folder / SO_FAR) if file.is_file()]
        recorded = self._recorded() if kept and self._is_recorded() else {}
        before, begun = recorded.get("seconds"), recorded.get("begun")
        return before + max(0.0, max(kept) - begun) if isinstance(before, float) and isinstance(begun, float) else 0.0

    def _check_made(self) -> None:
        if self.command == "fit" and not self.checkpoint.is_file():
            raise ConfigurationError(f"{self.checkpoint}: not written; leave checkpoint.filename and checkpoint.dirpath out")
        if self.command == "test" and not (self.folder / "robustness.json").is_file():
            raise ConfigurationError("no sample was tested; is trainer.limit_test_batches 0?")

    def run(self, call: Call, options: Sequence[str] = ()) -> None:
        """Run the job, if it is not done; where another process does, wait for it. See :meth:`execute`."""
        while not self.is_done:
            with self.taken() as taken:
                if taken and not self.is_done:
                    if self.announced:
                        print(f"ardmvc: {self.title}, in {self.folder}", file=sys.stderr)
                    self.execute(call, options)
            if not taken:
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def wait(self) -> None:
        """Wait until another process has run it.

        Raises:
            TrainingError: it failed there.
        """
        begun = time.time()
        while not self.is_done:
            if (error := self.error_since(begun)) is not None:
                raise TrainingError(f"{self.title}: {error}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _all_needs(self) -> Iterator[Job]:
        job = self.needs
        while job is not None:
            yield job
            job = job.needs

    @property
    def _record_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def _needs_state(self) -> object:
        """When the job that it needs ended: trained again, with the same settings, that may have left another checkpoint."""
        if self.needs is None:
            return None
        return (self.needs._aside() if self.needs.waiting else self.needs._recorded()).get("until")

    @property
    def _earlier(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}{EARLIER}")

    def _aside(self) -> dict[str, object]:
        """The record of what other settings made, while it waits."""
        return _read_record(self._earlier / _RECORD_ASIDE)

    def _is_recorded(self) -> bool:
        return self._recorded().get("fingerprint") == self.fingerprint

    def _recorded(self) -> dict[str, object]:
        """What an earlier call left: as what it started, and how it ended; nothing where that cannot be read."""
        return _read_record(self._record_file)

    def _record(self, done: bool, **more: object) -> None:
        known = {
            "version": ar_dmvc.__version__,
            "fingerprint": self.fingerprint,
            "of": self._needs_state,
            "labels": self.labels,
        }
        write_whole(self._record_file, json.dumps({**known, "done": done, **more}) + "\n")


def fingerprint_of(words: str, settings: object, but: Set[Path] = frozenset()) -> str:
    """What changes with the version, with some words, with the files that settings name, and with one's own code for classes.

    Args:
        words: that say what it is.
        settings: plain values, or arguments of the command line.
        but: files that do not count.
    """
    digest = hashlib.sha256(f"{ar_dmvc.__version__}\n{words}".encode())
    named = {_name_of(path): path for path in _files_in(settings, set()) - but}
    for name, path in sorted(named.items()):
        if (held := _digest(path)) not in PUBLISHED:
            digest.update(f"{name} {held}".encode())
    return digest.hexdigest()


def _read_record(file: Path) -> dict[str, object]:
    try:
        recorded = json.loads(file.read_text()) if file.is_file() and file.stat().st_size < _LARGEST_RECORD else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _in_place_of(earlier: Mapping[str, object]) -> str:
    """What to say where a job with another fingerprint was here; nothing where it had not ended."""
    if (version := earlier.get("version", ar_dmvc.__version__)) != ar_dmvc.__version__:
        return f"of version {version}, made anew by {ar_dmvc.__version__}"
    return "of other settings, made anew" if earlier.get("done") is True else ""


def _is_whole(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _files_in(settings: object, known: set[Path]) -> set[Path]:
    """Add to some files those that settings name, those that their configuration files name, and one's own code for classes."""
    if isinstance(settings, Mapping | list | tuple):
        for part in settings.values() if isinstance(settings, Mapping) else settings:
            _files_in(part, known)
    elif isinstance(settings, str | Path):
        text = str(settings)
        value = text.partition("=")[2] if text.startswith("--") else text
        if _CLASS_PATH.fullmatch(value):
            known.update(sources_of(value))
        with suppress(OSError, ValueError, yaml.YAMLError, ConfigurationError):  # what cannot be the name of a file
            if value.startswith(("[", "{")):
                _files_in(load_yaml(value), known)
            elif value:
                _files_at(find_file(value), known)
    return known


def _files_at(path: Path, known: set[Path]) -> None:
    if path.is_dir():
        known.update(file for file in path.iterdir() if _OF_DATA.fullmatch(file.name) and file.is_file())
    elif path.is_file() and path not in known:
        known.add(path)
        if path.suffix in _SETTINGS:
            _files_in(load_yaml(path.read_text()), known)


def _name_of(path: Path) -> str:
    """A file's path; of one that comes with the package its name there, wherever that is installed."""
    return _own_names().get(path.resolve(), str(path))


@cache
def _own_names() -> dict[Path, str]:
    return {place.resolve(): name for name, place in shipped().items()}


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest_of(path: Path, size: int, changed: int) -> str:
    if path.suffix in _SETTINGS and size <= _LARGEST_RECORD:
        with suppress(OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):  # what holds no settings counts as it is
            said = json.dumps(load_yaml(path.read_text()), default=repr)
            return hashlib.sha256(said.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
