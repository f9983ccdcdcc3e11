"""A run that logs to Weights & Biases, offline; what wandb itself wrote is read back."""

import csv
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from tests.conftest import ONE_STEP, fit_arguments

_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32768, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Record]:
    """The records of a .wandb file, which is a LevelDB log: checksum, length and kind before each piece."""
    content, position, pieces = path.read_bytes(), _FILE_HEADER, b""
    while position + _RECORD_HEADER <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _RECORD_HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        start = position + _RECORD_HEADER
        pieces = content[start : start + length] if kind in (_FULL, _FIRST) else pieces + content[start : start + length]
        position = start + length
        if kind in (_FULL, _LAST):
            yield Record.FromString(pieces)


def logged(folder: Path, *arguments: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A command that logs offline: W&B's file, the configuration in it, and what was logged last."""
    command = [sys.executable, "-m", "ar_dmvc", *arguments]
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr

    (file,) = folder.glob("runs/wandb/offline-run-*/*.wandb")
    config: dict[str, Any] = {}
    history: dict[str, Any] = {}
    for record in read_records(file):
        for update in record.config.update:
            config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        for item in record.history.item:
            history[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return file, config, history


def test_configuration_losses_metrics_and_a_picture_are_logged(victim: Path, tmp_path: Path) -> None:
    arguments = fit_arguments("attackers/gan.yaml", "data/digits.yaml", "loggers/wandb.yaml")
    file, config, history = logged(tmp_path, *arguments, f"--model.victim={victim}", "--trainer.max_epochs=1")
    assert config["model"]["class_path"] == "ar_dmvc.modules.GANAttacker"
    assert config["data"]["init_args"]["partition"] == "attacker"
    assert {"train/discriminator", "train/perturbation", "train/attack", "val/nmi", "val/attacked/acc"} <= set(history)
    assert history["pictures/attack/_type"].startswith("images")
    assert list(file.parent.glob("files/media/images/**/*.png"))
    folder = tmp_path / "runs" / "with_wandb" / "version_0"
    assert {"config.yaml", "metrics.csv", "checkpoints", "pictures"} <= {path.name for path in folder.iterdir()}


def test_of_several_starts_the_one_that_was_kept(tmp_path: Path) -> None:
    arguments = fit_arguments("victims/comvc.yaml", "data/digits.yaml", "loggers/wandb.yaml")
    _, config, history = logged(tmp_path, *arguments, *ONE_STEP, "--starts=2")
    assert config["starts"] == 2
    with (tmp_path / "runs/with_wandb/version_0/metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert history["train/loss"] == pytest.approx(losses[-1])
    assert {"val/acc", "val/nmi", "val/ari"} <= history.keys()


@pytest.mark.parametrize("trouble", ["nobody is logged in", "it never answers"])
def test_a_service_that_cannot_be_used_stops_no_run(trouble: str, tmp_path: Path) -> None:
    fit = [*fit_arguments("victims/simvc.yaml", "data/digits.yaml", "loggers/wandb.yaml"), "--trainer.max_epochs=1"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = {
        **kept,
        "HOME": str(tmp_path),
        "WANDB_INIT_TIMEOUT": "2",
        "WANDB_ERROR_REPORTING": "false",
        "OMP_NUM_THREADS": "1",
    }
    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        silent.listen()
        if trouble == "it never answers":
            environment |= {"WANDB_BASE_URL": f"http://localhost:{silent.getsockname()[1]}", "WANDB_API_KEY": "0" * 40}
        command = [sys.executable, "-m", "ar_dmvc", *fit]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "ardmvc: W&B cannot be used" in run.stderr
    assert list(tmp_path.glob("runs/wandb/offline-run-*/*.wandb"))
    assert (tmp_path / "runs/with_wandb/version_0/checkpoints/last.ckpt").is_file()
