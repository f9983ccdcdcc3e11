"""Where a run keeps its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of this run, beside Lightning's ``checkpoints``; made if need be.

    None in processes that should not write: all but the first, and runs with ``fast_dev_run``.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    folder = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = Path(logger.save_dir or folder) / str(logger.name) / version
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_picture(trainer: Trainer, name: str, draw: Callable[[], Figure]) -> None:
    """Draw a picture into ``pictures/`` of the run's folder, and hand it to loggers that take images."""
    folder = run_folder(trainer)
    if folder is None:
        return
    path = folder / "pictures" / f"{name.replace('/', '_')}.png"
    path.parent.mkdir(exist_ok=True)
    draw().savefig(path, dpi=120)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[str(path)])
