"""What ``ardmvc predict`` leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from ar_dmvc.distributed import process_count
from ar_dmvc.files import whole_file
from ar_dmvc.modules.base import Prediction
from ar_dmvc.runs.folder import run_folder

_LINES = 100_000

Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


class _Kept:
    """Rows of batches, in columns that grow.

    Millions of small tensors between the large ones of each batch would keep the allocator from giving anything back.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._count = 0
        self._columns: Columns = {}

    @property
    def columns(self) -> Columns:
        """What was kept, batch after batch."""
        return {name: column[: self._count] for name, column in self._columns.items()}

    def append(self, batch: Prediction) -> None:
        """Keep a batch."""
        parts = {name: getattr(batch, name).cpu().numpy() for name in Prediction._fields}
        begin, end = self._count, self._count + len(parts["index"])
        for name, part in parts.items():
            column = self._columns.get(name, np.empty(0, part.dtype))
            if end > len(column):
                column = np.resize(column, max(end, 2 * len(column)))
            column[begin:end] = part
            self._columns[name] = column
        self.lengths.append(end - begin)
        self._count = end


def in_order(kept: _Kept) -> Columns:
    """Rows of all processes, which had batches in alternation, in the order of the data; in the first process only."""
    if process_count() == 1:
        return kept.columns
    everyone: list[Any] = [None] * process_count()
    torch.distributed.all_gather_object(everyone, (kept.columns, kept.lengths))
    if torch.distributed.get_rank() > 0:
        return {}
    batches = [
        [
            {name: part[end - length : end] for name, part in columns.items()}
            for end, length in zip(accumulate(lengths), lengths, strict=True)
        ]
        for columns, lengths in everyone
    ]
    ordered = [batch for turn in zip_longest(*batches) for batch in turn if batch is not None]
    return {name: np.concatenate([batch[name] for batch in ordered]) for name in Prediction._fields} if ordered else {}


class PredictionWriter(BasePredictionWriter):
    """Writes index, cluster and confidence of every predicted sample to ``predictions.csv`` and ``predictions.npz``.

    Args:
        folder: where to; None: the run's folder.
    """

    columns: Columns | None = None
    """What was written, in the first process."""

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self._kept = _Kept()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._kept = _Kept()

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep a batch's predictions."""
        self._kept.append(prediction)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions of all processes, in the order of the data."""
        columns = in_order(self._kept)
        if not columns or run_folder(trainer) is None:
            return
        folder = Path(self.folder) if self.folder is not None else run_folder(trainer)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        self.columns = columns
        with whole_file(folder / "predictions.npz") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]  # arrays, not its options
        with whole_file(folder / "predictions.csv") as file:
            file.write(f"{','.join(columns)}\r\n".encode())
            for first in range(0, len(columns["index"]), _LINES):
                rows = zip(*(column[first : first + _LINES].tolist() for column in columns.values()), strict=True)
                file.write("".join(f"{index},{cluster},{confidence}\r\n" for index, cluster, confidence in rows).encode())
        if lost := int((~np.isfinite(columns["confidence"])).sum()):
            print(f"{lost} samples have assignments that are not finite numbers (NaN): their clusters mean nothing")
        print(f"{len(columns['index'])} predictions in {folder / 'predictions.csv'} and predictions.npz")
