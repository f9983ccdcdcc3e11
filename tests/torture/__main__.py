"""All of it: ``python -m tests.torture``. Ends with a table, and with exit code 1 where something was not as promised."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ar_dmvc.cli import main as ardmvc
from tests.conftest import fit_arguments
from tests.torture import Trial, calls, hostile, killed, long, processes, same, starved, table, wrong
from tests.torture.hostile.checkpoints import flips

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
Part = Callable[[Path], Iterator[Trial]]


def _with_checkpoint(trials: Callable[[Path, Path], Iterator[Trial]], folder: Path) -> Iterator[Trial]:
    """Trials that need a clusterer that has learned."""
    learning = (*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), "--trainer.max_epochs=2")
    folder.chmod(0o755)  # others may enter it
    assert ardmvc([*learning, f"--trainer.logger.save_dir={folder}"]) == 0
    yield from trials(folder / "comvc" / "version_0" / "checkpoints" / "last.ckpt", folder)


def _fits(name: str, folder: Path) -> Iterator[Trial]:
    return killed.fits(name, folder, 50)


PARTS: dict[str, Part] = {
    "hostile": partial(_with_checkpoint, hostile.trials),
    "long": long.trials,
    "benchmark_4": lambda folder: killed.benchmarks(4, folder / "x", 50),
    "benchmark_1": lambda folder: killed.benchmarks(1, folder / "x", 50),
    "workers": lambda folder: killed.workers(folder / "x", 2),
    "together": lambda folder: killed.together(folder / "x", 6),
    "both": lambda folder: killed.both(folder / "x", 10),
    "same": partial(_with_checkpoint, same.trials),
    "processes": processes.trials,
    **{f"fit_{number}": partial(_fits, name) for number, name in enumerate(killed.FITS)},
    "starts": lambda folder: killed.starts(folder / "x", 50),
    "estimator": lambda folder: killed.estimator(folder / "x", 50),
    "starved": partial(_with_checkpoint, starved.trials),
    "wrong_command_lines": partial(_with_checkpoint, wrong.trials),
    "wrong_calls": partial(_with_checkpoint, lambda checkpoint, folder: calls.trials(checkpoint)),
    "flips": partial(_with_checkpoint, flips),
}
"""The longest first, as two run at once."""


def main() -> int:
    """Go through the parts, some at once."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--jobs", type=int, default=2, help="parts at once, a core each")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        with TemporaryDirectory() as folder:
            for trial in PARTS[options.part](Path(folder)):
                print(json.dumps(asdict(trial)), flush=True)
        return 0
    begun = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        parts = list(pool.map(_apart, options.only))
    trials = [trial for part in parts for trial in part]
    print(f"{table(trials)}\n\nin {(time.monotonic() - begun) / 60:.0f} minutes")
    return int(any(trial.fault for trial in trials))


def _apart(part: str) -> list[Trial]:
    """One part, in a process of its own; says what was not as promised as soon as it is over."""
    begun = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-m", "tests.torture", "--part", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    trials = [Trial(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    if done.returncode:
        trials.append(Trial(part, "the trial itself", f"ended with {done.returncode}: {done.stderr[-1000:]}"))
    print(f"{part}: {len(trials)} trials in {time.monotonic() - begun:.0f} s", flush=True)
    for trial in trials:
        if trial.fault or trial.kind.startswith("long"):  # whose names are figures
            print(f"  {trial.kind} | {trial.name} | {trial.fault}", flush=True)
    return trials


if __name__ == "__main__":
    sys.exit(main())
