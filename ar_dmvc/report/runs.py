"""Tests that were run, read from their folders; what a stranger may have put there is read as numbers and text alone."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from ar_dmvc.data.readers.expansion import check_expansion
from ar_dmvc.errors import DataError
from ar_dmvc.evaluation import AttackRecord
from ar_dmvc.evaluation.record import METRICS
from ar_dmvc.runs.ids import metric_files
from ar_dmvc.runs.job import EARLIER
from ar_dmvc.settings import load_yaml

_GENERATOR = "generator's training"
_LARGEST_PICTURE = 5_000_000
_LARGEST_TEXT = 20_000_000
_MOST_EPOCHS = 1_000_000
_LONGEST_COUNT = 16
_LONGEST_WORDS = 1000
_PNG = b"\x89PNG\r\n\x1a\n"


class Subject(NamedTuple):
    """What tests that differ by seed alone have in common; what of it a grid does not have, or is not known, is empty.

    Attributes:
        data: the data set.
        clusterer: as a benchmark or a folder names it.
        defence: that was put on it.
        attacker: the name of the generator trained against it.
        suite: the name of the attacks.
        budget: of attacks that name none; empty: the data's.
    """

    data: str
    clusterer: str
    defence: str = ""
    attacker: str = ""
    suite: str = ""
    budget: str = ""

    @property
    def name(self) -> str:
        """All but the data."""
        words = ", ".join(filter(None, (*self[3:5], self.budget and f"budget {self.budget}")))
        return "+".join(filter(None, self[1:3])) + (f" ({words})" if words else "")


@dataclass(frozen=True)
class TestedRun:
    """One test of one clusterer.

    Attributes:
        folder: of the test.
        root: the report's folder; nothing outside is read.
        subject: what was tested, and how.
        seed: of its training; None where that is not known.
        scores: attack to metric to value, ``clean`` first and ``worst`` last.
        budgets: of the attacks, as far as they are known.
        costs: attack to seconds.
        notes: on what to think of the scores.
        about: what was tested, with what.
    """

    folder: Path
    root: Path
    subject: Subject
    seed: int | None
    scores: dict[str, dict[str, float]]
    budgets: dict[str, float]
    costs: dict[str, float]
    notes: list[str]
    about: dict[str, str]

    @property
    def samples(self) -> int | None:
        """How many were tested; None where that is not known."""
        said = self.about.get("samples", "")
        if said.isascii() and said.isdigit() and len(said) < _LONGEST_COUNT:
            return int(said)
        return None if self.record is None else len(self.record.clean)

    @cached_property
    def record(self) -> AttackRecord | None:
        """What became of each sample; None where that was not kept, or cannot be read."""
        try:
            path = self.folder / "robustness_rows.npz"
            return _record(path) if _is_within(path, self.root) and path.is_file() else None
        except (OSError, ValueError, TypeError, KeyError, MemoryError, DataError, zipfile.BadZipFile, zlib.error):
            return None

    @cached_property
    def curve(self) -> dict[str, list[tuple[float, dict[str, float]]]]:
        """Attack to budgets and scores; empty where no curve was drawn."""
        curve: dict[str, list[tuple[float, dict[str, float]]]] = {}
        for row in _rows(self.folder / "robustness_curve.csv", self.root):
            numbers = _numbers({name: value for name, value in row.items() if name != "attack"})
            if "epsilon" in numbers and row.get("attack"):
                curve.setdefault(row["attack"], []).append((numbers.pop("epsilon"), numbers))
        return curve

    @cached_property
    def trainings(self) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Metric to epochs and values, of each training beside the test in a benchmark that left them."""
        found = {name: _metrics(metric_files(folder), self.root) for name, folder in self._trained.items()}
        return {name: metrics for name, metrics in found.items() if metrics}

    @cached_property
    def training_costs(self) -> dict[str, tuple[float, str]]:
        """Seconds that each training in a benchmark took, and on what device, where that was kept; empty: not known."""
        texts = {name: _text(folder.with_name(f"{folder.name}.json"), self.root) for name, folder in self._trained.items()}
        left = {name: _mapping(text or "") for name, text in texts.items()}
        records = {name: record for name, record in left.items() if record.get("done") is True}
        found = {name: _numbers(record).get("seconds") for name, record in records.items()}
        return {name: (seconds, _device(records[name])) for name, seconds in found.items() if seconds is not None}

    @cached_property
    def trained_for(self) -> str:
        """Epochs of each training in a benchmark, and which part of the data's files it saw, as far as they are known."""
        found = ((name, _settings(folder / "config.yaml", self.root)) for name, folder in self._trained.items())
        return "; ".join(words for name, settings in found if (words := _extent(name, settings)))

    @cached_property
    def trained_on(self) -> str:
        """The data set that the clusterer was trained on in a benchmark; empty where that is not known."""
        data = _settings(self._trained["training"] / "config.yaml", self.root).get("data")
        kind = data.get("class_path") if isinstance(data, dict) else None
        return kind.rpartition(".")[2] if isinstance(kind, str) else ""

    @cached_property
    def _trained(self) -> dict[str, Path]:
        """The folders of the trainings that it is of, in a benchmark: of the clusterer, and of a generator that attacks it."""
        folders = {"training": self.folder.parent / "fit"}
        checkpoint = _settings(self.folder / "config.yaml", self.root).get("ckpt_path")
        name = Path(checkpoint).parent.parent.name if isinstance(checkpoint, str) else "fit"
        beside = {path.name: path for path in self.folder.parent.iterdir() if (path / "checkpoints").is_dir()}
        is_generator = name != "fit" and {name, "fit"} <= beside.keys()
        return {**folders, _GENERATOR: beside[name]} if is_generator else folders

    @cached_property
    def pictures(self) -> dict[str, bytes]:
        """PNG files that the test left, by what they show."""
        found = {}
        for path in sorted(self.folder.glob("pictures/*.png")):
            if path.is_file() and _is_within(path, self.root) and path.stat().st_size <= _LARGEST_PICTURE:
                content = path.read_bytes()
                if content.startswith(_PNG):
                    found[path.stem.removeprefix("test_")] = content
        return found

    @cached_property
    def configurations(self) -> dict[str, str]:
        """The resolved configurations of training and test, where they were kept."""
        places = {name: folder / "config.yaml" for name, folder in {**self._trained, "test": self.folder}.items()}
        return {name: text for name, path in places.items() if (text := _text(path, self.root)) is not None}


def find_runs(folder: Path, tests: Sequence[Path] | None = None) -> list[TestedRun]:
    """Tests below a folder, in the order of their paths; what cannot be read is left out and said so.

    Args:
        folder: the folder.
        tests: their folders; None: every test.
    """
    found = (path for path in folder.rglob("robustness.json") if not _is_aside(path.relative_to(folder)))
    paths = found if tests is None else (test / "robustness.json" for test in tests)
    runs = []
    for path in sorted(paths, key=lambda path: path.parts):
        try:
            runs.append(_read(path, folder))
        except (ValueError, TypeError, AttributeError, KeyError, OSError, OverflowError, RecursionError) as error:
            print(f"ardmvc: {path}: left out, not what a test writes ({error})", file=sys.stderr)
    return runs


def _is_aside(path: Path) -> bool:
    return any(part.endswith(EARLIER) for part in path.parts)


def _read(path: Path, root: Path) -> TestedRun:
    content = json.loads(_text(path, root) or "")
    scores = {_plain(attack): _numbers(row) for attack, row in content["scores"].items()}
    if not set(METRICS) & set(scores.get("clean", {})):
        raise ValueError("no clean scores")
    settings = _settings(path.parent / "config.yaml", root)
    about = {_plain(key): _plain(value) for key, value in content.get("about", {}).items()}
    if "data" not in about:  # written by an earlier version
        about["data"] = str(settings.get("data", {}).get("class_path", "")).rpartition(".")[2]
    subject, seed = _subject_and_seed(path.parent, root, settings, about["data"])
    return TestedRun(
        folder=path.parent,
        root=root,
        subject=subject,
        seed=seed,
        scores=scores,
        budgets=_numbers(content.get("budgets", {})),
        costs={_plain(attack): _numbers(cost).get("seconds", 0.0) for attack, cost in content.get("costs", {}).items()},
        notes=[_plain(note) for note in content.get("notes", [])],
        about=about,
    )


def _subject_and_seed(folder: Path, root: Path, settings: Mapping[str, Any], data: str) -> tuple[Subject, int | None]:
    """What a benchmark says of its test, else what the folder's path does: ``NAME/seed_S/test_TRIAL``, of an earlier one."""
    data, parts, labels = data or folder.parent.name, folder.relative_to(root).parts, _labels(folder, root)
    if (of_a_grid := _of_a_grid(folder, parts, labels, data)) is not None:
        return of_a_grid
    found = re.fullmatch(r"seed_(\d{1,15})/test(?:_(.+))?", "/".join(parts[-2:]))
    if len(parts) >= 3 and found and labels.get("seed", found[1]) == found[1]:
        return Subject(data, "/".join(parts[:-2]), suite=found[2] or ""), int(found[1])
    seed = settings.get("seed_everything")
    return Subject(data, "/".join(parts) or root.resolve().name), seed if isinstance(seed, int) else None


def _of_a_grid(folder: Path, parts: tuple[str, ...], labels: Mapping[str, str], data: str) -> tuple[Subject, int] | None:
    """What labels say of a test; None where it does not lie where they say, as a copy does not, which is no further seed."""
    place, seed = Path(labels.get("folder", "")).parts, labels.get("seed", "")
    if not place or folder.resolve().parts[-len(place) :] != place or not re.fullmatch(r"\d{1,15}", seed):
        return None
    known = {axis: labels.get(axis, "") for axis in Subject._fields[1:]}
    known["clusterer"] = "/".join((*parts[: -len(place)], known["clusterer"]))  # each of several grids has its folder
    whole, space, part = data.partition(" (")
    return Subject((labels.get("data") or whole) + space + part, **known), int(seed)


def _labels(folder: Path, root: Path) -> dict[str, str]:
    """What a benchmark wrote beside a test, by axis of its grid; nothing where there is none, or it cannot be read."""
    try:
        labels = json.loads(_text(folder.with_name(f"{folder.name}.json"), root) or "")["labels"]
        return {str(axis): _plain(value) for axis, value in labels.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}


def _plain(value: object) -> str:
    """As text that can be written and drawn; half a character, which JSON can name, cannot be, nor pages of them."""
    return str(value)[:_LONGEST_WORDS].encode(errors="replace").decode()


def _settings(path: Path, root: Path) -> Mapping[str, Any]:
    return _mapping(_text(path, root) or "")


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        content = load_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _extent(name: str, settings: Mapping[str, Any]) -> str:
    trainer, data = (part if isinstance(part := settings.get(key), dict) else {} for key in ("trainer", "data"))
    epochs, arguments = trainer.get("max_epochs"), data.get("init_args")
    if type(epochs) is not int or not 0 < epochs < _MOST_EPOCHS:
        return ""
    splits = arguments.get("splits") if isinstance(arguments, dict) and name != _GENERATOR else None
    part = f" of the {splits[0]} images" if splits in (["train"], ["test"]) else ""
    return f"{'generator ' if name == _GENERATOR else ''}{epochs} epochs{part}"


def _device(record: Mapping[str, Any]) -> str:
    made_on = record.get("machine")
    device = made_on.get("device") if isinstance(made_on, dict) else None
    return _plain(device) if isinstance(device, str) else ""


def _metrics(paths: Sequence[Path], root: Path) -> dict[str, list[tuple[int, float]]]:
    metrics: dict[str, list[tuple[int, float]]] = {}
    for row in chain.from_iterable(_rows(path, root) for path in paths):
        numbers = _numbers(row)
        for name, value in numbers.items():
            if name not in ("epoch", "step") and "epoch" in numbers:
                metrics.setdefault(name, []).append((int(numbers["epoch"]), value))
    return metrics


def _record(path: Path) -> AttackRecord:
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            check_expansion(path.stat().st_size, sum(member.file_size for member in archive.infolist()), str(path))
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
    attacks, members = (tuple(str(value) for value in kept.pop(name)) for name in ("attacks", "members"))
    tensors = {name: torch.from_numpy(value) for name, value in kept.items()}
    label = tensors.pop("label", None)
    record = AttackRecord(attacks=attacks, label=label, members=tuple((value,) for value in members), **tensors)
    count = record.clean.shape
    if len(count) != 1 or record.cluster.shape != (len(attacks), *count) or (label is not None and label.shape != count):
        raise ValueError("shapes that do not fit together")
    return record


def _is_within(path: Path, root: Path) -> bool:
    """Whether a path, links followed, lies below a folder."""
    return path.resolve().is_relative_to(root.resolve())


def _text(path: Path, root: Path) -> str | None:
    try:
        if not _is_within(path, root) or not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
            return None
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _rows(path: Path, root: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader((_text(path, root) or "").splitlines()))
    except csv.Error:
        return []


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among values, by name."""
    numbers = {}
    for name, value in row.items():
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            numbers[_plain(name)] = number
    return numbers
