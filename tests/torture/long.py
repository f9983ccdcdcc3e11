"""Long runs: memory, open files and time of a unit stay flat, by a line fitted through them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc import MultiViewClustering, api
from ar_dmvc.benchmark.grid import Benchmark
from tests.conftest import CONFIGS, QUIET
from tests.torture import Trial

ALLOWED = {"memory, MiB": 0.05, "open files": 0.05, "time, ms": 0.3}
"""The share of its level by which each may have grown in the end; of time more, as a machine has other work."""


@dataclass
class Measured:
    """What was measured after each unit of work."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ALLOWED})
    _before: float = field(default_factory=time.process_time)

    def take(self) -> None:
        """Measure now."""
        now = time.process_time()  # the processor's, which other work on the machine makes little longer
        self.values["time, ms"].append((now - self._before) * 1000)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.values["memory, MiB"].append(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20))
        self.values["open files"].append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  a number alone
        self._before = time.process_time()

    def trials(self, kind: str) -> Iterator[Trial]:
        """A line through each, its first tenth left out; a fault where it has grown beyond what the fit cannot tell."""
        for name, values in self.values.items():
            level, growth, error = fitted(values[len(values) // 10 :])
            told = f"{name}: {level:.1f}, {growth:+.2f}±{error:.2f} over {len(values)}"
            grows = growth > 3 * error and growth > ALLOWED[name] * level
            yield Trial(f"long: {kind}", told, told if grows else "")


def fitted(values: list[float], blocks: int = 30) -> tuple[float, float, float]:
    """Level, growth from beginning to end, and its standard error, of a line through the medians of blocks."""
    medians = [float(np.median(block)) for block in np.array_split(np.array(values), blocks)]
    place = np.linspace(-0.5, 0.5, blocks)
    (growth, level), covariance = np.polyfit(place, medians, 1, cov=True)
    return float(level), float(growth), float(np.sqrt(covariance[0, 0]))


class Measuring(Callback):
    """Measures after every epoch, for whoever has put its measurements here."""

    measured: Measured

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.measured.take()


def trials(folder: Path, epochs: int = 2000, jobs: int = 1000, predictions: int = 10_000) -> Iterator[Trial]:
    """Go through all three.

    Args:
        folder: for what they write.
        epochs: of one run.
        jobs: of one benchmark.
        predictions: of one clusterer, in one process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    views = [np.random.default_rng(0).normal(size=(60, width)) + np.arange(60)[:, None] % 3 * 4 for width in (4, 6)]
    path = folder / "small.npz"
    np.savez(path, view_0=views[0], view_1=views[1], labels=np.arange(60) % 3)
    data = ["--data=FeatureViews", f"--data.path={path}", "--data.batch_size=30"]
    yield from _epochs(folder / "epochs", epochs).trials(f"{epochs:,} epochs")
    yield from _jobs(folder / "jobs", data, jobs).trials(f"{jobs:,} jobs of a benchmark")
    yield from predict(views, predictions).trials(f"{predictions:,} predictions")


def _epochs(folder: Path, count: int) -> Measured:
    measured = Measured()
    few = [f"--trainer.max_epochs={count}", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]
    Measuring.measured = measured
    digits, measuring = CONFIGS / "data/digits.yaml", "--trainer.callbacks+=tests.torture.long.Measuring"
    api.fit(CONFIGS / "victims/simvc.yaml", digits, "--data.batch_size=30", *few, measuring, folder=folder)
    return measured


def _jobs(folder: Path, data: list[str], count: int) -> Measured:
    """Training and test of k-means, with half as many seeds as jobs."""
    measured = Measured()

    def call(*arguments: Any, **settings: Any) -> Any:
        made = api.call(*arguments, **settings)
        measured.take()
        return made

    few = ["--trainer.max_epochs=1", *QUIET]
    Benchmark(
        data,
        {"KMeans": [str(CONFIGS / "victims/kmeans.yaml"), *few]},
        ["--model.attacks={x: UniformNoise}", *QUIET],
        folder,
        seeds=range(count // 2),
    ).run(call, says=False)
    return measured


def predict(views: list[np.ndarray], count: int) -> Measured:
    """Fit once, and predict many times."""
    model = MultiViewClustering(3, clusterer="SiMVC", epochs=2, random_state=0, accelerator="cpu").fit(views)
    gc.collect()
    measured = Measured()
    for _ in range(count):
        model.predict(views)
        measured.take()
    return measured
