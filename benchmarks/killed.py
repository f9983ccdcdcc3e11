"""What SIGKILL at random moments does to benchmarks that share a folder: run, kill, run again, count.

    python -m benchmarks.killed
    python -m benchmarks.killed --runners 2

A grid of two victims, a student of each and two seeds runs once undisturbed, then under kills, each at a random moment of
its first seconds, imports left out. Printed are the jobs done, those of them that changed after they were done, and whether
the tables are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

CONFIGS = Path(__file__).parents[1] / "configs"
GRID = {
    "data": [f"{CONFIGS}/data/digits.yaml"],
    "seeds": [0, 1],
    "clusterers": {name: [f"{CONFIGS}/victims/{name}.yaml", "--trainer.max_epochs=4"] for name in ("simvc", "comvc")},
    "defences": {"taught": [f"{CONFIGS}/defenders/robust.yaml", "--model.teacher={victim}", "--trainer.max_epochs=2"]},
    "attacks": [f"{CONFIGS}/attacks/standard.yaml", "--trainer.limit_test_batches=1"],
}
EARLIEST, LATEST = 8.0, 30.0


def main() -> None:
    """Run both, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, default=1, help="benchmarks at once on one folder")
    parser.add_argument("--kills", type=int, default=10, help="how often all of them are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with TemporaryDirectory() as folder:
        whole, disturbed = Path(folder, "whole"), Path(folder, "disturbed")
        _finish(_start(whole, Path(folder), 1))
        done, changed, kills = {}, 0, 0
        while True:
            runners = _start(disturbed, Path(folder), options.runners)
            if kills == options.kills:
                _finish(runners)
            else:
                _wait(runners, moments.uniform(EARLIEST, LATEST))
            ended = all(runner.poll() is not None for runner in runners)
            for runner in runners:
                if runner.poll() is None:
                    os.killpg(runner.pid, signal.SIGKILL)
                    runner.wait()
            before, done = done, _done(disturbed)
            changed += sum(done.get(job) != moment for job, moment in before.items())
            if ended:
                break
            kills += 1
            print(f"kill {kills}: {len(done)} jobs done", flush=True)
        same = (whole / "results.csv").read_bytes() == (disturbed / "results.csv").read_bytes()
        print(
            f"{options.runners} at once, {kills} kills: {len(done)} jobs done, {changed} of them lost or done again, ", end=""
        )
        print(f"table {'the same' if same else 'ANOTHER'} as undisturbed")


def _start(output: Path, folder: Path, count: int) -> list[subprocess.Popen[bytes]]:
    grid = folder / "grid.yaml"
    grid.write_text(json.dumps(GRID))
    command = [sys.executable, "-m", "ar_dmvc", "benchmark", f"--config={grid}", f"--output={output}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [subprocess.Popen(command, start_new_session=True, **quiet) for _ in range(count)]  # type: ignore[call-overload]


def _wait(runners: list[subprocess.Popen[bytes]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(runner.poll() is None for runner in runners):
        time.sleep(0.1)


def _finish(runners: list[subprocess.Popen[bytes]]) -> None:
    if any(runner.wait() for runner in runners):
        sys.exit("a benchmark that was left alone failed")


def _done(output: Path) -> dict[Path, int]:
    """The records of jobs that are done, with the moment that each was written."""
    records = {path: json.loads(path.read_text()) for path in output.glob("*/seed_*/*.json")}
    return {path: path.stat().st_mtime_ns for path, record in records.items() if record.get("done")}


if __name__ == "__main__":
    main()
