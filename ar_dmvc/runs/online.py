"""Runs that log to a service elsewhere, which must not stop them."""

from __future__ import annotations

import os
import sys

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger

from ar_dmvc.plain_words import put_plainly
from ar_dmvc.runs.folder import is_first_process

_PATIENCE = {"WANDB_INIT_TIMEOUT": "30", "WANDB_FINISH_TIMEOUT": "300"}
"""Seconds to wait for the service in the beginning, and for what is left to upload in the end; where nobody says otherwise."""


def reach_wandb(trainer: Trainer) -> None:
    """Begin to log to Weights & Biases; where it cannot be reached, or nobody is logged in, log for it on this machine.

    Sets how long is waited for it in the environment, unless that is set.
    """
    for logger in trainer.loggers if is_first_process() else []:
        if isinstance(logger, WandbLogger):
            _begin(logger)


def _begin(logger: WandbLogger) -> None:
    import wandb  # which takes a while, and few need

    for name, seconds in _PATIENCE.items():
        os.environ.setdefault(name, seconds)
    try:
        logger.experiment  # noqa: B018  which begins
    except wandb.Error as error:
        said = put_plainly(str(error))
        print(f"ardmvc: W&B cannot be used ({said}): this run is logged here; wandb sync uploads it later", file=sys.stderr)
        logger._wandb_init["mode"] = "offline"
        logger.experiment  # noqa: B018
