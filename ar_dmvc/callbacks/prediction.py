"""What ``ardmvc predict`` leaves behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from ar_dmvc.distributed import process_count
from ar_dmvc.files import whole_file, write_whole
from ar_dmvc.modules.base import Prediction
from ar_dmvc.runs.folder import run_folder

Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


def in_order(batches: Sequence[Any]) -> list[Any]:
    """Batches of all processes, which had them in alternation, in the order of the data; in the first process only."""
    if process_count() == 1:
        return list(batches)
    everyone: list[Any] = [None] * process_count()
    torch.distributed.all_gather_object(everyone, list(batches))
    if torch.distributed.get_rank() > 0:
        return []
    return [batch for turn in zip_longest(*everyone) for batch in turn if batch is not None]


class PredictionWriter(BasePredictionWriter):
    """Writes index, cluster and confidence of every predicted sample to ``predictions.csv`` and ``predictions.npz``.

    Args:
        folder: where to; None: the run's folder.
    """

    columns: Columns | None = None
    """What was written, in the first process."""

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
        """Write the predictions of all processes, in the order of the data."""
        predictions = in_order(predictions)
        if not predictions or run_folder(trainer) is None:
            return
        folder = Path(self.folder) if self.folder is not None else run_folder(trainer)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        columns = {
            name: torch.cat([getattr(batch, name) for batch in predictions]).cpu().numpy() for name in Prediction._fields
        }
        self.columns = columns
        with whole_file(folder / "predictions.npz") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]  # arrays, not its options
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_whole(folder / "predictions.csv", table.getvalue())
        if lost := int((~np.isfinite(columns["confidence"])).sum()):
            print(f"{lost} samples have assignments that are not finite numbers (NaN): their clusters mean nothing")
        print(f"{len(columns['index'])} predictions in {folder / 'predictions.csv'} and predictions.npz")
