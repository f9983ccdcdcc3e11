"""The picture of docs/protocols.md, from the tests of configs/benchmark/paper/protocols*.yaml.

python -m benchmarks.protocols runs/paper/protocols_small docs/protocols.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
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

DARK = 0.15
"""Red below this is so dark that white is read more easily on it."""


def figures(folder: Path) -> dict[str, list[list[float]]]:
    """Of each clusterer that is there the fixed ACC in each column, seed by seed; none where nothing has been tested."""
    found = [name for name in CLUSTERERS if any((folder / name).glob("seed_*/test_*"))]
    return {name: [_of_seeds(folder / name, *column) for column in COLUMNS.values()] for name in found}


def _of_seeds(folder: Path, generator: str, suite: str, attack: str) -> list[float]:
    files = sorted(folder.glob(f"seed_*/test_{generator}_{suite}/robustness.json"))
    return [json.loads(file.read_text())["scores"][attack]["fixed_acc"] for file in files]


def _words(values: list[float]) -> str:
    """Mean and, of several, standard deviation."""
    if not values:
        return "-"
    spread = f"±{stdev(values):.2f}".replace("0.", ".") if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"


def picture(values: dict[str, list[list[float]]]) -> Figure:
    """A table in which high is green and low is red."""
    figure = Figure(figsize=(12, 0.7 * len(values) + 1.6), layout="constrained")
    axis: Any = figure.subplots()
    shown = [[mean(cell) if cell else float("nan") for cell in line] for line in values.values()]
    axis.imshow(shown, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(values.values()):
        for column, cell in enumerate(line):
            colour = "white" if cell and mean(cell) < DARK else "black"
            axis.text(column, row, _words(cell), ha="center", va="center", color=colour)
    axis.set_xticks(range(len(COLUMNS)), COLUMNS, fontsize=7)
    axis.set_yticks(range(len(values)), [name.replace("CoMVC+", "") for name in values])
    axis.xaxis.tick_top()
    axis.set_title("fixed ACC", fontsize=9)
    return figure


def main() -> None:
    """Print the table in Markdown and draw the picture."""
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    values = figures(folder)
    print("| |", " | ".join(name.replace("\n", " ") for name in COLUMNS), "|")
    print("| --- |", " | ".join("---" for _ in COLUMNS), "|")
    for name, line in values.items():
        print("|", name, "|", " | ".join(map(_words, line)), "|")
    picture(values).savefig(output, dpi=110)


if __name__ == "__main__":
    main()
