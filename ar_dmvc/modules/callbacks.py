"""What a run leaves behind beside metrics and checkpoints: its configuration, and predictions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import SaveConfigCallback

from ar_dmvc.modules.base import Prediction
from ar_dmvc.modules.run_folder import run_folder

CONFIG_KEY = "config"


class RunRecord(SaveConfigCallback):
    """Writes the resolved configuration into the run's folder, its loggers, and every checkpoint.

    In a checkpoint, under ``config``, it makes ``ardmvc test --ckpt_path`` possible with no configuration at hand.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration."""
        if self.already_saved:
            return
        self.already_saved = True
        text = self.parser.dump(self.config, skip_unset=False)
        self._plain: dict[str, Any] = yaml.safe_load(text)
        folder = run_folder(trainer)
        if folder is not None:
            (folder / "config.yaml").write_text(text)
            for logger in trainer.loggers:
                logger.log_hyperparams(self._plain)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what describes model and data."""
        checkpoint[CONFIG_KEY] = {name: self._plain[name] for name in ("model", "data")}


class PredictionWriter(BasePredictionWriter):
    """Writes index, cluster and confidence of every predicted sample to ``predictions.csv`` and ``predictions.npz``.

    Args:
        folder: where to; None: the run's folder.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__(write_interval="epoch")
        self.folder = folder

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all predictions, in the order of the data."""
        if not predictions or run_folder(trainer) is None:
            return
        folder = Path(self.folder) if self.folder is not None else run_folder(trainer)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        columns = {
            name: torch.cat([getattr(batch, name) for batch in predictions]).cpu().numpy() for name in Prediction._fields
        }
        np.savez(folder / "predictions.npz", allow_pickle=False, **columns)
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        print(f"{len(columns['index'])} predictions in {folder / 'predictions.csv'} and predictions.npz")
