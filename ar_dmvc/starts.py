"""Training from several seeds, of which one is kept by its loss and by what the others agree on: no label takes part."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from ar_dmvc.clusterers.baselines import NearestCentre
from ar_dmvc.errors import ConfigurationError, DivergedError, TrainingError
from ar_dmvc.files import whole_file, write_whole
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.training import ClustererTraining
from ar_dmvc.runs.ids import metric_files
from ar_dmvc.runs.job import Call, Job
from ar_dmvc.seeding import numpy_generator
from ar_dmvc.settings import as_arguments

_ROUNDING = 1e-9
_SHOWN = ("enable_progress_bar", "enable_model_summary")
"""Settings of a trainer that make no difference to what comes out."""


@dataclass(frozen=True)
class Start:
    """One of several runs that differ in their seed alone.

    Attributes:
        seed: of it.
        job: that made it.
        metrics: the last value of each that it logged; none where it diverged.
        agreement: ARI of its clusters of the training part with those of another start, the mean over all others.
    """

    seed: int
    job: Job
    metrics: dict[str, float]
    agreement: float = math.nan

    @property
    def loss(self) -> float:
        """Of its last epoch; infinite where it has none, or diverged."""
        loss = self.metrics.get("train/loss", math.inf)
        return math.inf if math.isnan(loss) else loss

    def log(self, loggers: Sequence[Logger], settings: dict[str, Any]) -> None:
        """Let the loggers of another run have logged what it has.

        Args:
            loggers: of that run.
            settings: of that run.
        """
        for logger in loggers:
            if isinstance(logger, CSVLogger):
                _ = logger.experiment  # which takes a folder that no other run has
                for path in metric_files(folder := Path(logger.log_dir)):
                    path.unlink()
                _copy(metric_files(self.job.folder), folder)
            else:
                for step, values in _logged(self.job):
                    logger.log_metrics(values, step)
            logger.log_hyperparams(settings)
            logger.finalize("success")

    def give(self, folder: Path) -> Path:
        """Copy its checkpoints to another run's folder; the checkpoint of its end there."""
        _copy(sorted(self.job.checkpoint.parent.glob("*.ckpt")), folder / "checkpoints")
        return folder / "checkpoints" / self.job.checkpoint.name


def check_starts(count: int, module: ClustererModule, trainer: Trainer, seed: int | bool | None) -> None:
    """Check that what is trained can have several starts, and that each would leave what is looked for.

    Raises:
        ConfigurationError: it cannot, or would not.
    """
    why = _why_not(module) or _why_no_checkpoint(trainer)
    if trainer.world_size > 1:
        why = why or f"each is trained on one device, not on {trainer.world_size}"
    if isinstance(seed, bool) or seed is None:
        why = why or f"their seeds follow from seed_everything, which is {seed}"
    if why:
        raise ConfigurationError(f"starts = {count}: {why}")


def _why_not(module: ClustererModule) -> str:
    if not isinstance(module, ClustererTraining):
        return "clusterers and defenders can have several, an attacker cannot"
    if isinstance(module.clusterer, NearestCentre):
        return f"{type(module.clusterer).__name__} has no loss to choose one by; its k-means has model.clusterer.starts"
    return ""


def _why_no_checkpoint(trainer: Trainer) -> str:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            if callback.dirpath is not None:
                return "all would write their checkpoints to checkpoint.dirpath; leave it out"
            if callback.monitor is not None:
                return "the last epoch of each is looked at; leave checkpoint.monitor out"
            if callback.filename != "last" and not callback.save_last:
                return "each leaves checkpoints/last.ckpt; leave checkpoint.filename out"
    return ""


def best_start(
    count: int,
    settings: Mapping[str, Any],
    place: Path,
    name: str,
    call: Call,
    clusters_of: Callable[[Path], ArrayLike],
) -> list[Start]:
    """Train from several seeds, each once; of what an earlier call left, what is done is not done again.

    Args:
        count: how many.
        settings: of each but its seed, by section; the first takes the seed that is there.
        place: folder that holds the folders of all.
        name: that theirs begin with.
        call: runs a command.
        clusters_of: the clusters of the training part, (N,), by a checkpoint.

    Returns:
        All of them in the order of :func:`order`, those that diverged last.

    Raises:
        ConfigurationError: what is trained has no loss.
        DivergedError: all of them did.
    """
    trainer = dict(settings["trainer"])
    shown = trainer["enable_progress_bar"] is not False
    # A start that is stopped goes on from an epoch's end, so that its loss is that of a whole epoch.
    options = [f"--trainer.{key}={str(trainer.pop(key, None) is not False).lower()}" for key in _SHOWN]
    options += ["--checkpoint.save_on_exception=false"]
    settings = {**settings, "trainer": {**trainer, "logger": False}, "starts": 1}
    starts, diverged = [], None
    for number in range(count):
        seed = seed_of(settings["seed_everything"], number)
        title = f"start {number + 1} of {count}, seed {seed}"
        parts = as_arguments([{**settings, "seed_everything": seed}])
        job = Job(title, "fit", tuple(parts), place, announced=shown)
        job = replace(job, folder=place / f"{name or 'start'}_{seed}_{job.fingerprint[:8]}")
        if shown and job.is_done:
            print(f"ardmvc: {title}: already done, {job.folder}", file=sys.stderr)
        try:
            job.run(call, options)
            starts.append(Start(seed, job, _last(job)))
        except DivergedError as error:
            diverged = error
            print(f"ardmvc: {title}: {error}", file=sys.stderr)
            starts.append(Start(seed, job, {}))
    ended = [start for start in starts if math.isfinite(start.loss)]
    if not ended and diverged is not None:
        raise diverged
    if not ended:
        raise ConfigurationError(f"starts = {count}: what is trained has no loss to choose one by")
    shared = agreement([clusters_of(start.job.checkpoint) for start in ended])
    ended = [replace(start, agreement=float(share)) for start, share in zip(ended, shared, strict=True)]
    places = order([start.loss for start in ended], shared)
    return [*(ended[place] for place in places), *(start for start in starts if not math.isfinite(start.loss))]


def agreement(clusters: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """How far each of several clusterings, (N,) each, is what the others are: ARI, the mean over all others.

    NaN where there is no other.
    """
    if len(clusters) == 1:
        return np.full(1, math.nan)
    shared = squareform([adjusted_rand_score(one, other) for one, other in combinations(clusters, 2)])
    return np.asarray(shared.sum(1) / (len(clusters) - 1))


def order(losses: Sequence[float], shared: ArrayLike) -> list[int]:
    """The places of starts, first that with a low loss and much agreement: both in standard deviations over the starts.

    A loss alone may be lowest where clusters have merged; these merge differently from each seed, which agreement shows. Of two
    starts both agree as much, and the loss decides.

    Args:
        losses: of each, finite.
        shared: of each, see :func:`agreement`.
    """
    score = _standardised(losses) - _standardised(shared)
    return sorted(range(len(score)), key=score.__getitem__)


def _standardised(values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    spread = values.std()
    return (values - values.mean()) / spread if spread > _ROUNDING * np.abs(values).max() else np.zeros_like(values)


def list_starts(starts: Sequence[Start], path: Path) -> None:
    """Write which there were, with what they were chosen by, as CSV."""
    rows = [f"{start.seed},{start.loss},{start.agreement},{start.job.folder}" for start in starts]
    write_whole(path, "\n".join(["seed,loss,agreement,folder", *rows, ""]))


def seed_of(seed: int, number: int) -> int:
    """The seed of a start: the first has the run's own, the others are drawn from that and their number."""
    return seed if number == 0 else int(numpy_generator(seed, number).integers(2**31))


def _last(job: Job) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, values in _logged(job):
        found |= values
    return found


def _logged(job: Job) -> Iterator[tuple[int, dict[str, float]]]:
    try:
        for path in metric_files(job.folder):
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    values = {name: float(value) for name, value in row.items() if value}
                    values.pop("epoch", None)
                    yield int(values.pop("step", 0)), values
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{job.folder}: its metrics cannot be read ({error})") from error


def _copy(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        with path.open("rb") as file, whole_file(folder / path.name) as copy:
            shutil.copyfileobj(file, copy)
