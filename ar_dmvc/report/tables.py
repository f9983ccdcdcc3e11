"""The numbers of several tests as tables: one to go on with, one for a paper, one to sort."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ar_dmvc.evaluation.record import METRICS
from ar_dmvc.evaluation.robustness import mean_and_spread
from ar_dmvc.evaluation.sanity import CLEAN, WORST
from ar_dmvc.evaluation.tables import markdown
from ar_dmvc.report.runs import TestedRun

NAMES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI", "purity": "purity", "fixed_acc": "fixed ACC", "kept": "kept"}


class Cell(NamedTuple):
    """A metric of a clusterer under an attack: mean and standard deviation over its runs, and how many these are."""

    mean: float
    spread: float
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.runs == 1 else f"{self.mean:.3f}±{self.spread:.3f}"


class Row(NamedTuple):
    """A number that a test found: the budget of attacks that have none of their own, and a seed that is not known, are None."""

    data: str
    clusterer: str
    attack: str
    budget: float | None
    seed: int | None
    metric: str
    value: float


def tidy(runs: Sequence[TestedRun]) -> list[Row]:
    """A row for each number."""
    return [
        Row(run.data, run.name, attack, run.budgets.get(attack), run.seed, metric, value)
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
    kinds = {"budget": pyarrow.float64(), "seed": pyarrow.int64(), "value": pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in Row._fields])
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row._asdict() for row in rows], schema), file)
    return file.getvalue()


def groups(runs: Sequence[TestedRun]) -> dict[tuple[str, str], list[TestedRun]]:
    """Runs of the same clusterer on the same data, one a seed."""
    found: dict[tuple[str, str], list[TestedRun]] = {}
    for run in runs:
        found.setdefault((run.data, run.name), []).append(run)
    return found


def attacks_of(runs: Sequence[TestedRun]) -> list[str]:
    """Clean data, the worst case, then the attacks of all runs in the order of the suite with most of them."""
    fullest_first = sorted(runs, key=lambda run: -len(run.scores))
    return list(dict.fromkeys(["clean", WORST, *(attack for run in fullest_first for attack in run.scores)]))


def cell(runs: Sequence[TestedRun], attack: str, metric: str) -> Cell | None:
    """A metric under an attack over runs; None where none has it, which the worst of no attack is."""
    if attack == WORST:
        runs = [run for run in runs if not run.scores.keys() <= {CLEAN, WORST}]
    values = [run.scores[attack][metric] for run in runs if metric in run.scores.get(attack, {})]
    return Cell(*mean_and_spread(values), len(values)) if values else None


def samples_of(runs: Sequence[TestedRun]) -> str:
    """How many samples were tested, the fewest to the most; empty where that is not known."""
    counts = sorted({run.samples for run in runs if run.samples is not None})
    return " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))


def uneven(runs: Sequence[TestedRun]) -> list[str]:
    """Sentences on data sets whose tests are of different numbers of samples, or of one suite under different attacks."""
    found: dict[str, list[TestedRun]] = {}
    for run in runs:
        found.setdefault(run.data, []).append(run)
    sentences = []
    for data, group in found.items():
        tests = f"tests on {' '.join(data.split())} are"
        if len({run.samples for run in group if run.samples is not None}) > 1:
            sentences.append(f"{tests} of {samples_of(group)} samples: compare with care")
        suites = {(_trial(run.name), frozenset(run.scores)) for run in group}
        if len(suites) > len({trial for trial, _ in suites}):
            sentences.append(f"{tests} not all under the same attacks, and the worst case is of those that there were")
    return sentences


_COLUMNS = {
    ("clean", "acc"): "clean ACC",
    ("clean", "nmi"): "clean NMI",
    (WORST, "acc"): "worst fixed ACC",  # in the worst case they are the same
    (WORST, "nmi"): "worst NMI",
}


def latex(runs: Sequence[TestedRun]) -> str:
    """A table for LaTeX's ``booktabs``: clusterers by ACC and NMI on clean data and in the worst case, best in bold.

    The worst case's ACC is fixed ACC.
    """
    rows, columns = groups(runs), _COLUMNS
    best: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for (data, name), group in rows.items():
        alike = best.setdefault((data, _trial(name)), {})
        for column in columns:
            if (made := cell(group, *column)) is not None:
                alike[column] = max(alike.get(column, -1.0), round(made.mean, 3))
    lines = [
        "% \\usepackage{booktabs}; mean and standard deviation over seeds, best of each data set and suite in bold; worst: "
        "each sample's worst case",
        *(f"% {note}" for note in uneven(runs)),
        f"\\begin{{tabular}}{{ll{'c' * len(columns)}}}",
        "\\toprule",
        " & ".join(["data", "clusterer", *columns.values()]) + r" \\",
        "\\midrule",
        *(
            " & ".join([*map(_escape, key), *_latex_cells(group, best[key[0], _trial(key[1])])]) + r" \\"
            for key, group in rows.items()
        ),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def as_markdown(runs: Sequence[TestedRun]) -> str:
    """The table of :func:`latex` in Markdown, its notes below."""
    rows = [["data", "clusterer", *_COLUMNS.values()]]
    for key, group in groups(runs).items():
        texts = [str(cell(group, *column) or "–") for column in _COLUMNS]
        rows.append([*(re.sub(r"([\\|`*_<\[])", r"\\\1", " ".join(word.split())) for word in key), *texts])
    return "\n".join([markdown(rows), *(f"* {note}\n" for note in uneven(runs))])


def _trial(name: str) -> str:
    """How it was tested: attacker, suite, budget."""
    return name.partition(" (")[2]


def _latex_cells(group: Sequence[TestedRun], best: dict[tuple[str, str], float]) -> Iterator[str]:
    for column in _COLUMNS:
        made = cell(group, *column)
        if made is None:
            yield "--"
            continue
        text = f"{made.mean:.3f}" + (f" \\pm {made.spread:.3f}" if made.runs > 1 else "")
        yield f"$\\mathbf{{{text}}}$" if round(made.mean, 3) == best[column] else f"${text}$"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, f"\\{character}" if character in "&%$#_{}" else character) for character in text)


def metrics_of(runs: Sequence[TestedRun]) -> list[str]:
    """The metrics that there are, in their usual order."""
    return [metric for metric in METRICS if any(metric in scores for run in runs for scores in run.scores.values())]
