"""``python -m benchmarks.starts``: does the lowest loss find the better clusters? Each clusterer on Digits from several seeds.

Appends loss and ACC of each run to a CSV, does those that are missing, then prints the table: ACC of a single run, of the best
of five by loss (mean and standard deviation over all choices of five), the highest of all, and the rank correlation of loss and
ACC. Settings are those of ``configs/benchmark/digits_victims.yaml``; ACC is on the attackers' half.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

from scipy.stats import spearmanr

from ar_dmvc import api
from ar_dmvc.settings import find_file, load_yaml

GRID = load_yaml(find_file("benchmark/digits_victims.yaml").read_text())["clusterers"]
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu")
Runs = dict[str, dict[int, tuple[float, float]]]


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.starts", description=__doc__)
    parser.add_argument("--clusterers", nargs="+", choices=GRID, default=[name for name in GRID if name != "SEM"])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--of", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/starts.csv"))
    options = parser.parse_args()
    if not 2 <= options.of < options.seeds:
        parser.error("--of takes at least two, and fewer than --seeds")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in options.clusterers:
        for seed in range(options.seeds):
            if seed not in _read(options.output)[name]:
                with options.output.open("a", newline="") as file:
                    csv.writer(file).writerow([name, seed, *_run(name, seed)])
    runs = _read(options.output)
    print(f"| clusterer | one run | best of {options.of} by loss | highest of {options.seeds} | rank correlation |")
    print("| --- " * 5 + "|")
    for name in options.clusterers:
        pairs = [runs[name][seed] for seed in range(options.seeds)]
        chosen = [min(some)[1] for some in combinations(pairs, options.of)]
        losses, scores = zip(*pairs, strict=True)
        order = spearmanr(losses, scores).statistic
        print(f"| {name} | {_told(scores)} | {_told(chosen)} | {max(scores):.2f} | {order:+.2f} |")


def _run(name: str, seed: int) -> tuple[float, float]:
    with TemporaryDirectory() as folder:
        metrics = api.fit("data/digits.yaml", *GRID[name], *QUIET, f"--seed_everything={seed}", folder=folder).metrics
    return metrics["train/loss"], metrics["val/acc"]


def _read(path: Path) -> Runs:
    found: Runs = defaultdict(dict)
    if path.exists():
        with path.open(newline="") as file:
            for name, seed, loss, score in csv.reader(file):
                found[name][int(seed)] = float(loss), float(score)
    return found


def _told(values: tuple[float, ...] | list[float]) -> str:
    return f"{mean(values):.2f}±{stdev(values):.2f}"


if __name__ == "__main__":
    main()
