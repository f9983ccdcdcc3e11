"""``python -m benchmarks.overhead``: what a benchmark's runner takes for a job beyond the job's own work.

A grid of jobs that do nothing but leave the files that a job leaves, run in one process, and once more when all are done.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ar_dmvc.benchmark.grid import Benchmark

SCORES = {"acc": 0.5, "nmi": 0.5, "ari": 0.5}


def nothing(command: str, configuration: Sequence[str], folder: Path, checkpoint: Path | None, alone: bool) -> None:
    """Stands for a training or a test."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "robustness.json").write_text(json.dumps({"scores": {"clean": SCORES, "worst": SCORES}}))


def main() -> None:
    """Print milliseconds a job, run and already done."""
    parser = argparse.ArgumentParser(prog="benchmarks.overhead", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    jobs = parser.parse_args().jobs
    settings = ["configs/victims/kmeans.yaml"]
    with TemporaryDirectory() as folder:
        for name in ("run", "already done"):
            grid = Benchmark(
                data=["configs/data/digits.yaml"],
                clusterers={"KMeans": settings},
                attacks=["configs/attacks/standard.yaml"],
                output=folder,
                seeds=range(jobs // 2),
            )
            begun = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                failed = grid.run(nothing)
            seconds = time.perf_counter() - begun
            assert not failed
            print(f"{jobs // 2 * 2} jobs, {name}: {1e3 * seconds / (jobs // 2 * 2):.1f} ms a job")


if __name__ == "__main__":
    main()
