"""The numbers of several tests as tables: one to go on with, one for a paper, one to sort."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ar_dmvc.evaluation.sanity import WORST
from ar_dmvc.evaluation.tables import markdown
from ar_dmvc.report.grouping import axes_of, budget_of, cell, groups
from ar_dmvc.report.published import GAN
from ar_dmvc.report.runs import Subject, TestedRun


class Row(NamedTuple):
    """A number that a test found; see :class:`~ar_dmvc.report.runs.Subject`, whose budget ``grid_budget`` is.

    ``budget`` is that of the attack. What there is none of, or is not known, is None.
    """

    data: str
    clusterer: str
    defence: str
    attacker: str
    suite: str
    grid_budget: float | None
    attack: str
    budget: float | None
    seed: int | None
    metric: str
    value: float


def tidy(runs: Sequence[TestedRun]) -> list[Row]:
    """A row for each number."""
    return [
        Row(*run.subject[:5], budget_of(run.subject), attack, run.budgets.get(attack), run.seed, metric, value)
        for run in runs
        for attack, scores in run.scores.items()
        for metric, value in scores.items()
    ]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, what is None left empty."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return table.getvalue()


def as_parquet(rows: Sequence[Row]) -> bytes | None:
    """Rows as Parquet; None without pyarrow (``pip install 'ar-dmvc[parquet]'``)."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    kinds = {"grid_budget": pyarrow.float64(), "budget": pyarrow.float64(), "seed": pyarrow.int64(), "value": pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in Row._fields])
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row._asdict() for row in rows], schema), file)
    return file.getvalue()


_COLUMNS = {
    ("clean", "acc"): "clean ACC",
    ("clean", "nmi"): "clean NMI",
    (GAN, "acc"): "GAN ACC",
    (WORST, "acc"): "worst fixed ACC",  # in the worst case they are the same
    (WORST, "nmi"): "worst NMI",
}
_WITHOUT_LABELS = {(WORST, "kept"): "worst kept"}


def _columns(runs: Sequence[TestedRun]) -> dict[tuple[str, str], str]:
    """What tables have columns of: attacks that there are; of tests without labels one more number to show, which all have."""
    labelled = ["acc" in run.scores.get("clean", {}) for run in runs]
    there = {attack for run in runs for attack in run.scores}
    columns = {column: heading for column, heading in _COLUMNS.items() if any(labelled) and column[0] in there}
    return {**columns, **({} if all(labelled) else _WITHOUT_LABELS)}


def latex(runs: Sequence[TestedRun], notes: Sequence[str]) -> str:
    """A table for LaTeX's ``booktabs``: clusterers by ACC and NMI, clean and in the worst case, and ACC under the GAN attack.

    The best is bold. Where tests have no labels, by kept in the worst case.

    Args:
        runs: at least one; the worst case's ACC is fixed ACC.
        notes: what to know of them, a sentence each.
    """
    rows, columns, axes = groups(runs), _columns(runs), axes_of(runs)
    best: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for subject, group in rows.items():
        alike = best.setdefault(_compared(subject), {})
        for column in columns:
            if (made := cell(group, *column)) is not None:
                alike[column] = max(alike.get(column, -1.0), round(made.mean, 3))
    lines = [
        "% \\usepackage{booktabs}; mean and standard deviation over seeds, best of each data set and suite in bold; worst: "
        "each sample's worst case",
        *(f"% {note}" for note in notes),
        f"\\begin{{tabular}}{{{'l' * len(axes)}{'c' * len(columns)}}}",
        "\\toprule",
        " & ".join([*axes, *columns.values()]) + r" \\",
        "\\midrule",
        *(
            " & ".join(
                [*(_escape(getattr(subject, axis)) for axis in axes), *_latex_cells(group, columns, best[_compared(subject)])]
            )
            + r" \\"
            for subject, group in rows.items()
        ),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def as_markdown(runs: Sequence[TestedRun], notes: Sequence[str]) -> str:
    """The table of :func:`latex` in Markdown, its notes below."""
    axes, columns = axes_of(runs), _columns(runs)
    rows = [[*axes, *columns.values()]]
    for subject, group in groups(runs).items():
        texts = [str(cell(group, *column) or "–") for column in columns]
        rows.append([*(_as_text(getattr(subject, axis)) for axis in axes), *texts])
    return "\n".join([markdown(rows), *(f"* {_as_text(note)}\n" for note in notes)])


def _as_text(text: str) -> str:
    """On a line, with nothing in it that Markdown takes for its own."""
    return re.sub(r"([\\|`*_<\[])", r"\\\1", " ".join(text.split()))


def _compared(subject: Subject) -> tuple[str, ...]:
    """What rows have in common whose numbers may be compared: the data, and how they were tested."""
    return (subject.data, *subject[3:])


def _latex_cells(
    group: Sequence[TestedRun], columns: Iterable[tuple[str, str]], best: dict[tuple[str, str], float]
) -> Iterator[str]:
    for column in columns:
        made = cell(group, *column)
        if made is None:
            yield "--"
            continue
        text = f"{made.mean:.3f}" + (f" \\pm {made.spread:.3f}" if made.runs > 1 else "")
        yield f"$\\mathbf{{{text}}}$" if round(made.mean, 3) == best[column] else f"${text}$"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, f"\\{character}" if character in "&%$#_{}" else character) for character in text)
