"""Where a run keeps its files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of this run, beside Lightning's ``checkpoints``; made if need be.

    None in processes that should not write: all but the first, and runs with ``fast_dev_run``.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    folder = folder_of(trainer)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder_of(trainer: Trainer) -> Path:
    """Where the folder of this run is, whether or not it has been made."""
    folder = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = Path(logger.save_dir or folder) / str(logger.name) / version
    return folder


_PATIENCE_SECONDS = 6
"""As long as loaders take to notice that the process that started them, whose locks they share, was killed."""


@contextmanager
def claimed(trainer: Trainer) -> Iterator[None]:
    """Keep other runs out of a run's folders meanwhile, where their names were given; a process that dies gives them up.

    Raises:
        ConfigurationError: another run is using one.
    """
    with ExitStack() as locks:
        if not trainer.fast_dev_run and is_first_process():  # type: ignore[attr-defined]
            for folder, settings in _named_folders(trainer):
                locks.enter_context(_claimed(folder, settings))
        yield


def _named_folders(trainer: Trainer) -> Iterator[tuple[Path, str]]:
    """The folders whose names were given, each once, and the settings that gave them."""
    named = {folder_of(trainer).resolve()} if trainer.loggers and has_named_folder(trainer) else set()
    if named:
        yield folder_of(trainer), "trainer.logger.name, trainer.logger.version"
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            folder = Path(callback.dirpath).resolve()
            if folder not in named:
                yield folder, "checkpoint.dirpath"
            named.add(folder)


@contextmanager
def _claimed(folder: Path, settings: str) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    with suppress(OSError, NotImplementedError):  # a folder that cannot be written is said later, or a file system has no locks
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_PATIENCE_SECONDS)
        except Timeout as error:
            raise ConfigurationError(
                f"{folder}: another run is writing there; wait for its end, or give this one another folder ({settings})"
            ) from error
    with warnings.catch_warnings():
        if folder.is_dir() and [path.name for path in folder.iterdir()] == [".lock"]:
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        try:
            yield
        finally:
            lock.release()


def check_still_there(trainer: Trainer) -> None:
    """Check, while a run goes on, that its folder is where it was made.

    Raises:
        TrainingError: it has been removed.
    """
    if trainer.is_global_zero and not (folder := folder_of(trainer)).is_dir():
        raise TrainingError(_removed(folder))


def concerns_folder(trainer: Trainer, error: OSError) -> bool:
    """Whether the path that an error names lies in the folder of this run, or leads to it."""
    if not isinstance(error.filename, str):
        return False
    path, folder = Path(error.filename).resolve(), folder_of(trainer).resolve()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def _removed(folder: Path) -> str:
    return f"{folder}: the folder of this run was removed or moved away while it went on"


class RunLogger(CSVLogger):
    """A ``CSVLogger`` whose new version is a folder that it has made, so that no two runs get the same.

    Attributes:
        takes_new_folder: whether it was given no version.
    """

    takes_new_folder = False

    def save(self) -> None:
        """Write what was logged.

        Raises:
            TrainingError: the folder has been removed.
        """
        if is_first_process() and not (folder := Path(self.log_dir)).is_dir():
            raise TrainingError(_removed(folder))
        super().save()

    @property
    def experiment(self) -> Any:
        """The writer; with the first one the folder is made."""
        if self._experiment is None and self.takes_new_folder and is_first_process():
            version = self._get_next_version()
            while not _make(Path(self.root_dir, f"version_{version}")):
                version += 1
            self._version = version
        return super().experiment


def _make(folder: Path) -> bool:
    """Make a folder; False where it is there already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def is_first_process() -> bool:
    """Whether this is the first of several processes, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0


def give_own_folder(trainer: Trainer) -> None:
    """Let loggers that number their runs make the folder of a number that no other run has, once they write."""
    for logger in trainer.loggers:
        if type(logger) is CSVLogger:
            logger.__class__ = RunLogger
            vars(logger)["takes_new_folder"] = logger._version is None


def has_named_folder(trainer: Trainer) -> bool:
    """Whether a run may find in its folder what an earlier one left; see :func:`give_own_folder`."""
    return not any(getattr(logger, "takes_new_folder", False) for logger in trainer.loggers)


def keep_picture(trainer: Trainer, name: str, draw: Callable[[], Figure]) -> None:
    """Draw a picture into ``pictures/`` of the run's folder, and hand it to loggers that take images."""
    folder = run_folder(trainer)
    if folder is None:
        return
    path = folder / "pictures" / f"{name.replace('/', '_')}.png"
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as file:
        draw().savefig(file, dpi=120, format="png")
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[str(path)])
