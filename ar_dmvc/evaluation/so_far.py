"""What a test has behind it, kept in its folder, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ar_dmvc.files import whole_file

NAME = "so_far.pt"
_SECONDS_BETWEEN = 10.0


class SoFar:
    """The batches that a test of one process has behind it, and what they gave.

    Args:
        folder: of the test; None: nothing is kept.
        identity: of what is tested, with what and how; what another test left there is not used.
        metrics: what gathers the results, by name: each takes again with ``update`` what its ``compute`` gives.

    Attributes:
        batches: how many are behind it.
    """

    def __init__(self, folder: Path | None, identity: str, metrics: Mapping[str, Metric]) -> None:
        self.file = None if folder is None else folder / NAME
        self.identity = identity
        self.metrics = metrics
        self.batches = 0
        self._kept = time.monotonic()

    def restore(self) -> None:
        """Take up what an earlier process left, if it was of the same test."""
        try:
            kept = None if self.file is None or not self.file.is_file() else torch.load(self.file, weights_only=True)
            if not isinstance(kept, dict) or kept.get("identity") != self.identity:
                return
            batches, results = kept["batches"], kept["results"]
            parts = {name: [part for part in results[name] if isinstance(part, Tensor)] for name in self.metrics}
        except Exception:  # noqa: BLE001  what is no such file, whatever torch says of it, is as if there were none
            return
        for name, metric in self.metrics.items():
            metric.update(*parts[name])
        self.batches = int(batches)

    def add_batch(self) -> None:
        """Count a batch, and keep what there is, but not more often than every ten seconds.

        Raises:
            OSError: it cannot be written.
        """
        self.batches += 1
        if self.file is not None and time.monotonic() - self._kept > _SECONDS_BETWEEN:
            self._keep(self.file)

    def _keep(self, file: Path) -> None:
        results: dict[str, Any] = {name: list(metric.compute()) for name, metric in self.metrics.items()}
        with whole_file(file) as opened:
            torch.save({"identity": self.identity, "batches": self.batches, "results": results}, opened)
        self._kept = time.monotonic()

    def forget(self) -> None:
        """Remove what was kept: the test is done."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
