"""Tests that belong together, and their numbers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ar_dmvc.evaluation.record import METRICS
from ar_dmvc.evaluation.robustness import mean_and_spread
from ar_dmvc.evaluation.sanity import CLEAN, WORST
from ar_dmvc.report.runs import Subject, TestedRun

LARGEST_BUDGET = 1e6
"""Of what a stranger's file says, what is more is none."""
NAMES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI", "purity": "purity", "fixed_acc": "fixed ACC", "kept": "kept"}


class Cell(NamedTuple):
    """A metric of a clusterer under an attack: mean and standard deviation over its runs, and how many these are."""

    mean: float
    spread: float
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.runs == 1 else f"{self.mean:.3f}±{self.spread:.3f}"


def groups(runs: Sequence[TestedRun]) -> dict[Subject, list[TestedRun]]:
    """Runs of the same subject, one a seed."""
    found: dict[Subject, list[TestedRun]] = {}
    for run in runs:
        found.setdefault(run.subject, []).append(run)
    return found


def axes_of(runs: Sequence[TestedRun]) -> list[str]:
    """Data, clusterer, and what else distinguishes subjects, as far as there is any."""
    return ["data", "clusterer", *(axis for axis in Subject._fields[2:] if any(getattr(run.subject, axis) for run in runs))]


def budget_of(subject: Subject) -> float | None:
    """The budget that its grid gives attacks; None where it gives none, or none that could be one."""
    try:
        budget = float(subject.budget)
    except ValueError:
        return None
    return budget if 0 < budget < LARGEST_BUDGET else None


def attacks_of(runs: Sequence[TestedRun]) -> list[str]:
    """Clean data, the worst case, then the attacks of all runs in the order of the suite with most of them."""
    fullest_first = sorted(runs, key=lambda run: -len(run.scores))
    return list(dict.fromkeys(["clean", WORST, *(attack for run in fullest_first for attack in run.scores)]))


def cell(runs: Sequence[TestedRun], attack: str, metric: str) -> Cell | None:
    """A metric under an attack over runs; None where none has it, which the worst of no attack is."""
    if attack == WORST:
        runs = [run for run in runs if not run.scores.keys() <= {CLEAN, WORST}]
    values = [run.scores[attack][metric] for run in runs if metric in run.scores.get(attack, {})]
    return cell_of(values) if values else None


def cell_of(values: Sequence[float]) -> Cell:
    """A metric of several runs, of one at least, as one."""
    return Cell(*mean_and_spread(values), len(values))


def samples_of(runs: Sequence[TestedRun]) -> str:
    """How many samples were tested, the fewest to the most; empty where that is not known."""
    counts = sorted({run.samples for run in runs if run.samples is not None})
    return " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))


def metrics_of(runs: Sequence[TestedRun]) -> list[str]:
    """The metrics that there are, in their usual order."""
    return [metric for metric in METRICS if any(metric in scores for run in runs for scores in run.scores.values())]


def notes_of(group: Sequence[TestedRun]) -> list[str]:
    """The notes of all seeds, each once, with its seeds where others do not have it."""
    seeds: dict[str, list[int | None]] = {}
    for run in group:
        for note in dict.fromkeys(run.notes):
            seeds.setdefault(note, []).append(run.seed)
    return [note if len(found) == len(group) else f"{_of_seeds(found)}: {note}" for note, found in seeds.items()]


def _of_seeds(seeds: Sequence[int | None]) -> str:
    known = [str(seed) for seed in seeds if seed is not None]
    return f"seed{'s' if len(known) > 1 else ''} {', '.join(known)}" if known else "of one run"
