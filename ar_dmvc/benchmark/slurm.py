"""A benchmark's workers as an array of SLURM jobs, submitted with submitit."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ar_dmvc.benchmark.runner import LINES_FOR_BARS
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.plain_words import quiet

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

_SECONDS_BETWEEN_LOOKS = 2.0
Work = Callable[[float, Sequence[str]], None]
_OPTIONS = (
    *LINES_FOR_BARS,
    # Each worker trains on its own; requeueing is submitit's.
    "--trainer.plugins+=lightning.pytorch.plugins.environments.LightningEnvironment",
)


@dataclass(frozen=True)
class Worker:
    """What each job of the array runs.

    Attributes:
        work: given when it began, and options that make no difference to what comes out; can be pickled.
        begun: when the whole began, in seconds since the epoch.
    """

    work: Work
    begun: float

    def __call__(self) -> None:
        """Do its part, on as many threads as the job has cores."""
        import torch

        if cores := os.environ.get("SLURM_CPUS_PER_TASK", os.environ.get("SLURM_CPUS_ON_NODE")):
            torch.set_num_threads(int(cores))
        with quiet():
            self.work(self.begun, _OPTIONS)

    def checkpoint(self) -> DelayedSubmission:
        """What to run after a requeue: the same, which goes on from what is done and from the last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_on_slurm(
    workers: int, work: Work, begun: float, folder: Path, parameters: Mapping[str, Any], all_done: Callable[[], bool]
) -> None:
    """Let an array of SLURM jobs do some work at the same time, and wait for its end.

    Args:
        workers: number of jobs in the array.
        work: given when it began, and options that make no difference to what comes out; can be pickled.
        begun: in seconds since the epoch.
        folder: for the scripts and logs of the jobs, shared with the nodes.
        parameters: of the jobs, in submitit's names: ``timeout_min``, ``slurm_partition``, ``gpus_per_node``,
            ``cpus_per_task``, ``mem_gb``, ``slurm_constraint``, ``slurm_array_parallelism``, ...; with ``cluster: local``
            they are processes on this machine.
        all_done: asked from time to time whether all the work is done, in which case workers still in the queue are cancelled.

    Raises:
        ConfigurationError: submitit is not installed, there is no SLURM, or it does not know a parameter.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError as error:
        raise ConfigurationError("slurm: needs submitit, pip install 'ar-dmvc[slurm]'") from error
    own = {"name": "ardmvc", **parameters}
    try:
        executor = submitit.AutoExecutor(folder, cluster=own.pop("cluster", "slurm"))
        executor.update_parameters(**own)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise ConfigurationError(f"slurm: {error}") from error
    try:
        with executor.batch():
            jobs = [executor.submit(Worker(work, begun)) for _ in range(workers)]
    except FailedJobError as error:
        raise ConfigurationError(f"slurm: the array was not accepted: {_last_line(error)}") from error
    numbers = ", ".join(job.job_id for job in jobs)
    print(f"Submitted, logs in {folder}: {numbers}", flush=True)
    try:
        left = jobs
        while left and not all_done():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            left = [job for job in left if not _has_ended(job)]
        for job in left:
            job.cancel(check=False)
    except KeyboardInterrupt:
        print(f"The workers go on (scancel {numbers} ends them); the same command collects what they do.", file=sys.stderr)
        raise


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _has_ended(job: Job[None]) -> bool:
    """Whether a job has ended; one that failed is said."""
    if not job.done():
        return False
    if (error := job.exception()) is not None:
        print(f"ardmvc: worker {job.job_id}: {_last_line(error)}", file=sys.stderr, flush=True)
    return True
