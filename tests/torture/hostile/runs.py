"""Folders of runs from strangers, of which a report is made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tests.torture.hostile.case import Case

MARKUP = "<img src=x onerror=alert(1)>'><script>alert(1)</script>{{7*7}}"
ROWS = "attack,acc,nmi\nclean,0.9,0.8\nPGD,0.1,0.1\n"
NAMES = ("robustness.csv", "metrics.csv", "config.yaml", "robustness.png", "robustness_rows.npz", "robustness_samples.csv")
FILES: dict[str, dict[str, bytes]] = {
    "numbers of any length": {"robustness.csv": b"attack,acc\nclean," + b"9" * 100_000},
    "a field of 10 MB": {"robustness.csv": b"attack,acc\n" + b"x" * 10_000_000 + b",0.5"},
    "a million columns": {"robustness.csv": ",".join(map(str, range(1_000_000))).encode()},
    "no text": dict.fromkeys(NAMES, bytes(range(256)) * 100),
    "markup in names": {
        "robustness.csv": f'attack,acc\n"{MARKUP}",0.5\n'.encode(),
        "config.yaml": f"x: >\n  {MARKUP}".encode(),
    },
    "formulas": {"robustness.csv": b"attack,acc\n=cmd|' /C calc'!A0,0.5\n"},
    "rows that are a pickle": {"robustness.csv": ROWS.encode(), "robustness_rows.npz": b"cos\nsystem\n(S'touch canary'\ntR."},
    "brackets": {"robustness.csv": ROWS.encode(), "config.yaml": b"[" * 100_000},
    "a picture that is markup": {"robustness.csv": ROWS.encode(), "robustness.png": MARKUP.encode()},
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, files in FILES.items():
        yield Case("folders of runs", name, partial(_with, files))
    yield Case("folders of runs", "links that lead out", _links)
    yield Case("folders of runs", "pipes", _pipes)


def _with(files: Mapping[str, bytes], folder: Path) -> list[list[str]]:
    run = _run(folder)
    for name, content in files.items():
        (run / name).write_bytes(content)
    return [["report", "runs"]]


def _links(folder: Path) -> list[list[str]]:
    run = _run(folder)
    for name in NAMES:
        (run / name).symlink_to(folder.with_name("secret") / "file")
    (run / "loop").symlink_to(run)
    return [["report", "runs"]]


def _pipes(folder: Path) -> list[list[str]]:
    run = _run(folder)
    for name in NAMES:
        os.mkfifo(run / name)
    return [["report", "runs"]]


def _run(folder: Path) -> Path:
    run = folder / "runs" / "x" / "version_0"
    run.mkdir(parents=True)
    return run
