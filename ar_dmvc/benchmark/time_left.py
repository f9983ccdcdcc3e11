"""How long the jobs that are left will take, by how long others took."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence

from ar_dmvc.plain_words import duration
from ar_dmvc.runs.job import Job


class TimeLeft:
    """An estimate of when all jobs are done.

    A job is taken to last as long as those of its kind (training, training an attack, a test) did for the same clusterer and,
    where there are none, for the others; and as many to run at the same time as have so far.

    Args:
        jobs: all of them.
        begun: when they began to run, in seconds since the epoch.
    """

    def __init__(self, jobs: Sequence[Job], begun: float) -> None:
        self.begun = begun
        self._left = list(jobs)
        self._took: dict[tuple[str, ...], list[float]] = {}
        self._recent = 0.0

    def words(self, failed: Container[str] = ()) -> str:
        """``, about 20 min left``; empty where nothing is left, or something of a kind that has not been done yet.

        Args:
            failed: titles of jobs that are not tried again, nor are those that need them.
        """
        self._left = [job for job in self._left if not _is_left_out(job, failed) and not self._has_ended(job)]
        found = [next((self._took[kind] for kind in _kinds(job) if kind in self._took), None) for job in self._left]
        seconds = [sum(alike) / len(alike) for alike in found if alike is not None]
        if not self._left or len(seconds) < len(self._left):
            return ""
        at_once = max(1.0, self._recent / max(1e-3, time.time() - self.begun))
        return f", about {duration(sum(seconds) / at_once)} left"

    def _has_ended(self, job: Job) -> bool:
        if not job.is_done:
            return False
        if (took := job.took) is not None:
            self._recent += max(0.0, min(took.seconds, took.until - self.begun))
            for kind in _kinds(job):
                self._took.setdefault(kind, []).append(took.seconds)
        return True


def _is_left_out(job: Job | None, failed: Container[str]) -> bool:
    return job is not None and (job.title in failed or _is_left_out(job.needs, failed))


def _kinds(job: Job) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What it has in common with others, most first."""
    kind = job.folder.name.partition("_")[0]
    return (kind, str(job.folder.parent.parent)), (kind,)
