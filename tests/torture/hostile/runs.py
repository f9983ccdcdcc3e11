"""Folders of runs from strangers, of which a report is made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from tests.torture.hostile.case import MARKUP, Case

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
    for name, make in _RECORDS.items():
        yield Case("records of benchmarks", name, partial(_with_record, make))
    for name in (MARKUP.replace("/", ""), "../../secret", "a/b", "x" * 300):
        yield Case("records of benchmarks", f"a clusterer {name[:20]}", partial(_with_name, name))


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


_JOB = "out/A/seed_0"
_RECORDS: dict[str, Callable[[Path], object]] = {
    "a record of brackets": lambda folder: (folder / _JOB / "fit.json").write_bytes(b"[" * 100_000),
    "a record without end": lambda folder: (folder / _JOB / "fit.json").write_bytes(b'"' + b"x" * 50_000_000),
    "a record of bytes": lambda folder: (folder / _JOB / "fit.json").write_bytes(bytes(range(256))),
    "a record that is a pipe": lambda folder: os.mkfifo(folder / _JOB / "fit.json"),
    "a record that is a folder": lambda folder: (folder / _JOB / "fit.json").mkdir(),
    "a record that is a link": lambda folder: (folder / _JOB / "fit.json").symlink_to(folder.with_name("secret") / "file"),
    "a lock that is a link": lambda folder: (folder / _JOB / "fit.lock").symlink_to(folder.with_name("secret") / "file"),
    "a lock that is a pipe": lambda folder: os.mkfifo(folder / _JOB / "fit.lock"),
    "a lock that is a folder": lambda folder: (folder / _JOB / "fit.lock").mkdir(),
    "a job's folder that is a link": lambda folder: (folder / _JOB / "fit").symlink_to(folder.with_name("secret")),
    "a job's folder that is a file": lambda folder: (folder / _JOB / "fit").write_bytes(b"x"),
    "a part that is a pipe": lambda folder: _deep(
        folder / _JOB / "fit/checkpoints", lambda to: os.mkfifo(to / ".last.ckpt.part")
    ),
    "a result that is a pipe": lambda folder: _deep(folder / _JOB / "test", lambda to: os.mkfifo(to / "robustness.json")),
    "a result that is no result": lambda folder: _deep(
        folder / _JOB / "test", lambda to: (to / "robustness.json").write_bytes(b"{" * 100_000)
    ),
    "a table that is a link": lambda folder: (folder / "out/table.md").symlink_to(folder.with_name("secret") / "file"),
}


def _deep(folder: Path, make: Callable[[Path], object]) -> None:
    folder.mkdir(parents=True)
    make(folder)


def _with_record(make: Callable[[Path], object], folder: Path) -> list[list[str]]:
    (folder / _JOB).mkdir(parents=True)
    make(folder)
    return [_benchmark("A")]


def _with_name(name: str, folder: Path) -> list[list[str]]:
    return [_benchmark(name)]


def _benchmark(name: str) -> list[str]:
    settings = {
        "data": ["data/digits.yaml"],
        "clusterers": {name: ["victims/simvc.yaml", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]},
        "attacks": ["--model.attacks={}", "--trainer.limit_test_batches=1", "--data.batch_size=10"],
    }
    return ["benchmark", "--output=out", "--seeds=[0]", *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]


def _run(folder: Path) -> Path:
    run = folder / "runs" / "x" / "version_0"
    run.mkdir(parents=True)
    return run
