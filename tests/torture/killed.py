"""SIGKILL at random moments of training, of benchmarks and of the estimator: run, kill, run again, compare.

What is left alone and what was killed have to end bit for bit the same; a checkpoint that is there can be read, and is never
of an earlier epoch than before; a benchmark's job that was done stays done.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ar_dmvc import MultiViewClustering
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.cli import main
from ar_dmvc.errors import CheckpointError
from tests.conftest import CONFIGS
from tests.torture import Trial

VICTIM = Path("runs/comvc/version_0/checkpoints/last.ckpt")
DIGITS = "--config=data/digits.yaml"
CPU = "--trainer.accelerator=cpu"
FITS: dict[str, tuple[str, ...]] = {
    "a victim with stages": (
        "--config=victims/aecoddc.yaml",
        "--model.clusterer.pretraining_epochs=3",
        "--trainer.max_epochs=8",
    ),
    "an attacker": ("--config=attackers/gan.yaml", f"--model.victim={VICTIM}", "--trainer.max_epochs=6"),
    "a defender with warm starts": (
        "--config=defenders/robust_joint.yaml",
        "--model.warm_start=true",
        "--trainer.max_epochs=5",
    ),
    "a student with a teacher": (
        "--config=defenders/robust.yaml",
        f"--model.teacher={VICTIM}",
        "--model.warm_start=true",
        "--trainer.max_epochs=5",
    ),
}
GRID = {
    "data": [f"{CONFIGS}/data/digits.yaml"],
    "seeds": [0, 1],
    "clusterers": {name: [f"{CONFIGS}/victims/{name}.yaml", "--trainer.max_epochs=3"] for name in ("simvc", "comvc")},
    "defences": {"taught": [f"{CONFIGS}/defenders/robust.yaml", "--model.teacher={victim}", "--trainer.max_epochs=2"]},
    "attacks": [f"{CONFIGS}/attacks/standard.yaml", "--trainer.limit_test_batches=1"],
}


@dataclass
class _Process:
    """Work in a forked process that leads a group of its own, so that all that it starts dies with it."""

    folder: Path
    work: Callable[[], Any]

    def __post_init__(self) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=self._main)
        self._process.start()

    def _main(self) -> None:
        os.setsid()
        os.chdir(self.folder)
        os.environ["TMPDIR"] = str(self.folder)
        os.environ["OMP_NUM_THREADS"] = "1"
        silence = os.open(self.folder / ".said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(int(self.work() or 0))

    def killed(self, seconds: float) -> bool:
        """Kill it after a while; whether it still ran."""
        self._process.join(seconds)
        if not self._process.is_alive():
            return False
        os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        return True

    def end(self) -> int | None:
        """Let it come to its end; the exit code."""
        self._process.join()
        return self._process.exitcode


def fits(name: str, folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """Training of one of :data:`FITS`.

    Args:
        name: of it.
        folder: for both runs.
        kills: how many.
        seed: of the moments.
    """
    kind, moments = f"SIGKILL in the training of {name}", random.Random(seed)
    arguments = ["fit", DIGITS, *FITS[name], CPU]
    whole, disturbed = folder / "whole", folder / "disturbed"
    for place in (whole, disturbed):
        place.mkdir(parents=True)
        assert _call(place, ["fit", DIGITS, "--config=victims/comvc.yaml", "--trainer.max_epochs=2", CPU]).end() == 0
    begun = time.monotonic()
    assert _call(whole, arguments).end() == 0
    lasts = time.monotonic() - begun
    count, reached = 0, -1
    while count < kills:
        own = _own(disturbed)
        run = _call(disturbed, [*arguments, "--ckpt_path=last"] if own else arguments)
        if not run.killed(moments.uniform(0.1, lasts / 2)):
            if run.end():
                yield Trial(kind, f"kill {count}", "what was gone on with failed: " + (disturbed / ".said").read_text()[-300:])
                return
            yield Trial(kind, "at an end", "" if _parameters(whole) == _parameters(disturbed) else "other parameters")
            for path in _own(disturbed):  # it came to its end: from the beginning
                path.unlink()
            reached = -1
            continue
        count += 1
        epochs = [_epoch(path) for path in _own(disturbed)]
        said = (disturbed / ".said").read_text(errors="replace")
        fault = "a checkpoint cannot be read" if None in epochs else ""
        if begun_at := re.search(r"ardmvc: epoch (\d+) of", said):
            fault = fault or (
                "" if int(begun_at[1]) == reached + 2 else f"{reached + 1} epochs were kept, then came {begun_at[0]}"
            )
        reached = max([reached, *(epoch for epoch in epochs if epoch is not None)])
        yield Trial(kind, f"kill {count}", fault)
    code = _call(disturbed, [*arguments, "--ckpt_path=last"] if _own(disturbed) else arguments).end()
    same = code == 0 and _parameters(whole) == _parameters(disturbed)
    yield Trial(kind, "in the end", "" if same else "other parameters than undisturbed")


def benchmarks(workers: int, folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """A grid of two victims, a student of each and two seeds: 16 jobs.

    Args:
        workers: processes that share it.
        folder: for both runs.
        kills: how many.
        seed: of the moments.
    """
    kind, moments = f"SIGKILL in a benchmark, {workers} worker{'s' * (workers > 1)}", random.Random(seed)
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(json.dumps(GRID))
    call = ["benchmark", "--config=grid.yaml", f"--workers={workers}"]
    begun = time.monotonic()
    assert _call(folder, [*call, "--output=whole"]).end() == 0
    lasts, count = time.monotonic() - begun, 0
    done: dict[Path, int] = {}
    while count < kills:
        run = _call(folder, [*call, "--output=disturbed"])
        if not run.killed(moments.uniform(0.1, lasts / 2)):
            if run.end():
                yield Trial(kind, f"kill {count}", "what was gone on with failed: " + (folder / ".said").read_text()[-300:])
                return
            shutil.rmtree(folder / "disturbed")  # it came to its end: from the beginning
            done = {}
            continue
        count += 1
        before, done = done, _done(folder / "disturbed")
        changed = [path.stem for path, moment in before.items() if done.get(path) != moment]
        yield Trial(kind, f"kill {count}, {len(done)} jobs done", f"lost or done again: {changed}" if changed else "")
    code = _call(folder, [*call, "--output=disturbed"]).end()
    tables = [(folder / name / "results.csv").read_bytes() for name in ("whole", "disturbed")]
    yield Trial(kind, "in the end", "" if code == 0 and tables[0] == tables[1] else "another table than undisturbed")


def estimator(folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """Fitting and saving :class:`MultiViewClustering`, over and over in one process."""
    kind, moments = "SIGKILL in the estimator", random.Random(seed)
    views = [np.random.default_rng(0).normal(size=(90, width)) + np.arange(90)[:, None] % 3 * 4 for width in (4, 6)]

    def work(times: int = 1000) -> int:
        for _ in range(times):
            model = MultiViewClustering(3, epochs=2, random_state=0, accelerator="cpu").fit(views)
            model.save("model.ckpt")
        return 0

    folder.mkdir(parents=True)
    once = _Process(folder, lambda: work(1))
    assert once.end() == 0
    whole = MultiViewClustering.load(folder / "model.ckpt").predict(views)
    (folder / "model.ckpt").unlink()
    path, there = folder / "model.ckpt", False
    for count in range(1, kills + 1):
        assert _Process(folder, work).killed(moments.uniform(0.05, 4))
        fault = "what was saved is gone" if there and not path.exists() else ""
        if there := path.exists():
            try:
                fault = "" if np.array_equal(MultiViewClustering.load(path).predict(views), whole) else "predicts otherwise"
            except CheckpointError as error:
                fault = str(error)
        yield Trial(kind, f"kill {count}", fault)
    assert _Process(folder, lambda: work(1)).end() == 0
    same = np.array_equal(MultiViewClustering.load(folder / "model.ckpt").predict(views), whole)
    yield Trial(kind, "in the end", "" if same else "predicts otherwise than undisturbed")


def _call(folder: Path, arguments: Sequence[str]) -> _Process:
    return _Process(folder, lambda: main(arguments))


def _own(folder: Path) -> list[Path]:
    """Checkpoints, but the victim's, oldest first."""
    found = [path for path in folder.glob("runs/*/*/checkpoints/*.ckpt") if path != folder / VICTIM]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _epoch(path: Path) -> int | None:
    try:
        return int(read_checkpoint(path)["epoch"])
    except CheckpointError:
        return None


def _parameters(folder: Path) -> dict[str, bytes]:
    state = read_checkpoint(_own(folder)[-1])["state_dict"]
    return {name: value.numpy().tobytes() for name, value in state.items() if isinstance(value, torch.Tensor)}


def _done(output: Path) -> dict[Path, int]:
    """The records of jobs that are done, with the moment that each was written."""
    records = {path: json.loads(path.read_text()) for path in output.glob("*/seed_*/*.json")}
    return {path: path.stat().st_mtime_ns for path, record in records.items() if record.get("done")}
