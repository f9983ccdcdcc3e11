"""Folders of runs from strangers, of which a report is made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import numpy as np

from ar_dmvc.cli import main
from tests.conftest import QUIET
from tests.torture.hostile.case import MARKUP, Case, Pickled
from tests.torture.watched import watched

_PAGE = "runs/report.html"
_PNG = b"\x89PNG\r\n\x1a\n"


def _scores(**more: object) -> bytes:
    """As a test writes them, and more."""
    row = {"acc": 0.9, "nmi": 0.8, "ari": 0.7, "purity": 0.9, "fixed_acc": 0.9, "kept": 1.0}
    return json.dumps({"scores": {"clean": row, MARKUP: row, "worst": row}, "notes": [MARKUP], **more}).encode()


def _archive(**arrays: object) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


WHOLE: dict[str, dict[str, bytes]] = {
    "markup in attacks, notes and all that is said of it": {
        "robustness.json": _scores(about={"data": MARKUP, "clusterer": MARKUP, MARKUP: MARKUP}, costs={MARKUP: {"seconds": 1}}),
        "robustness_curve.csv": f'attack,epsilon,acc,fixed_acc\n"{MARKUP}",0.1,0.5,0.5\n"{MARKUP}",0.2,0.4,0.4\n'.encode(),
        "config.yaml": f"seed_everything: 0\nx: >\n  {MARKUP}".encode(),
    },
    "numbers of any length": {"robustness_curve.csv": b"attack,epsilon,acc\nclean,0.1," + b"9" * 100_000},
    "numbers that are none": {
        "robustness.json": _scores(budgets={"gan": 1e999, "x": float("nan")}, costs={"gan": {"seconds": -1}})
    },
    "a field of 10 MB": {"robustness_curve.csv": b"attack,epsilon,acc\n" + b"x" * 10_000_000 + b",0.1,0.5"},
    "a million columns": {"robustness_curve.csv": ",".join(map(str, range(1_000_000))).encode()},
    "a curve of 10,000 attacks": {
        "robustness_curve.csv": "\n".join(
            ["attack,epsilon,acc", *(f"a{n},0.1,0.5\na{n},9e307,0.5" for n in range(10_000))]
        ).encode()
    },
    "settings of aliases of aliases": {
        "config.yaml": "\n".join(["l0: &l0 [1]", *(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 1300))]).encode()
    },
    "half a character": {"robustness.json": _scores(about={"data": "\ud800", "\udfff": MARKUP})},
    "labels of a place where it is not": {
        "../version_0.json": json.dumps({"labels": {"clusterer": MARKUP, "seed": "0", "folder": "../.."}}).encode()
    },
    "labels of its place": {
        "../version_0.json": json.dumps(
            {"labels": {"clusterer": "x/" * 10**6, "defence": MARKUP, "seed": "0", "folder": "version_0"}}
        ).encode()
    },
    "no text": {name: bytes(range(256)) * 100 for name in ("config.yaml", "robustness_curve.csv", "robustness_rows.npz")},
    "formulas": {"robustness_curve.csv": b"attack,epsilon,acc\n=cmd|' /C calc'!A0,0.1,0.5\n"},
    "rows that are a pickle": {"robustness_rows.npz": b"cos\nsystem\n(S'touch canary'\ntR."},
    "rows of objects": {"robustness_rows.npz": _archive(attacks=np.array([Pickled()], dtype=object))},
    "rows that expand": {"robustness_rows.npz": _archive(attacks=np.array([MARKUP]), label=np.zeros(1 << 28, dtype=np.int8))},
    "rows of other shapes": {"robustness_rows.npz": _archive(attacks=np.array([MARKUP] * 3), label=np.zeros((3, 4)))},
    "brackets": {"config.yaml": b"[" * 100_000},
    "a picture that is markup": {"pictures/test_x.png": MARKUP.encode(), "pictures/test_y.png": _PNG + MARKUP.encode()},
}
"""Beside what makes it a test, of which there has to be a page."""
BROKEN: dict[str, dict[str, bytes]] = {
    "brackets": {"robustness.json": b"[" * 100_000},
    "no text": {"robustness.json": bytes(range(256)) * 100},
    "a text of 50 MB": {"robustness.json": b'{"scores": "' + b"x" * 50_000_000 + b'"}'},
    "100,000 attacks": {"robustness.json": json.dumps({"scores": {str(number): {} for number in range(100_000)}}).encode()},
    "scores that are a text": {"robustness.json": json.dumps({"scores": MARKUP}).encode()},
    "huge numbers": {"robustness.json": b'{"scores": {"clean": {"acc": ' + b"9" * 100_000 + b"}}}"},
}


def cases(checkpoint: Path) -> Iterator[Case]:
    """All of them; folders of runs are made of a test of a checkpoint."""
    for name, files in WHOLE.items():
        yield Case("folders of runs", name, partial(_with, checkpoint, files), leaves=_PAGE)
    for name, files in BROKEN.items():
        yield Case("folders of runs", f"a result of {name}", partial(_with, checkpoint, files))
    for name in ("config.yaml", "robustness_rows.npz", "robustness_curve.csv", "robustness.json"):
        leaves = "" if name == "robustness.json" else _PAGE
        yield Case("folders of runs", f"a link that leads out, {name}", partial(_linked, checkpoint, name), leaves)
        yield Case("folders of runs", f"a pipe, {name}", partial(_piped, checkpoint, name), leaves)
    yield Case("folders of runs", "a link to itself", partial(_looped, checkpoint), leaves=_PAGE)
    for name, make in _RECORDS.items():
        yield Case("records of benchmarks", name, partial(_with_record, make))
    for name in (MARKUP.replace("/", ""), "../../secret", "a/b", "x" * 300):
        yield Case("records of benchmarks", f"a clusterer {name[:20]}", partial(_with_name, name))


def _with(checkpoint: Path, files: Mapping[str, bytes], folder: Path) -> list[list[str]]:
    run = _run(checkpoint, folder)
    for name, content in files.items():
        (run / name).write_bytes(content)
    return [["report", "runs"]]


def _linked(checkpoint: Path, name: str, folder: Path) -> list[list[str]]:
    path = _run(checkpoint, folder) / name
    path.unlink()
    path.symlink_to(folder.with_name("secret") / "file")
    return [["report", "runs"]]


def _piped(checkpoint: Path, name: str, folder: Path) -> list[list[str]]:
    path = _run(checkpoint, folder) / name
    path.unlink()
    os.mkfifo(path)
    return [["report", "runs"]]


def _looped(checkpoint: Path, folder: Path) -> list[list[str]]:
    run = _run(checkpoint, folder)
    (run / "loop").symlink_to(run)
    return [["report", "runs"]]


def _run(checkpoint: Path, folder: Path) -> Path:
    shutil.copytree(_tested(checkpoint) / "runs", folder / "runs")
    return folder / "runs" / "test" / "version_0"


@cache
def _tested(checkpoint: Path) -> Path:
    """A folder in which a checkpoint was tested."""
    folder = checkpoint.parent / "tested"
    folder.mkdir()
    few = ("--trainer.limit_test_batches=1", "--data.batch_size=10", "--epsilons=[0.1, 0.2]", "--resolution=null", *QUIET)
    outcome = watched(
        folder, lambda: main(["test", f"--ckpt_path={checkpoint}", "--model.attacks={x: FGSM}", *few]), seconds=60
    )
    assert outcome.code == 0, outcome.err
    return folder


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
