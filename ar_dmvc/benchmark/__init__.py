"""Benchmarks: plan, check, run, resume, collect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from ar_dmvc import api
from ar_dmvc.benchmark.additions import additions
from ar_dmvc.benchmark.grid import Benchmark
from ar_dmvc.benchmark.runner import run_in_several
from ar_dmvc.benchmark.slurm import run_on_slurm
from ar_dmvc.benchmark.time_left import TimeLeft
from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.plain_words import put_plainly
from ar_dmvc.report import find_runs, log_report, notes_on, write_report_of
from ar_dmvc.runs.job import Job
from ar_dmvc.settings import with_files_found
from ar_dmvc.suggestions import parse

__all__ = ["Benchmark", "Job", "main", "parser"]

_TOLD, _LONGEST_REASON = 5, 300


def main(args: Sequence[str]) -> None:
    """``ardmvc benchmark``.

    Args:
        args: what follows the command.

    Raises:
        TrainingError: some jobs failed; the others ran, and the table is of these.
    """
    settings = _parsed(args)
    workers, slurm, project, dry_run = (settings.pop(name) for name in ("workers", "slurm", "wandb", "dry_run"))
    if workers < 1:
        raise ConfigurationError(f"workers must be at least 1, got {workers}")
    benchmark = Benchmark(**settings)
    benchmark.check(api.Rehearsal())
    if dry_run:
        plan = benchmark.plan()
        for number, (job, state) in enumerate(plan, start=1):
            replaced = f", in place of {before}" if (before := job.replaces) else ""
            if job.waiting and not before:
                replaced = ", taken back from before"
            error = job.error_since(0.0)
            reason = "" if error is None else f", failed the last time: {put_plainly(error)}"
            print(f"[{number}/{len(plan)}] {job.title}: {state}{replaced}{reason}")
        print(f"{len(plan)} jobs, {sum(state == 'done' for _, state in plan)} of them done.")
        return
    failed = _run(benchmark, workers, slurm, partial(_work, settings))
    benchmark.report(results := benchmark.collect())
    if results:
        runs = find_runs(benchmark.output, benchmark.tested())
        _print_notes(notes_on(runs))
        print(f"The page: {write_report_of(runs, benchmark.output, _notes_on(failed))}")
    if failed:
        total, first = len(list(benchmark.jobs())), ": ".join(next(iter(failed.items())))
        raise TrainingError(f"{len(failed)} of {total} jobs failed, first {first}; the same command tries them again")
    if results and project is not None:
        log_report(project, benchmark.output, benchmark.tested())


def parser() -> ArgumentParser:
    """What ``ardmvc benchmark`` takes."""
    made = ArgumentParser(prog="ardmvc benchmark", description=Benchmark.__doc__, exit_on_error=False, allow_abbrev=False)
    made.add_argument("--config", action=ActionConfigFile, help="a benchmark's settings in YAML")
    made.add_class_arguments(Benchmark, None)
    made.add_argument("--workers", type=int, default=1, help="processes that share the jobs, on this machine or under SLURM")
    made.add_argument(
        "--slurm",
        type=dict[str, Any] | None,
        default=None,
        help="have the workers run as an array of SLURM jobs with these parameters, in submitit's names: '{timeout_min: 240}'",
    )
    made.add_argument(
        "--wandb",
        type=str | None,
        default=None,
        help="project at Weights & Biases to log table and page to, once all jobs are done",
    )
    made.add_argument(
        "--dry_run", type=bool, default=False, help="check all settings, say what would run, and end; or just --dry-run"
    )
    return made


def _print_notes(notes: Mapping[str, Sequence[str]]) -> None:
    for note, names in list(notes.items())[:_TOLD]:
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        print(put_plainly(f"Note on {', '.join(names[:_TOLD])}{more}: {note}"))
    if len(notes) > _TOLD:
        print(f"{len(notes) - _TOLD} more notes are on the page.")


def _notes_on(failed: Mapping[str, str]) -> list[str]:
    """What a page says of jobs that failed, by their title; of many, of the first."""
    told = [f"not in here: {title}, which failed ({put_plainly(why)[:_LONGEST_REASON]})" for title, why in failed.items()]
    more = len(told) - _TOLD
    return [*told[:_TOLD], *([f"not in here: {more} more jobs, which failed"] if more > 0 else [])]


def _parsed(args: Sequence[str]) -> dict[str, Any]:
    given, added = additions(["--dry_run=true" if arg == "--dry-run" else arg for arg in args])
    settings: dict[str, Any] = parse(parser(), with_files_found(given)).as_dict()
    settings.pop("config", None)
    for addition in added:
        addition.make(settings)
    return settings


def _run(
    benchmark: Benchmark, workers: int, slurm: Mapping[str, Any] | None, work: Callable[[float, Sequence[str]], None]
) -> dict[str, str]:
    """Run what is not done yet, wherever that is; what went wrong, by the title of the job."""
    begun = time.time()
    if slurm is not None:
        run_on_slurm(workers, work, begun, benchmark.output / "slurm", slurm, _Progress(benchmark, begun).all_done)
        return benchmark.left(begun)
    if workers > 1:
        run_in_several(workers, work, begun)
    return benchmark.run(api.call, begun, says=workers == 1)


class _Progress:
    """Says how many jobs are done, whoever does them."""

    def __init__(self, benchmark: Benchmark, begun: float) -> None:
        self.jobs = list(benchmark.jobs())
        self.time_left = TimeLeft(self.jobs, begun)
        self.done = -1

    def all_done(self) -> bool:
        """Whether all are, and a line where it is more than the last time."""
        done = sum(job.is_done for job in self.jobs)
        if done != self.done:
            line = f"{time.strftime('%H:%M:%S')} {done} of {len(self.jobs)} jobs done{self.time_left.words()}"
            print(line, flush=True)
        self.done = done
        return done == len(self.jobs)


def _work(settings: Mapping[str, Any], begun: float, options: Sequence[str]) -> None:
    """One worker's part, as far as it gets: what it leaves, whoever started it does."""
    Benchmark(**settings).run(api.call, begun, options, says=False)
