"""What a test has behind it, kept in its folder, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchmetrics import Metric

from ar_dmvc.checkpoint import read_plain, write_checkpoint
from ar_dmvc.errors import CheckpointError

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
        """Take up what an earlier process left, if it was of the same test; what cannot be used is as if it were not there."""
        if self.file is None or not self.file.is_file():
            return
        try:
            kept = read_plain(self.file)
            if kept["identity"] != self.identity or not isinstance(kept["batches"], int):
                return
            for name, metric in self.metrics.items():
                metric.clone().update(*kept["results"][name])
        except (CheckpointError, OSError, MemoryError, AttributeError, KeyError, TypeError, ValueError, RuntimeError):
            return
        for name, metric in self.metrics.items():
            metric.update(*kept["results"][name])
        self.batches = kept["batches"]

    def add_batch(self) -> None:
        """Count a batch, and keep what there is, but not more often than every ten seconds."""
        self.batches += 1
        if self.file is not None and time.monotonic() - self._kept > _SECONDS_BETWEEN:
            self._keep(self.file)

    def _keep(self, file: Path) -> None:
        results: dict[str, Any] = {name: list(metric.compute()) for name, metric in self.metrics.items()}
        try:
            write_checkpoint({"identity": self.identity, "batches": self.batches, "results": results}, file)
        except OSError as error:  # what there is to lose is time
            print(f"ardmvc: {file}: cannot be written ({error.strerror or error}); the test goes on", file=sys.stderr)
        self._kept = time.monotonic()

    def forget(self) -> None:
        """Remove what was kept: the test is done."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
