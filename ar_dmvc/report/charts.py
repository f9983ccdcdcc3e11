"""Charts of a report, as SVG that stands on any background."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ar_dmvc.evaluation import AttackRecord
from ar_dmvc.evaluation.sanity import WORST
from ar_dmvc.report.runs import TestedRun
from ar_dmvc.report.tables import NAMES, cell

_GREY = "#7f7f7f"
_MOST_CLASSES = 100
_STYLE: Any = {
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.titlecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "legend.frameon": False,
    "font.size": 9,
    "text.parse_math": False,  # names may hold dollar signs
    "svg.hashsalt": "ar_dmvc",  # else every drawing would differ
}


def overview(groups: Mapping[tuple[str, str], Sequence[TestedRun]]) -> bytes:
    """Fixed ACC on clean data and in the worst case, a pair of bars a clusterer."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 0.55 * len(groups) + 1.1), layout="constrained")
        axis = figure.add_subplot()
        places = np.arange(len(groups))[::-1]
        for offset, attack, colour in ((0.2, "clean", "#9ecae1"), (-0.2, WORST, "#d6604d")):
            made = [cell(group, attack, "fixed_acc") for group in groups.values()]
            means = [one.mean if one else np.nan for one in made]
            spreads = [one.spread if one else 0.0 for one in made]
            axis.barh(places + offset, means, 0.38, xerr=spreads, color=colour, label=attack, ecolor=_GREY)
        several = len({data for data, _ in groups}) > 1
        labels = [_label(data, name) if several else name for data, name in groups]
        axis.set_yticks(places, [textwrap.fill(label, 50) for label in labels])
        axis.set(xlim=(0, 1), xlabel=NAMES["fixed_acc"])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.45 / figure.get_figheight()), ncols=2)
        return _svg(figure)


def _label(data: str, name: str) -> str:
    """A name with its data, of which it may begin with the set's."""
    named = data.partition(" (")[0]
    return name + data.removeprefix(named) if name.startswith(f"{named}/") else f"{name} ({data})"


def curves(groups: Mapping[tuple[str, str], Sequence[TestedRun]]) -> bytes | None:
    """Fixed ACC, NMI and kept in the worst case against the budget, a line a clusterer; None where no curve was drawn."""
    drawn = {name: run.curve[WORST] for (_, name), group in groups.items() for run in group[:1] if WORST in run.curve}
    if not drawn:
        return None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        for axis, metric in zip(figure.subplots(1, 3), ("fixed_acc", "nmi", "kept"), strict=True):
            for name, points in drawn.items():
                known = [(epsilon, scores[metric]) for epsilon, scores in points if metric in scores]
                axis.plot(*zip(*known, strict=True), marker=".", label=name)
            axis.set(title=NAMES[metric], xlabel="budget", ylim=(-0.02, 1.02))
            axis.grid(alpha=0.3)
        figure.axes[0].legend(fontsize=7)
        return _svg(figure)


def training(run: TestedRun) -> bytes | None:
    """Loss and clean metrics against the epoch; None where training left none."""
    losses = {name: points for name, points in run.training.items() if name.startswith("train/")}
    scores = {name: points for name, points in run.training.items() if name.startswith("val/")}
    if not losses and not scores:
        return None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        for axis, lines, title in zip(figure.subplots(1, 2), (losses, scores), ("loss terms", "clean metrics"), strict=True):
            for name, points in lines.items():
                axis.plot(*zip(*points, strict=True), label=name.partition("/")[2], linewidth=1)
            axis.set(title=title, xlabel="epoch")
            axis.grid(alpha=0.3)
            if lines:
                axis.legend(fontsize=6)
        return _svg(figure)


def confusion(record: AttackRecord) -> bytes | None:
    """Classes against clusters, clean and in the worst case, clusters in the order that the clean ones match with classes.

    None where there are too many to see.
    """
    classes, labels = np.unique(record.label.numpy(), return_inverse=True)
    clean, worst = record.clean.numpy(), record.worst_cluster().numpy()
    clusters = np.unique(np.concatenate([clean, worst]))
    if max(len(classes), len(clusters)) > _MOST_CLASSES:
        return None
    order = _matched_order(labels, np.searchsorted(clusters, clean), len(classes), len(clusters))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        for axis, found, title in zip(figure.subplots(1, 2), (clean, worst), ("clean", WORST), strict=True):
            table = np.zeros((len(classes), len(clusters)))
            np.add.at(table, (labels, np.searchsorted(clusters, found)), 1)
            shares = table / np.maximum(1, table.sum(1, keepdims=True))
            axis.imshow(shares[:, order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set(title=title, xlabel="cluster", ylabel="class")
            axis.set_xticks(range(len(clusters)), clusters[order], fontsize=7)
            axis.set_yticks(range(len(classes)), classes, fontsize=7)
        return _svg(figure)


def _matched_order(labels: np.ndarray, clusters: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Clusters in the order of the classes that they are matched with, those that are with none last."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((rows, columns))
    np.add.at(table, (labels, clusters), 1)
    _, matched = linear_sum_assignment(table, maximize=True)
    return np.concatenate([matched, np.setdiff1d(np.arange(columns), matched)])


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
