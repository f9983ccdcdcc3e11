"""Runs jobs that need each other: in this process, in several, and beside other runners on the same folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from tempfile import gettempdir
from typing import TYPE_CHECKING

from ar_dmvc.benchmark.time_left import TimeLeft
from ar_dmvc.errors import CheckpointError, ConfigurationError, message_of
from ar_dmvc.plain_words import put_plainly, quiet
from ar_dmvc.runs.job import Call, Job

if TYPE_CHECKING:  # Windows has no fork server
    from multiprocessing.context import ForkServerContext, SpawnContext

_LONGEST = 70
_SECONDS_BETWEEN_LOOKS = 1.0
LINES_FOR_BARS = (
    "--trainer.enable_progress_bar=false",
    '--trainer.callbacks+={"class_path": "ar_dmvc.callbacks.EpochLines", "init_args": {"one_of_several": true}}',
)
"""Options of what runs beside others: bars of several would overwrite each other."""


class Runner:
    """Runs the jobs of a list that are not done, each once, whoever else runs some of them.

    A job that fails is recorded with its error; what needs it is left out, the others go on.

    Args:
        jobs: in an order in which each finds what it needs.
        begun: when the whole began, in seconds since the epoch: what failed before is tried again.
        options: for all jobs, that make no difference to what comes out.
        says: whether to say which jobs are done or left out.

    Attributes:
        failed: what went wrong, by the job's title.
    """

    def __init__(self, jobs: Sequence[Job], begun: float, options: Sequence[str] = (), says: bool = True) -> None:
        self.jobs = jobs
        self.begun = begun
        self.options = options
        self.says = says
        self.time_left = TimeLeft(jobs, begun)
        self.failed: dict[str, str] = {}

    def run(self, call: Call) -> None:
        """Run what is not done yet, and wait for what others run.

        Args:
            call: runs one command.
        """
        left, waits = list(enumerate(self.jobs, start=1)), False
        while left:
            behind = [(number, job) for number, job in left if not self._attend(job, number, call, left)]
            if len(behind) == len(left):
                if not waits:
                    self._say("Another benchmark on this folder runs what is left; waiting for it.")
                waits = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            left = behind

    def _attend(self, job: Job, number: int, call: Call, left: Sequence[tuple[int, Job]]) -> bool:
        """Run a job that is not done yet; False where that has to wait for another runner on the same folder."""
        if job.needs is not None and job.needs.title in self.failed:
            return self._fails(job, number, f"needs what failed: {job.needs.title}")
        if job.needs is not None and not job.needs.is_done:
            if all(job.needs != other for _, other in left):
                raise ConfigurationError(
                    f"output: another benchmark, with other settings, has replaced {job.needs.folder}; give each a folder"
                )
            return False
        with job.taken() as taken:
            if taken and (error := job.error_since(self.begun)) is not None:
                return self._fails(job, number, error)
            if taken and job.is_done:
                job.label()
                self._say(f"{self._place(number)} {job.title}: already done, {job.folder}")
            elif taken:
                return self._execute(job, number, call)
            return taken

    def _execute(self, job: Job, number: int, call: Call) -> bool:
        print(f"{self._place(number)} {job.title}{self.time_left.words(self.failed)}", flush=True)
        try:
            job.execute(call, self.options)
        except Exception as error:  # noqa: BLE001  one job's error is recorded, and the others go on
            message = message_of(error)
            if isinstance(error, CheckpointError) and job.needs is not None and str(job.needs.checkpoint) in message:
                message += f"; once {job.needs.folder}.json is deleted it is trained again"
            return self._fails(job, number, message, met=True)
        return True

    def _place(self, number: int) -> str:
        return f"[{number}/{len(self.jobs)}]"

    def _say(self, line: str) -> None:
        if self.says:
            print(line, flush=True)

    def _fails(self, job: Job, number: int, error: str, met: bool = False) -> bool:
        self.failed[job.title] = put_plainly(error)
        if self.says or met:
            print(f"{self._place(number)} {job.title} failed: {self.failed[job.title]}", file=sys.stderr, flush=True)
        return True


def run_in_several(workers: int, work: Callable[[float, Sequence[str]], None], begun: float) -> None:
    """Let several processes on this machine do some work at the same time, each with its part of the cores, or a GPU.

    Args:
        workers: number of processes.
        work: given when it began, and options that make no difference to what comes out; can be pickled.
        begun: in seconds since the epoch.
    """
    context = _context()
    processes = [context.Process(target=_one_of_several, args=(number, workers, work, begun)) for number in range(workers)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:  # which they get as well
        for process in processes:
            process.join()
        raise


def _context() -> ForkServerContext | SpawnContext:
    """Copies of one process that has imported everything begin sooner; a process that may use a GPU must not be such a copy."""
    import torch

    # The server's socket has a short name, and before Python 3.11.1 anybody on the machine could talk to it.
    has_server = sys.platform == "linux" and sys.version_info >= (3, 11, 1) and len(gettempdir()) <= _LONGEST
    if not has_server or torch.accelerator.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ar_dmvc.session"])
    return context


def _one_of_several(number: int, workers: int, work: Callable[[float, Sequence[str]], None], begun: float) -> None:
    import torch

    _end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if torch.cuda.device_count() > 1:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [str(device) for device in range(torch.cuda.device_count())] if given is None else given.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % torch.cuda.device_count()]
    try:
        with quiet():
            work(begun, LINES_FOR_BARS)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """Ask this process to end, with SIGTERM, as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
