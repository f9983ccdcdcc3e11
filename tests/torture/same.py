"""The same seed gives the same bits: every clusterer, defence and attack, again, with other loaders, resumed, in any order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.cli import main
from tests.conftest import CONFIGS, QUIET, VICTIMS, fit_arguments
from tests.torture import Trial
from tests.torture.watched import watched

DIGITS = "data/digits.yaml"
FEW = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1")
STAGES = {
    "aecoddc": ("--model.clusterer.pretraining_epochs=1",),
    "infoddc": ("--model.clusterer.pretraining_epochs=1",),
    "multi_vae": ("--model.clusterer.starts=2",),
    "sem": (
        "--model.clusterer.pretraining_epochs=1",
        "--model.clusterer.rounds=1",
        "--model.clusterer.round_epochs=1",
        "--model.clusterer.starts=2",
        "--model.clusterer.features=16",
    ),
}
WITH_TEACHER = ("robust", "smoothed", "purified")
LOADED = "--data.num_workers=2"
STOP, STOP_WITHIN = (f"--trainer.callbacks+=tests.torture.same.Stops{how}" for how in ("AfterOneEpoch", "WithinAnEpoch"))


class StopsAfterOneEpoch(Callback):
    """As a cut between two epochs does."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True


class StopsWithinAnEpoch(Callback):
    """As a scheduler does that takes the machine away: with SIGTERM, after the first batch of the second epoch."""

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGTERM)


def trials(checkpoint: Path, folder: Path, only: Sequence[str] = ()) -> Iterator[Trial]:
    """Do everything again.

    Args:
        checkpoint: of a clusterer that has learned.
        folder: for all of it.
        only: names of configurations; all of them by default.
    """
    fits = {name: (*fit_arguments(f"victims/{name}.yaml", DIGITS), *STAGES.get(name, ())) for name in VICTIMS}
    fits["gan"] = (*fit_arguments("attackers/gan.yaml", DIGITS), f"--model.victim={checkpoint}")
    for path in sorted(CONFIGS.glob("defenders/*.yaml")):
        teacher = (f"--model.teacher={checkpoint}",) if path.stem in WITH_TEACHER else ()
        fits[path.stem] = (*fit_arguments(f"defenders/{path.name}", DIGITS), *teacher)
    for name, fit in fits.items():
        if not only or name in only:
            yield from _trained_again(name, fit, folder / name)
    if not only or "attacks" in only:
        yield from _attacked_again(checkpoint, folder / "attacks")
    if not only or "benchmark" in only:
        yield from _in_another_order(folder / "benchmark")


def _trained_again(name: str, fit: Sequence[str], folder: Path) -> Iterator[Trial]:
    """Training of two epochs."""
    command = [*fit, *FEW, "--trainer.max_epochs=2"]
    whole = _parameters(folder / "whole", command)
    ways: dict[str, Sequence[Sequence[str]]] = {
        "again": [command],
        "with two processes that load": [[*command, LOADED]],
        "resumed": [[*command, STOP], [*command, "--ckpt_path=last"]],
        "resumed within an epoch": [[*command, STOP_WITHIN], [*command, "--ckpt_path=last"]],
    }
    for way, commands in ways.items():
        other = _parameters(folder / way.replace(" ", "_"), *commands)
        yield Trial("training, the same bits", f"{name}, {way}", _difference(whole, other))


def _parameters(folder: Path, *commands: Sequence[str]) -> dict[str, bytes] | str:
    """Those in the end, or what went wrong."""
    here = folder / "here"
    here.mkdir(parents=True)
    for command in commands:
        code, err = _called(here, command)
        if code != (130 if STOP_WITHIN in command else 0):
            return f"exit code {code}: {err[-300:]}"
    last = max(here.glob("runs/*/*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    state = read_checkpoint(last)["state_dict"]
    return {key: value.numpy().tobytes() for key, value in state.items() if isinstance(value, torch.Tensor)}


def _called(folder: Path, command: Sequence[str]) -> tuple[int | None, str]:
    """Exit code and errors of a command; what forks loaders starts afresh: torch's threads do not outlive a fork of a fork."""
    if LOADED in command:
        afresh = [sys.executable, "-W", "ignore", "-m", "ar_dmvc", *command]
        threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run(afresh, cwd=folder, env=threads, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr
    outcome = watched(folder, lambda: main(command), seconds=300)
    return outcome.code, outcome.err


def _difference(one: dict[str, bytes] | str, other: dict[str, bytes] | str) -> str:
    if isinstance(one, str) or isinstance(other, str):
        return f"failed: {one if isinstance(one, str) else other}"
    odd = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return f"others: {odd[:3]}" if odd or not one else ""


def _attacked_again(checkpoint: Path, folder: Path) -> Iterator[Trial]:
    """Every attack that the package has a configuration of, in suites."""
    for suite in sorted(CONFIGS.glob("attacks/*.yaml")):
        few = ["--trainer.limit_test_batches=1", "--data.batch_size=20", *QUIET]
        command = ["test", f"--ckpt_path={checkpoint}", f"--config={suite}", *few]
        found = []
        for number, more in enumerate(([], [], [LOADED])):
            here = folder / suite.stem / str(number)
            here.mkdir(parents=True)
            code, err = _called(here, [*command, *more])
            found.append({"failed": err[-300:].encode()} if code else _rows(here))
        for way, rows in zip(("again", "with two processes that load"), found[1:], strict=True):
            odd = [name for name in found[0] if found[0][name] != rows.get(name)]
            yield Trial(
                "attacks, the same rows", f"{suite.stem}, {way}", f"others: {odd[:3]}" if odd or "failed" in rows else ""
            )


def _rows(folder: Path) -> dict[str, bytes]:
    with np.load(next(folder.rglob("robustness_rows.npz")), allow_pickle=False) as rows:
        return {name: rows[name].tobytes() for name in rows.files}


def _in_another_order(folder: Path) -> Iterator[Trial]:
    """A grid forwards, backwards, and with two workers."""
    names = ("simvc", "comvc", "kmeans")
    few = ["--trainer.max_epochs=1", *FEW]
    grid = {
        "data": [f"{CONFIGS}/{DIGITS}"],
        "attacks": [f"{CONFIGS}/attacks/standard.yaml", "--trainer.limit_test_batches=1", "--data.batch_size=20"],
        "training": few,
    }
    folder.mkdir(parents=True)
    tables = {}
    for way, order, seeds in (("forwards", names, [0, 1]), ("backwards", names[::-1], [1, 0]), ("two", names, [0, 1])):
        clusterers = {name: [f"{CONFIGS}/victims/{name}.yaml"] for name in order}
        (folder / f"{way}.yaml").write_text(json.dumps({**grid, "clusterers": clusterers, "seeds": seeds}))
        workers = "2" if way == "two" else "1"
        call = ["benchmark", f"--config={way}.yaml", f"--output={way}", f"--workers={workers}"]
        outcome = watched(folder, lambda call=call: main(call), seconds=300)  # type: ignore[misc]
        path = folder / way / "results.csv"
        tables[way] = sorted(path.read_text().splitlines()) if path.exists() else [outcome.err]
    for way in ("backwards", "two"):
        same = tables[way] == tables["forwards"] and len(tables[way]) > len(names)
        yield Trial(
            "benchmarks, the same table", f"{way} of {len(tables['forwards'])} rows", "" if same else str(tables[way][:3])
        )
