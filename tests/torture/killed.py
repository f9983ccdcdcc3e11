"""SIGKILL at random moments of training, of benchmarks and of the estimator: run, kill, run again, compare.

What is left alone and what was killed have to end bit for bit the same, with the same measurements of every epoch; a checkpoint
that is there can be read, and is never of an earlier epoch than before; a benchmark's job that was done stays done.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

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
    "seeds": [0],
    "clusterers": {name: [f"{CONFIGS}/victims/{name}.yaml", "--trainer.max_epochs=8"] for name in ("simvc", "comvc")},
    "defences": {"taught": [f"{CONFIGS}/defenders/robust.yaml", "--model.teacher={victim}", "--trainer.max_epochs=2"]},
    "attacks": [
        "--model.attacks={pgd: {class_path: PGD, init_args: {objective: cross_entropy, steps: 3}}}",
        "--trainer.limit_test_batches=1",
    ],
}


JOBS = 8
"""Of the grid."""
_BEGAN = re.compile(r"^\[\d+/\d+\] (?!.*(?:: already done,| failed: ))(.+)$", re.MULTILINE)
"""A line of a benchmark that begins a job."""


@dataclass
class _Process:
    """Work in a forked process that leads a group of its own, so that all that it starts dies with it."""

    folder: Path
    work: Callable[[], Any]
    said: str = ".said"

    def __post_init__(self) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=self._main)
        self._process.start()

    def _main(self) -> None:
        os.setsid()
        os.chdir(self.folder)
        os.environ["TMPDIR"] = str(self.folder)
        os.environ["OMP_NUM_THREADS"] = "1"
        silence = os.open(self.folder / self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(int(self.work() or 0))

    def killed(self, seconds: float, which: Literal["all", "parent", "child"] = "all") -> bool:
        """Kill it after a while, all of it, or one process only; whether it still ran."""
        self._process.join(seconds)
        pid = self._process.pid or 0
        if not self._process.is_alive():
            return False
        if which == "all":
            os.killpg(pid, signal.SIGKILL)
        elif which == "parent":
            os.kill(pid, signal.SIGKILL)
        else:
            workers = _workers(pid)
            if not workers:  # they have not started yet, or have ended
                return False
            os.kill(workers[int(seconds * 1000) % len(workers)], signal.SIGKILL)
        if which != "child":
            self._process.join()
        return True

    def leaves_nothing(self, seconds: float) -> bool:
        """Whether all that it started ends within some time; the rest is killed."""
        begun = time.monotonic()
        while left := _group(self._process.pid or 0):
            if time.monotonic() > begun + seconds:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return False
            time.sleep(0.05)
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
            yield Trial(kind, "at an end", _difference(whole, disturbed))
            for path in {path.parents[2] for path in _own(disturbed)}:  # it came to its end: from the beginning
                shutil.rmtree(path)
            reached = -1
            continue
        count += 1
        epochs = [_epoch(path) for path in _own(disturbed)]
        said = (disturbed / ".said").read_text(errors="replace")
        fault = "a checkpoint cannot be read" if None in epochs else _unreadable(disturbed)
        if begun_at := re.search(r"ardmvc: epoch (\d+) of", said):
            fault = fault or (
                "" if int(begun_at[1]) == reached + 2 else f"{reached + 1} epochs were kept, then came {begun_at[0]}"
            )
        reached = max([reached, *(epoch for epoch in epochs if epoch is not None)])
        yield Trial(kind, f"kill {count}", fault)
    code = _call(disturbed, [*arguments, "--ckpt_path=last"] if _own(disturbed) else arguments).end()
    yield Trial(kind, "in the end", f"exit code {code}" if code else _difference(whole, disturbed))


def starts(folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """Training from three seeds, of which one is kept; the same command goes on with it.

    Args:
        folder: for both runs.
        kills: how many.
        seed: of the moments.
    """
    kind, moments = "SIGKILL in the training of the best of three starts", random.Random(seed)
    arguments = ["fit", DIGITS, "--config=victims/comvc.yaml", "--trainer.max_epochs=6", "--starts=3", CPU]
    whole, disturbed = folder / "whole", folder / "disturbed"
    for place in (whole, disturbed):
        place.mkdir(parents=True)
    begun = time.monotonic()
    assert _call(whole, arguments).end() == 0
    lasts = time.monotonic() - begun
    count, done = 0, dict[Path, int]()
    while count < kills:
        run = _call(disturbed, arguments)
        if not run.killed(moments.uniform(0.1, lasts / 2)):
            yield Trial(
                kind, "at an end", f"failed: {(disturbed / '.said').read_text()[-300:]}" if run.end() else _kept_other(folder)
            )
            shutil.rmtree(disturbed / "runs")  # from the beginning
            done = {}
            continue
        count += 1
        before, done = done, _recorded_done(disturbed.glob("runs/starts/*.json"))
        changed = [path.stem for path, moment in before.items() if done.get(path) != moment]
        unreadable = None in map(_epoch, disturbed.glob("runs/*/*/checkpoints/*.ckpt"))
        fault = f"lost or done again: {changed}" if changed else "a checkpoint cannot be read" * unreadable
        yield Trial(kind, f"kill {count}, {len(done)} starts done", fault)
    code = _call(disturbed, arguments).end()
    yield Trial(kind, "in the end", f"exit code {code}" if code else _kept_other(folder))


def _kept_other(folder: Path) -> str:
    """Whether another run was kept than undisturbed."""
    found = [(folder / name).glob("runs/comvc/*/checkpoints/last.ckpt") for name in ("whole", "disturbed")]
    kept = [max(paths, key=lambda path: path.stat().st_mtime_ns) for paths in found]
    if _weights(kept[0]) != _weights(kept[1]):
        return "another run was kept than undisturbed"
    once, often = [_measured_in(path.parents[1].glob("metrics*.csv")) for path in kept]
    return "" if once == often else "other measurements than undisturbed"


def benchmarks(workers: int, folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """A grid of two victims and a student of each, trained and tested: 8 jobs.

    Args:
        workers: processes that share it.
        folder: for both runs.
        kills: how many.
        seed: of the moments.
    """
    kind, moments = f"SIGKILL in a benchmark, {workers} worker{'s' * (workers > 1)}", random.Random(seed)
    lasts, call = _undisturbed(folder, workers)
    count, done = 0, dict[Path, int]()
    while count < kills:
        run = _call(folder, [*call, "--output=disturbed"])
        if not run.killed(moments.uniform(0.1, lasts / (4 if workers == 1 else 2))):
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
    yield Trial(kind, "in the end", f"exit code {code}" if code else _other_table(folder, "disturbed"))


def workers(folder: Path, times: int, seed: int = 0) -> Iterator[Trial]:
    """Two workers on a grid, of which one is killed, or the process that started them."""
    moments = random.Random(seed)
    lasts, call = _undisturbed(folder, 2)
    for number in range(times):
        for which in ("parent", "child"):
            name = f"{which}_{number}"
            while True:
                run = _call(folder, [*call, f"--output={name}"], f"{name}.said")
                if run.killed(moments.uniform(0.2, 0.9) * lasts, which):  # type: ignore[arg-type]
                    break
                run.end()
                shutil.rmtree(folder / name, ignore_errors=True)
            fault = "" if which == "child" or run.leaves_nothing(10) else "its workers went on for 10 s"
            code, done = run.end(), _done(folder / name)
            again = _call(folder, [*call, f"--output={name}"], f"{name}_again.said").end()
            changed = [path.stem for path, moment in done.items() if _done(folder / name).get(path) != moment]
            fault = fault or _other_table(folder, name) or (f"done again: {changed}" if changed else "")
            fault = fault or (f"exit code {code}, then {again}" if again or (which == "child" and code not in (0, 1)) else "")
            kind = f"SIGKILL of {'one of two workers' if which == 'child' else 'the process that started two workers'}"
            yield Trial(kind, f"{name}, {len(done)} jobs done, exit code {code}", fault)


def together(folder: Path, times: int, seed: int = 0) -> Iterator[Trial]:
    """Two benchmarks on one folder; of every second pair one is killed."""
    moments = random.Random(seed)
    lasts, call = _undisturbed(folder)
    for number in range(times):
        names = [f"{number}_{name}.said" for name in ("first", "second")]
        runs = [_call(folder, [*call, f"--output=shared_{number}"], name) for name in names]
        victim = number // 2 % 2
        kills = number % 2 == 1 and runs[victim].killed(moments.uniform(0.1, 0.45) * lasts)
        codes = [run.end() for run in runs]
        began = [_BEGAN.findall((folder / name).read_text()) for name in names]
        fault = _other_table(folder, f"shared_{number}")
        if kills:
            fault = fault or (f"exit codes {codes}" if codes[1 - victim] else "")
        else:
            fault = fault or (f"exit codes {codes}" if any(codes) else "")
            fault = fault or (f"done by both: {twice}" if (twice := set(began[0]) & set(began[1])) else "")
            fault = fault or (f"{len(began[0])} and {len(began[1])} jobs of {JOBS}" if sum(map(len, began)) != JOBS else "")
        kind = f"two benchmarks on one folder{', one of them killed' if kills else ''}"
        yield Trial(kind, f"{len(began[0])} and {len(began[1])} jobs, exit codes {codes}", fault)


def both(folder: Path, kills: int, seed: int = 0) -> Iterator[Trial]:
    """Two benchmarks on one folder, both killed, each at a moment of its own, and begun again."""
    kind, moments = "SIGKILL of both of two benchmarks on one folder", random.Random(seed)
    lasts, call = _undisturbed(folder)
    count, done = 0, dict[Path, int]()
    while count < kills:
        names = [f"{count}_{name}.said" for name in ("first", "second")]
        runs = [_call(folder, [*call, "--output=disturbed"], name) for name in names]
        for run in moments.sample(runs, 2):
            if not run.killed(moments.uniform(0.1, lasts / 4)):
                yield from [Trial(kind, f"kill {count}", "what was gone on with failed")] if run.end() else []
                continue
            count += 1
            before, done = done, _done(folder / "disturbed")
            changed = [path.stem for path, moment in before.items() if done.get(path) != moment]
            yield Trial(kind, f"kill {count}, {len(done)} jobs done", f"lost or done again: {changed}" if changed else "")
        if len(done) == JOBS:  # from the beginning
            shutil.rmtree(folder / "disturbed")
            done = {}
    runs = [_call(folder, [*call, "--output=disturbed"], f"{name}.said") for name in ("last", "last_too")]
    codes = [run.end() for run in runs]
    began = [job for name in ("last", "last_too") for job in _BEGAN.findall((folder / f"{name}.said").read_text())]
    twice = len(began) - len(set(began))
    fault = f"exit codes {codes}" if any(codes) else f"{twice} jobs done by both" if twice else ""
    yield Trial(kind, "in the end", fault or _other_table(folder, "disturbed"))


def _undisturbed(folder: Path, workers: int = 1) -> tuple[float, list[str]]:
    """How long the grid takes, left alone, and how it is called; its table is in ``whole``."""
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(json.dumps(GRID))
    call = ["benchmark", "--config=grid.yaml", f"--workers={workers}"]
    begun = time.monotonic()
    assert _call(folder, [*call, "--output=whole"]).end() == 0
    return time.monotonic() - begun, call


def _other_table(folder: Path, name: str) -> str:
    tables = [path.read_bytes() if (path := folder / one / "results.csv").exists() else b"" for one in ("whole", name)]
    return "" if tables[0] == tables[1] else "another table than undisturbed"


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
        assert _Process(folder, work).killed(moments.uniform(0.05, 2.5))
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


def _call(folder: Path, arguments: Sequence[str], said: str = ".said") -> _Process:
    return _Process(folder, lambda: main(arguments), said)


def _workers(pid: int) -> list[int]:
    """The processes that share a benchmark: copies of one that its process started, or its own children."""
    found = []
    for child in _children(pid):
        with suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            found += [child] * (b"spawn_main" in command) + _children(child) * (b"forkserver" in command)
    return found


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _group(leader: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group, *_ = path.read_text().rpartition(")")[2].split()
            if int(group) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


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
    return _weights(_own(folder)[-1])


def _weights(path: Path) -> dict[str, bytes]:
    state = read_checkpoint(path)["state_dict"]
    return {name: value.numpy().tobytes() for name, value in state.items() if isinstance(value, torch.Tensor)}


def _difference(whole: Path, disturbed: Path) -> str:
    """Of what was killed from what was not: parameters, and what was measured in every epoch."""
    if _parameters(whole) != _parameters(disturbed):
        return "other parameters than undisturbed"
    once, often = _measured(whole), _measured(disturbed)
    assert once
    odd = sorted(key for key in {**once, **often} if once.get(key) != often.get(key))
    return f"measurements lost, or others: {odd[:3]}" if odd else ""


def _measured(folder: Path) -> dict[tuple[str, str], set[str]]:
    """What the runs of a folder measured, but the victim's, by epoch and name."""
    return _measured_in({path.parents[1] / "metrics.csv" for path in _own(folder)})


def _measured_in(paths: Iterable[Path]) -> dict[tuple[str, str], set[str]]:
    found = defaultdict[tuple[str, str], set[str]](set)
    for path in paths:
        for row in csv.DictReader(path.read_text().splitlines() if path.exists() else []):
            for name, value in row.items():
                if value and name != "step":
                    found[row["epoch"], name].add(value)
    return found


def _unreadable(folder: Path) -> str:
    """A configuration or table of measurements that is no whole one."""
    for path in folder.glob("runs/*/*/config.yaml"):
        if not path.read_text().endswith("\n") or not isinstance(yaml.safe_load(path.read_text()), dict):
            return f"{path.name} is a part"
    for path in folder.glob("runs/*/*/metrics.csv"):
        lines = path.read_text().splitlines(keepends=True)
        if any(not line.endswith("\n") or line.count(",") != lines[0].count(",") for line in lines):
            return "metrics.csv is a part"
    return ""


def _done(output: Path) -> dict[Path, int]:
    """The records of jobs that are done, with the moment that each was written."""
    return _recorded_done(output.glob("*/seed_*/*.json"))


def _recorded_done(paths: Iterable[Path]) -> dict[Path, int]:
    records = {path: json.loads(path.read_text()) for path in paths}
    return {path: path.stat().st_mtime_ns for path, record in records.items() if record.get("done")}
