"""Runs that have an id before they start, the one of Weights & Biases, and go on under it wherever they are started again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

_ID = "WANDB_RUN_ID"


def name_folder_by_id(trainer: Namespace) -> str | None:
    """Let a run that logs to Weights & Biases under a given id keep its files in a folder of that name.

    The id is the ``WandbLogger``'s, or ``WANDB_RUN_ID``, which a job script or ``wandb agent`` sets. A ``CSVLogger`` beside it
    without a version of its own gets it as such.

    Args:
        trainer: parsed settings, changed in place.

    Returns:
        The id; None where there is none.
    """
    loggers = {settings["class_path"].rpartition(".")[2]: settings["init_args"] for settings in _loggers(trainer)}
    if "WandbLogger" not in loggers:
        return None
    wandb = loggers["WandbLogger"]
    run_id = wandb.get("version") or wandb.get("id") or os.environ.get(_ID)
    folder = loggers.get("CSVLogger")
    if run_id and folder is not None and folder.get("version") is None:
        folder["version"] = run_id
    return run_id or None


def keep_earlier_metrics(trainer: Trainer) -> None:
    """Keep what an earlier part of a run logged, which its logger would replace, as ``metrics.N.csv``."""
    for logger in trainer.loggers if trainer.is_global_zero else []:
        is_named = isinstance(logger, CSVLogger) and logger._version is not None  # else its folder is a new one
        if is_named and (metrics := Path(logger.log_dir or "") / "metrics.csv").is_file():
            metrics.rename(metrics.with_name(f"metrics.{len(list(metrics.parent.glob('metrics*.csv')))}.csv"))


def metric_files(folder: Path) -> list[Path]:
    """What a run in a folder logged, oldest first: a file for each part of one that was resumed."""
    earlier = sorted(folder.glob("metrics.*.csv"), key=lambda path: (len(path.name), path.name))
    return [*earlier, *folder.glob("metrics.csv")]


def _loggers(trainer: Namespace) -> Iterator[Namespace]:
    given = trainer.get("logger")
    yield from (item for item in (given if isinstance(given, list) else [given]) if isinstance(item, Namespace))
