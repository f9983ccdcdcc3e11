"""Draw the picture of the whole, docs/overview.svg, from what ``make demo`` left: ``python scripts/overview.py runs/demo``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from sklearn.manifold import TSNE
from torch import Tensor

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import Ensemble, Views
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits

_NAMES = {"CoMVC": "CoMVC", "AR-DMVC-AM": "CoMVC+AR-DMVC-AM", "robust": "CoMVC+robust"}
_BUDGET, _SAMPLES = 0.1, 300
_INK, _BAD, _GOOD = "#333333", "#c0392b", "#2e7d32"


def draw(runs: Path) -> Figure:
    """Rows: clean, attacked, defended; beside them what survives."""
    data = Digits(batch_size=_SAMPLES)
    data.setup("test")
    views = next(iter(data.test_dataloader())).views
    victim, student = (load_clusterer(runs / _NAMES[name] / "seed_0/fit/checkpoints/last.ckpt") for name in ("CoMVC", "robust"))
    attack = Ensemble(epsilon=_BUDGET)
    attacked, attacked_student = attack(victim, views), attack(student, views)
    moved = _clusters(victim, attacked) != _clusters(victim, views)
    shown = int(moved.nonzero()[0])

    figure = Figure(figsize=(11, 5.2))
    rows = {"clean": 0.70, "attack": 0.37, "defence": 0.04}
    for title, bottom in rows.items():
        figure.text(0.012, bottom + 0.12, title, fontsize=13, fontweight="bold", color=_INK, va="center")
    before = {"clean": views, "attack": attacked, "defence": attacked_student}
    for (title, bottom), clusterer in zip(rows.items(), (victim, victim, student), strict=True):
        for number in range(2):
            axis = figure.add_axes((0.10 + 0.085 * number, bottom + 0.03, 0.08, 0.17))
            axis.imshow(before[title][number][shown, 0], cmap="gray", vmin=0, vmax=1)
            _bare(axis, f"view {number + 1}" if title == "clean" else f"within {_BUDGET}")
        name = "clusterer" if title == "clean" else "the same" if title == "attack" else "a student\nof its clusters"
        figure.patches.append(
            FancyBboxPatch(
                (0.325, bottom + 0.055),
                0.095,
                0.12,
                boxstyle="round,pad=0.008",
                transform=figure.transFigure,
                facecolor="#e8eaf6" if title != "defence" else "#e8f5e9",
                edgecolor=_INK,
            )
        )
        figure.text(0.3725, bottom + 0.115, name, ha="center", va="center", fontsize=10, color=_INK)
        for start, end in ((0.275, 0.315), (0.43, 0.47)):
            arrow = FancyArrowPatch(
                (start, bottom + 0.115),
                (end, bottom + 0.115),
                transform=figure.transFigure,
                arrowstyle="-|>",
                mutation_scale=14,
            )
            figure.patches.append(arrow)
        lost = _clusters(clusterer, before[title]) != _clusters(clusterer, views)
        axis = figure.add_axes((0.48, bottom, 0.17, 0.25))
        _clusters_drawn(axis, clusterer, views, before[title], lost)
        words = "clusters, without labels" if title == "clean" else f"{int(lost.sum())} of {_SAMPLES} moved"
        axis.set_title(words, fontsize=9, color=_INK if title == "clean" else _BAD if title == "attack" else _GOOD, pad=3)
    _bars(figure.add_axes((0.78, 0.11, 0.20, 0.74)), runs)
    return figure


def _clusters(clusterer: Clusterer, views: Views) -> Tensor:
    with torch.no_grad():
        return clusterer(views).assignments.argmax(1)


def _clusters_drawn(axis: Axes, clusterer: Clusterer, clean: Views, views: Views, lost: Tensor) -> None:
    with torch.no_grad():
        known, now = clusterer(clean).hidden, clusterer(views).hidden
    both = torch.cat([known, now]).numpy()
    points = TSNE(init="pca", random_state=0).fit_transform(both)[len(known) :]
    axis.scatter(*points.T, c=_clusters(clusterer, clean).numpy(), cmap="tab10", s=5)
    axis.scatter(*points[lost.numpy()].T, s=16, facecolors="none", edgecolors=_INK, linewidths=0.4)
    _bare(axis, "")


def _bare(axis: Axes, label: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(label, fontsize=8, color=_INK, labelpad=2)
    axis.spines[:].set_color("#bbbbbb")


def _bars(axis: Axes, runs: Path) -> None:
    for place, (shown, name) in enumerate(_NAMES.items()):
        rows = json.loads((runs / name / "seed_0/test/robustness.json").read_text())["scores"]
        clean, worst = (rows[row]["fixed_acc"] for row in ("clean", "worst"))
        axis.barh(-place, clean, color="#c5cae9", height=0.62)
        axis.barh(-place, worst, color=_GOOD if shown == "robust" else "#5c6bc0", height=0.62)
        axis.text(clean + 0.03, -place, f"{worst:.2f}", va="center", fontsize=11, fontweight="bold", color=_INK)
    axis.set_yticks([0, -1, -2], _NAMES)
    axis.set(xlim=(0, 1.15), xticks=[0, 0.5, 1])
    axis.set_title("right, and moved by no attack\n(pale: right on clean data)", fontsize=9, color=_INK)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "overview", "svg.fonttype": "path"})
    draw(Path(sys.argv[1])).savefig(Path(__file__).parents[1] / "docs/overview.svg", metadata={"Date": None})
