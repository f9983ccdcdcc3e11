"""Training from several seeds, of which the run with the lowest loss is kept: no label takes part in that choice."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.files import whole_file
from ar_dmvc.runs.ids import metric_files
from ar_dmvc.runs.job import Call, Job
from ar_dmvc.seeding import numpy_generator
from ar_dmvc.settings import as_arguments


@dataclass(frozen=True)
class Start:
    """One of several runs that differ in their seed alone.

    Attributes:
        job: that made it.
        metrics: the last value of each that it logged.
    """

    job: Job
    metrics: dict[str, float]

    @property
    def loss(self) -> float:
        """Of its last epoch; infinite where it has none, or none that is a number."""
        loss = self.metrics.get("train/loss", math.inf)
        return math.inf if math.isnan(loss) else loss

    def give(self, folder: Path) -> Path:
        """Copy what it measured and its checkpoints into the folder of another run; the checkpoint of its end there."""
        (folder / "checkpoints").mkdir(exist_ok=True)
        for path in (*metric_files(self.job.folder), *sorted(self.job.checkpoint.parent.glob("*.ckpt"))):
            with path.open("rb") as file, whole_file(folder / path.relative_to(self.job.folder)) as copy:
                shutil.copyfileobj(file, copy)
        return folder / "checkpoints" / self.job.checkpoint.name


def best_start(count: int, settings: Mapping[str, Any], place: Path, name: str, call: Call) -> Start:
    """Train from several seeds, each once, and choose the run whose loss in its last epoch is lowest.

    Args:
        count: how many; those that an earlier call made are not made again.
        settings: of each but its seed, by section; the first takes the seed that is there.
        place: folder that holds the folders of all.
        name: that theirs begin with.
        call: runs a command.

    Raises:
        ConfigurationError: there is no seed, or what is trained has no loss.
    """
    given = settings["seed_everything"]
    if isinstance(given, bool) or given is None:
        raise ConfigurationError(f"starts = {count}: their seeds follow from seed_everything, which is {given}")
    starts = []
    for number in range(count):
        seed = seed_of(given, number)
        parts = as_arguments([{**settings, "starts": 1, "seed_everything": seed}])
        job = Job(f"start {number + 1} of {count}", "fit", tuple(parts), place)
        job = replace(job, folder=place / f"{name or 'start'}_{seed}_{job.fingerprint[:8]}")
        job.run(call)
        starts.append(Start(job, _metrics(job)))
    best = min(starts, key=lambda start: start.loss)
    if math.isinf(best.loss):
        raise ConfigurationError(f"starts = {count}: what is trained has no loss to choose one by")
    told = ", ".join(f"{start.loss:.4g}" for start in starts)
    print(f"ardmvc: losses {told}: start {starts.index(best) + 1} is kept", file=sys.stderr)
    return best


def seed_of(seed: int, number: int) -> int:
    """The seed of a start: the first has the run's own, the others such that those of another seed have none of them."""
    return seed if number == 0 else int(numpy_generator(seed, number).integers(2**31))


def _metrics(job: Job) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        for path in metric_files(job.folder):
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    found |= {name: float(value) for name, value in row.items() if value}
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{job.folder}: its metrics cannot be read ({error})") from error
    return found
