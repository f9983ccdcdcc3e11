"""The picture of docs/protocols.md, from the tests of configs/benchmark/paper/protocols*.yaml.

python -m benchmarks.protocols runs/paper/protocols_small docs/protocols.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

CLUSTERERS = ("CoMVC", "CoMVC+AR-DMVC", "CoMVC+AR-DMVC-AM", "CoMVC+robust")
COLUMNS = {
    "clean": ("evaluation_generator", "evaluation", "clean"),
    "generator: training mode\ntest: training mode\n(published)": ("training_generator", "training", "gan"),
    "generator: evaluation\ntest: training mode": ("evaluation_generator", "training", "gan"),
    "the same, one attacked\nsample in a batch": ("evaluation_generator", "training_alone", "gan"),
    "generator: training mode\ntest: evaluation": ("training_generator", "evaluation", "gan"),
    "generator: evaluation\ntest: evaluation\n(deployed)": ("evaluation_generator", "evaluation", "gan"),
    "ascent, 20 passes\ntest: training mode": ("evaluation_generator", "training", "apgd_cross_entropy"),
    "ascent, 20 passes\ntest: evaluation\n(deployed)": ("evaluation_generator", "evaluation", "apgd_cross_entropy"),
}


def figures(folder: Path) -> dict[str, list[float | None]]:
    """Of each clusterer that is there the fixed ACC in each column, the mean over seeds; None where nothing has been tested."""
    found = [name for name in CLUSTERERS if any((folder / name).glob("seed_*/test_*"))]
    return {name: [_mean(folder / name, *column) for column in COLUMNS.values()] for name in found}


def _mean(folder: Path, generator: str, suite: str, attack: str) -> float | None:
    files = sorted(folder.glob(f"seed_*/test_{generator}_{suite}/robustness.json"))
    values = [json.loads(file.read_text())["scores"][attack]["fixed_acc"] for file in files]
    return sum(values) / len(values) if values else None


def picture(values: dict[str, list[float | None]]) -> Figure:
    """A table in which high is green and low is red."""
    figure = Figure(figsize=(12, 0.7 * len(values) + 1.6), layout="constrained")
    axis: Any = figure.subplots()
    shown = [[float("nan") if value is None else value for value in row] for row in values.values()]
    axis.imshow(shown, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(values.values()):
        for column, value in enumerate(line):
            axis.text(column, row, "-" if value is None else f"{value:.2f}", ha="center", va="center")
    axis.set_xticks(range(len(COLUMNS)), COLUMNS, fontsize=7)
    axis.set_yticks(range(len(values)), [name.replace("CoMVC+", "") for name in values])
    axis.xaxis.tick_top()
    axis.set_title("fixed ACC", fontsize=9)
    return figure


def main() -> None:
    """Print the table in Markdown and draw the picture."""
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    values = figures(folder)
    print("| |", " | ".join(name.replace("\n", ", ") for name in COLUMNS), "|")
    print("| --- |", " | ".join("---" for _ in COLUMNS), "|")
    for name, line in values.items():
        print("|", name, "|", " | ".join("-" if value is None else f"{value:.2f}" for value in line), "|")
    picture(values).savefig(output, dpi=110)


if __name__ == "__main__":
    main()
