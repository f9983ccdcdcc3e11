"""What SIGKILL at random moments does to training: run, kill, go on, compare.

    python -m benchmarks.killed_fits
    python -m benchmarks.killed_fits --kills 2 --only attacker

A victim with stages, an attacker, a defender whose attacks start warm and a student with a teacher train once undisturbed,
then under kills, each at a random moment from the first seconds to the last; what is killed goes on with ``--ckpt_path last``,
or starts again where nothing was left to go on from. Printed are the checkpoints that could not be read after a kill, and
whether the parameters end bit for bit the same.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.errors import CheckpointError

DIGITS = "--config=data/digits.yaml"
VICTIM = "runs/comvc/version_0/checkpoints/last.ckpt"
TRAINED_BEFORE = ("--config=victims/comvc.yaml", DIGITS, "--trainer.max_epochs=2")
FITS = {
    "victim with stages": (
        "--config=victims/aecoddc.yaml",
        DIGITS,
        "--model.clusterer.pretraining_epochs=5",
        "--trainer.max_epochs=20",
    ),
    "attacker": ("--config=attackers/gan.yaml", DIGITS, f"--model.victim={VICTIM}", "--trainer.max_epochs=15"),
    "defender with warm starts": (
        "--config=defenders/robust_joint.yaml",
        DIGITS,
        "--model.warm_start=true",
        "--trainer.max_epochs=12",
    ),
    "student with a teacher": (
        "--config=defenders/robust.yaml",
        DIGITS,
        f"--model.teacher={VICTIM}",
        "--model.warm_start=true",
        "--trainer.max_epochs=10",
    ),
}


def main() -> None:
    """Go through all of them, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", choices=[name.split()[0] for name in FITS], help="one of them")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    for name, arguments in FITS.items():
        if options.only in (None, name.split()[0]):
            print(f"{name}: {_tried(arguments, options.kills, moments)}", flush=True)


def _tried(arguments: tuple[str, ...], kills: int, moments: random.Random) -> str:
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        whole, disturbed = Path(first), Path(second)
        for folder in (whole, disturbed):
            _start(folder, TRAINED_BEFORE).wait()
        begun = time.monotonic()
        if _start(whole, arguments).wait():
            sys.exit("training that was left alone failed")
        lasts = time.monotonic() - begun
        unreadable, killed = 0, 0
        while True:
            resumes = ("--ckpt_path=last",) if _own_checkpoints(disturbed) else ()
            process = _start(disturbed, (*arguments, *resumes))
            try:
                code = process.wait(moments.uniform(1, lasts) if killed < kills else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                unreadable += sum(not _is_whole(path) for path in _own_checkpoints(disturbed))
                continue
            if code:
                return f"{killed} kills, then it FAILED with {code}"
            if killed == kills:
                break
            for path in _own_checkpoints(disturbed):  # it came to its end between two kills: from the beginning
                path.unlink()
        same = _parameters(whole) == _parameters(disturbed)
        return f"{killed} kills, {unreadable} checkpoints unreadable, parameters {'the same' if same else 'OTHERS'}"


def _start(folder: Path, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ar_dmvc", "fit", *arguments, "--trainer.accelerator=cpu"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **silent)  # type: ignore[call-overload,no-any-return]


def _own_checkpoints(folder: Path) -> list[Path]:
    """All but the victim's, oldest first."""
    found = [path for path in folder.glob("runs/*/*/checkpoints/*.ckpt") if path != folder / VICTIM]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _is_whole(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _parameters(folder: Path) -> dict[str, bytes]:
    state = read_checkpoint(_own_checkpoints(folder)[-1])["state_dict"]
    return {name: value.numpy().tobytes() for name, value in state.items() if isinstance(value, torch.Tensor)}


if __name__ == "__main__":
    main()
