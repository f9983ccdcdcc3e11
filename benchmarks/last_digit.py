"""``python -m benchmarks.last_digit``: what changes a training's last digits, though its seed is the same, and by how much.

CoMVC on Digits with one thread, and with two, on two processes, in 64 bits, of another seed; on a GPU, where there is one; with
``--python``, with other versions of what is installed. Printed are the largest difference of parameters after a step and after
the last epoch, relative to the largest of each tensor, the share of samples in other clusters (matched), and ACC.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.data import Digits
from ar_dmvc.metrics import ClusterAccuracy

FIT = ("fit", "--config=victims/comvc.yaml", "--config=data/digits.yaml")
ON_CPU, ON_GPU = "--trainer.accelerator=cpu", "--trainer.accelerator=gpu"
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "one thread": ("1", ()),
    "the same again": ("1", ()),
    "two threads": ("2", ()),
    "two processes": ("1", ("--trainer.devices=2",)),
    "64-bit": ("1", ("--trainer.precision=64-true",)),
    "another seed": ("1", ("--seed_everything=1",)),
}


def main() -> None:
    """Train each way, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--python", nargs="*", default=[], help="of other environments, in which this package is installed")
    options = parser.parse_args()
    ways = {name: (sys.executable, threads, (ON_CPU, *more)) for name, (threads, more) in WAYS.items()}
    if torch.cuda.is_available():
        ways |= dict.fromkeys(("a GPU", "a GPU again"), (sys.executable, "1", (ON_GPU,)))
    ways |= {f"torch {_torch_of(python)} instead of {torch.__version__}": (python, "1", (ON_CPU,)) for python in options.python}
    with TemporaryDirectory() as folder:
        runs = {}
        for number, (name, (python, threads, more)) in enumerate(ways.items()):
            place = Path(folder, str(number))
            place.mkdir()
            step = _trained(place / "step", python, threads, [*more, "--trainer.max_steps=1"])
            last = _trained(place / "last", python, threads, [*more, f"--trainer.max_epochs={options.epochs}"])
            runs[name] = (*map(_parameters, (step, last)), *_clusters(place, last))
    print(f"| | after a step | after {options.epochs} epochs | samples in other clusters | ACC |")
    print("| --- " * 5 + "|")
    one = runs["one thread"]
    for name, (step, last, clusters, labels) in runs.items():
        away = 1 - _agreement(clusters, one[2])
        accuracy = _agreement(clusters, labels)
        print(f"| {name} | {_apart(step, one[0]):.0e} | {_apart(last, one[1]):.0e} | {away:.1%} | {accuracy:.3f} |")


def _torch_of(python: str) -> str:
    version = "import torch; print(torch.__version__)"
    return subprocess.run([python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()


def _trained(folder: Path, python: str, threads: str, arguments: list[str]) -> Path:
    _run(python, [*FIT, *arguments, f"--trainer.logger.save_dir={folder}"], threads)
    return next(folder.rglob("last.ckpt"))


def _clusters(folder: Path, checkpoint: Path) -> tuple[torch.Tensor, torch.Tensor]:
    _run(sys.executable, ["predict", f"--ckpt_path={checkpoint}", f"--trainer.logger.save_dir={folder / 'predict'}"], "1")
    rows = np.genfromtxt(next(folder.rglob("predictions.csv")), delimiter=",", names=True)
    labels = Digits().data.labels
    assert labels is not None
    return torch.as_tensor(rows["cluster"].astype(int)), labels[rows["index"].astype(int)]


def _run(python: str, arguments: list[str], threads: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    command = [python, "-m", "ar_dmvc", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _parameters(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {name: value.double() for name, value in read_checkpoint(checkpoint)["state_dict"].items()}


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    scales = {name: value.abs().max().clamp(min=1e-12) for name, value in other.items()}
    return max(float((value - other[name]).abs().max() / scales[name]) for name, value in one.items())


def _agreement(clusters: torch.Tensor, others: torch.Tensor) -> float:
    metric = ClusterAccuracy()
    metric.update(clusters, others)
    return float(metric.compute())


if __name__ == "__main__":
    main()
