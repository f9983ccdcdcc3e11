"""A corpus of hostile files, each met by real commands in a watched process.

Nothing of them runs, leads out of its folder, hangs, or takes more than a gigabyte; what is wrong is said in a line.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ar_dmvc import MultiViewClustering
from ar_dmvc.cli import main
from ar_dmvc.errors import CheckpointError
from tests.torture import Trial
from tests.torture.hostile import checkpoints, data, runs, settings
from tests.torture.hostile.case import Case
from tests.torture.watched import watched

_MARKUP = rb"<img src=x|<script>alert|\b999999\b"
"""What a page would hold where what is in ``runs.MARKUP`` were not taken as text."""


def corpus(checkpoint: Path) -> Iterator[Case]:
    """All of it; checkpoints are made of one that is whole."""
    yield from checkpoints.cases(checkpoint)
    yield from data.cases()
    yield from settings.cases()
    yield from runs.cases(checkpoint)


def trials(checkpoint: Path, folder: Path, share: float = 1.0, seed: int = 0) -> Iterator[Trial]:
    """Go through the corpus, or a share of it.

    Args:
        checkpoint: of a clusterer that has learned.
        folder: for all of it.
        share: of each kind, one at least, the rest left out by lot.
        seed: of the lot.
    """
    lot, kinds = random.Random(seed), defaultdict[str, list[Case]](list)
    for case in corpus(checkpoint):
        kinds[case.kind].append(case)
    chosen = [case for cases in kinds.values() for case in lot.sample(cases, max(1, round(share * len(cases))))]
    for number, case in enumerate(chosen):
        yield Trial(case.kind, case.name, _fault(case, folder / str(number)))


def _fault(case: Case, folder: Path) -> str:
    """What was not as promised; the file lies in ``here``, beside something that is none of its business."""
    here, secret = folder / "here", folder / "secret"
    here.mkdir(parents=True)
    secret.mkdir()
    kept = {"file": b"precious", "view.npy": b"precious"}
    for name, content in kept.items():
        (secret / name).write_bytes(content)
    found = []
    for command in case.make(here):
        if fault := watched(here, lambda command=command: _do(command)).fault():  # type: ignore[misc]
            found.append(f"{command[0]}: {fault}")
    if {path.name: path.read_bytes() for path in secret.iterdir()} != kept or (here / "canary").exists():
        found.append("code ran, or something outside was changed")
    if any(re.search(_MARKUP, path.read_bytes()) for path in here.rglob("*.html")):
        found.append("a page holds markup that is not its own")
    if not (here / case.leaves).exists():
        found.append(f"there is no {case.leaves}")
    shutil.rmtree(folder)
    return "; ".join(found)


def _do(command: Sequence[str]) -> int:
    """A command, or ``load``, which the estimator does."""
    if command[0] != "load":
        return main(command)
    try:
        MultiViewClustering.load(command[1])
    except CheckpointError as error:  # the one that is promised
        print(f"ardmvc: error: {error}", file=sys.stderr)
        return 1
    return 0
