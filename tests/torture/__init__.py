"""What is promised when something goes wrong, tried many times over: ``python -m tests.torture``, and a short form as tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One try.

    Attributes:
        kind: of which it is one, a row of the table.
        name: which one it is.
        fault: what was not as promised; empty where all was.
    """

    kind: str
    name: str
    fault: str = ""


def faults(trials: Iterable[Trial]) -> list[Trial]:
    """Those that did not go as promised; there has to be at least one trial."""
    tried = list(trials)
    assert tried
    return [trial for trial in tried if trial.fault]


def table(trials: Iterable[Trial]) -> str:
    """Trials and faults of each kind."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for trial in trials:
        counts[trial.kind][0] += 1
        counts[trial.kind][1] += bool(trial.fault)
    rows = [f"| {kind} | {tried} | {failed} |" for kind, (tried, failed) in counts.items()]
    return "\n".join(["| what | trials | not as promised |", "| --- | --- | --- |", *rows])
