"""``python -m benchmarks.starts``: do loss and agreement find the better clusters? Each clusterer on Digits from several seeds.

Keeps loss, ACC and clusters of each run in a folder, does those that are missing, then prints the table: ACC of a single run,
of the best of five by loss, by agreement, and by both as ``fit --starts`` does (mean and standard deviation over all choices of
five), and the highest of all. Settings are those of ``configs/benchmark/digits_victims.yaml``; ACC is on the attackers' half,
clusters are of the half that was trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ar_dmvc import api, load_clusterer
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits, MultiViewBatch
from ar_dmvc.files import whole_file
from ar_dmvc.metrics.functional import cluster_accuracy, contingency_cells, contingency_table
from ar_dmvc.settings import find_file, load_yaml
from ar_dmvc.starts import agreement, order

GRID = load_yaml(find_file("benchmark/digits_victims.yaml").read_text())["clusterers"]
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu")


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.starts", description=__doc__)
    parser.add_argument("--clusterers", nargs="+", choices=GRID, default=[name for name in GRID if name != "SEM"])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--of", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/starts_of_each"))
    options = parser.parse_args()
    if not 2 <= options.of < options.seeds:
        parser.error("--of takes at least two, and fewer than --seeds")
    options.output.mkdir(parents=True, exist_ok=True)
    print(f"| clusterer | one run | best of {options.of} by loss | by agreement | by both | highest of {options.seeds} |")
    print("| --- " * 6 + "|")
    for name in options.clusterers:
        runs = [_run(name, seed, options.output / f"{name}_{seed}.npz") for seed in range(options.seeds)]
        losses, scores, clusters = zip(*runs, strict=True)
        chosen: dict[str, list[float]] = {"loss": [], "agreement": [], "both": []}
        for some in map(list, combinations(range(options.seeds), options.of)):
            loss, shared = [losses[place] for place in some], agreement([clusters[place] for place in some])
            places = {"loss": np.argmin(loss), "agreement": np.argmax(shared), "both": order(loss, shared)[0]}
            for criterion, place in places.items():
                chosen[criterion].append(scores[some[int(place)]])
        print(f"| {name} | {' | '.join(map(_told, (scores, *chosen.values())))} | {max(scores):.2f} |", flush=True)


def _run(name: str, seed: int, path: Path) -> tuple[float, float, np.ndarray]:
    """Loss, ACC and clusters of a run, which is kept."""
    if not path.exists():
        with TemporaryDirectory() as folder:
            run = api.fit("data/digits.yaml", *GRID[name], *QUIET, f"--seed_everything={seed}", folder=folder)
            clusterer = load_clusterer(run.checkpoint)
        seen, other = (_clusters(clusterer, part) for part in (Digits().training_part(), Digits().test_part()))
        labels = torch.cat([batch.labels for batch in Digits().test_part()])
        score = float(cluster_accuracy(contingency_table(contingency_cells(other, labels))))
        with whole_file(path) as file:
            np.savez(file, loss=run.metrics["train/loss"], acc=score, clusters=seen.numpy())
    with np.load(path) as kept:
        return float(kept["loss"]), float(kept["acc"]), kept["clusters"]


@torch.no_grad()
def _clusters(clusterer: Clusterer, batches: Iterable[MultiViewBatch]) -> torch.Tensor:
    return torch.cat([clusterer(batch.views).assignments.argmax(1) for batch in batches])


def _told(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}±{stdev(values):.2f}"


if __name__ == "__main__":
    main()
