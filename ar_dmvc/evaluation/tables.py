"""Robustness as tables for a terminal or a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ar_dmvc.evaluation.certified import CertifiedReport
from ar_dmvc.evaluation.curve import CurveReport
from ar_dmvc.evaluation.record import Scores
from ar_dmvc.evaluation.robustness import RobustnessReport, mean_and_spread
from ar_dmvc.evaluation.sanity import CLEAN, WORST

SHOWN = ("acc", "nmi", "ari")
_HEADINGS = {"acc": "ACC", "nmi": "NMI", "ari": "ARI", "fixed_acc": "fixed ACC", "kept": "kept"}
"""Purity is in the files alone: with it the table is wider than a terminal."""


def print_report(report: RobustnessReport, title: str) -> None:
    """Print one clusterer's scores, a row an attack, with the notes below."""
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column("attack", no_wrap=True)
    printed = [metric for metric in _HEADINGS if metric in report.worst]
    for metric in printed:
        table.add_column(_HEADINGS[metric], justify="right")
    for heading in ("queries", "seconds") if report.costs else ():
        table.add_column(heading, justify="right")
    rows = list(report.rows().items())
    for name, scores in rows:
        cost = report.costs.get(name)
        costs = () if cost is None else (f"{cost.queries:,.0f}", f"{cost.seconds:.1f}")
        table.add_row(escape(name), *(f"{scores[metric]:.3f}" for metric in printed), *costs, end_section=name == rows[-2][0])
    console = Console()
    console.print(table)
    fixed = "fixed ACC: right on clean data and not moved to another cluster. " if "fixed_acc" in printed else ""
    console.print(f"{fixed}kept: not moved. worst: each sample's worst case.", highlight=False)
    for name in report.record.attacks:
        if taken := report.record.taken(name):
            shares = ", ".join(f"{member} {share:.3f}" for member, share in taken.items() if share > 0)
            console.print(f"{name} moved, one after the other: {shares or 'none'}", highlight=False, markup=False)
    for note in report.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)


def print_curve(report: CurveReport, name: str) -> None:
    """Print fixed ACC, without labels kept, against the budget, a row a budget, with the smallest budgets below."""
    table = Table(title=f"{name}: {_HEADINGS[report.metric]} against the budget")
    for heading in ("epsilon", *report.scores):
        table.add_column(escape(heading), justify="right")
    for place, epsilon in enumerate(report.epsilons):
        table.add_row(f"{epsilon:g}", *(f"{scores[place][report.metric]:.3f}" for scores in report.scores.values()))
    console = Console()
    console.print(table)
    shares = [f"{share:.0%} within {budget:.3g}" for share, budget in report.quantiles().items() if isfinite(budget)]
    if shares:
        console.print(f"smallest budgets that were found to move samples: {', '.join(shares)}", highlight=False)


def print_certified(report: CertifiedReport) -> None:
    """Print what is certified at a few radii."""
    curve = report.curve()
    shown = curve[:: max(1, len(curve) // 6)]
    shares = ", ".join(f"{share:.2f} at {radius:.3g}" for radius, share in shown)
    Console().print(f"{report.heading}, smoothed with noise of {report.sigma:g}, L2 of all views: {shares}", highlight=False)


def comparison_rows(results: Mapping[str, Sequence[Mapping[str, Scores]]]) -> list[list[str]]:
    """Clusterers by attack: a heading row, then one row a clusterer.

    Args:
        results: clusterer to its runs (one a seed), each attack to metric to value.

    Returns:
        Rows of cells, ``ACC / NMI / ARI`` each, or ``kept`` and that of data without labels, the mean over seeds, with the
        standard deviation where there are several; a dash where an attack does not apply to a clusterer.
    """
    fullest_first = sorted(results.values(), key=lambda runs: -len(runs[0]))
    attacks = sorted(dict.fromkeys(attack for runs in fullest_first for attack in runs[0]), key=lambda attack: attack == WORST)
    rows = [["clusterer", *attacks]]
    for clusterer, runs in results.items():
        cells = []
        for attack in attacks:
            untried = len(attacks) > 2 and runs[0].keys() <= {CLEAN, WORST}
            if attack not in runs[0] or (attack == WORST and untried):
                cells.append("-")
                continue
            labelled = all(metric in run[attack] for run in runs for metric in SHOWN)
            columns = [[run[attack][metric] for run in runs] for metric in (SHOWN if labelled else ("kept",))]
            told = " / ".join(_cell(*mean_and_spread(values), len(runs)) for values in columns)
            cells.append(told if labelled else f"kept {told}")
        rows.append([clusterer, *cells])
    return rows


def print_comparison(rows: Sequence[Sequence[str]], title: str) -> None:
    """Print the rows of :func:`comparison_rows`, each metric on a line of its own within a cell."""
    table = Table(
        title=title, show_lines=True, padding=0, caption="each cell: " + ", ".join(metric.upper() for metric in SHOWN)
    )
    for heading in rows[0]:
        table.add_column(escape(heading.replace("_", "\n")), overflow="fold")
    for row in rows[1:]:
        table.add_row(*(cell.replace(" / ", "\n") for cell in row))
    Console().print(table)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first a heading, as a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"


def _cell(mean: float, spread: float, runs: int) -> str:
    return f"{mean:.2f}" if runs == 1 else f"{mean:.2f}±{spread:.2f}".replace("±0.", "±.")
