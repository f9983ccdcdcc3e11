"""Charts of a report, as SVG that stands on any background."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ar_dmvc.evaluation import AttackRecord
from ar_dmvc.evaluation.sanity import CLEAN, WORST
from ar_dmvc.report.caveats import has_own_budget
from ar_dmvc.report.grouping import LARGEST_BUDGET, NAMES, Cell, attacks_of, budget_of, cell, cell_of
from ar_dmvc.report.runs import Subject, TestedRun

_Point = tuple[float, Mapping[str, Cell]]
"""A budget, and metrics there."""
_GREY = "#7f7f7f"
_MOST_CLASSES = 100
_MOST_CURVES = 20
_COLOURS = 10
"""Of lines, after which they begin again."""
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


def overview(groups: Mapping[Subject, Sequence[TestedRun]], metric: str = "fixed_acc") -> bytes:
    """A metric on clean data and in the worst case, a pair of bars a clusterer."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 0.55 * len(groups) + 1.1), layout="constrained")
        axis = figure.add_subplot()
        places = np.arange(len(groups))[::-1]
        for offset, attack, colour in ((0.2, "clean", "#9ecae1"), (-0.2, WORST, "#d6604d")):
            made = [cell(group, attack, metric) for group in groups.values()]
            means = [one.mean if one else np.nan for one in made]
            spreads = [one.spread if one else 0.0 for one in made]
            axis.barh(places + offset, means, 0.38, xerr=spreads, color=colour, label=attack, ecolor=_GREY)
        axis.set_yticks(places, [textwrap.fill(label, 50) for label in _labels(groups).values()])
        axis.set(xlim=(0, 1), xlabel=NAMES[metric])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.45 / figure.get_figheight()), ncols=2)
        return _svg(figure)


def _labels(subjects: Collection[Subject]) -> dict[Subject, str]:
    """Names, each another, with their data where there are several, of which a folder's may begin with the set's."""
    several, labels = len({subject.data for subject in subjects}) > 1, dict[str, Subject]()
    for subject in subjects:
        data, name = subject.data, subject.name
        named = data.partition(" (")[0]
        label = name + data.removeprefix(named) if name.startswith(f"{named}/") else f"{name} ({data})"
        label = label if several else name
        while label in labels:
            label += "'"
        labels[label] = subject
    return {subject: label for label, subject in labels.items()}


def curves(groups: Mapping[Subject, Sequence[TestedRun]]) -> tuple[dict[str, bytes], int]:
    """Attack, the worst case first, to ACC, fixed ACC, NMI and kept, as far as known, against the budget, a line a clusterer.

    From what a test drew, else from tests of several budgets, with their spread over seeds; empty where there is neither.

    Returns:
        The pictures of the first attacks, and how many attacks have none because there are so many.
    """
    found = _over_budgets(groups)
    labels = _labels(list(dict.fromkeys(subject for lines in found.values() for subject in lines)))
    shown = sorted(found, key=lambda attack: attack != WORST)[:_MOST_CURVES]
    drawn = {
        attack: _curves({labels[subject]: points for subject, points in found[attack].items()}, attack) for attack in shown
    }
    return drawn, len(found) - len(drawn)


def _curves(lines: Mapping[str, Sequence[_Point]], attack: str) -> bytes:
    there = {metric for points in lines.values() for _, cells in points for metric in cells}
    wanted = ("fixed_acc", "nmi", "kept") if attack == WORST else ("acc", "fixed_acc", "nmi", "kept")  # there both are the same
    shown = [metric for metric in wanted if metric in there] or ["kept"]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.5 * len(shown), 3 + 0.08 * len(lines)), layout="constrained")
        handles = {}
        for axis, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for number, (name, points) in enumerate(lines.items()):
                known = [(budget, *cells[metric][:2]) for budget, cells in points if metric in cells]
                if known:
                    budgets, means, spreads = zip(*known, strict=True)
                    style = {"color": f"C{number % _COLOURS}", "linestyle": ("-", "--", ":")[number // _COLOURS % 3]}
                    handles[name] = axis.errorbar(budgets, means, spreads, marker=".", capsize=2, **style)
            axis.set(title=NAMES[metric], xlabel="budget", ylim=(-0.02, 1.02))
            axis.grid(alpha=0.3)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, fontsize=7)
        return _svg(figure)


def _over_budgets(groups: Mapping[Subject, Sequence[TestedRun]]) -> dict[str, dict[Subject, list[_Point]]]:
    """Attack to subjects to points."""
    found: dict[str, dict[Subject, list[_Point]]] = {}
    for subject, group in groups.items():
        for attack in dict.fromkeys(attack for run in group for attack in run.curve):
            found.setdefault(attack, {})[subject] = _drawn(group, attack)
    for whole, parts in _of_several_budgets(groups).items():
        for attack in attacks_of([run for group in parts.values() for run in group])[1:]:
            points = [(budget, made) for budget, group in parts.items() if (made := _cells(group, attack))]
            if len(points) > 1:
                clean = _cells(next(iter(parts.values())), CLEAN)
                found.setdefault(attack, {}).setdefault(whole, [(0.0, clean), *points])
    return found


def _drawn(group: Sequence[TestedRun], attack: str) -> list[_Point]:
    """The points of the curves that tests drew of an attack, over those that have a budget and a metric."""
    values: dict[float, dict[str, list[float]]] = {}
    for budget, scores in (point for run in group for point in run.curve.get(attack, [])):
        for metric, value in scores.items():
            if 0 <= budget < LARGEST_BUDGET and abs(value) <= 1:
                values.setdefault(budget, {}).setdefault(metric, []).append(value)
    return [(budget, {metric: cell_of(found) for metric, found in scores.items()}) for budget, scores in sorted(values.items())]


def _of_several_budgets(groups: Mapping[Subject, Sequence[TestedRun]]) -> dict[Subject, dict[float, Sequence[TestedRun]]]:
    """Subjects without their budgets, of which there are several, to budgets and runs."""
    found: dict[Subject, dict[float, Sequence[TestedRun]]] = {}
    for subject, group in groups.items():
        if (budget := budget_of(subject)) is not None:
            found.setdefault(subject._replace(budget=""), {})[budget] = group
    return {subject: dict(sorted(parts.items())) for subject, parts in found.items() if len(parts) > 1}


def _cells(group: Sequence[TestedRun], attack: str) -> dict[str, Cell]:
    if any(has_own_budget(run, attack) for run in group):
        return {}
    return {metric: made for metric in NAMES if (made := cell(group, attack, metric)) is not None}


def training(metrics: Mapping[str, Sequence[tuple[int, float]]]) -> bytes | None:
    """Losses and metrics of validation, by name, against the epoch; None where there are none."""
    losses = {name: points for name, points in metrics.items() if name.startswith("train/")}
    scores = {name: points for name, points in metrics.items() if name.startswith("val/")}
    if not losses and not scores:
        return None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        for axis, lines, title in zip(figure.subplots(1, 2), (losses, scores), ("loss terms", "validation"), strict=True):
            for name, points in lines.items():
                axis.plot(*zip(*points, strict=True), label=name.partition("/")[2], linewidth=1)
            axis.set(title=title, xlabel="epoch")
            axis.grid(alpha=0.3)
            if lines:
                axis.legend(fontsize=6)
        return _svg(figure)


def confusion(record: AttackRecord) -> bytes | None:
    """Classes against clusters, clean and in the worst case, clusters in the order that the clean ones match with classes.

    None where there are too many to see, or no labels.
    """
    if record.label is None:
        return None
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
