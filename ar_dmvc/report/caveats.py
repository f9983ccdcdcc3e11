"""What to know before numbers of several tests are compared or averaged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from ar_dmvc.report.grouping import groups, samples_of
from ar_dmvc.report.runs import Subject, TestedRun
from ar_dmvc.settings import load_yaml

_OF_A_SEED = re.compile(r"(?<=seed_)\d+|(?<=^seed_everything: )\d+", re.M)
_PLACES = ("trainer.logger", "trainer.default_root_dir", "ckpt_path")
"""Settings that say where, not what."""


def caveats(runs: Sequence[TestedRun]) -> list[str]:
    """Sentences on tests of different numbers of samples, suites of different attacks, and seeds of different settings."""
    return [*_uneven(runs), *_mixed(groups(runs))]


def _uneven(runs: Sequence[TestedRun]) -> Iterator[str]:
    found: dict[str, list[TestedRun]] = {}
    for run in runs:
        found.setdefault(run.subject.data, []).append(run)
    for data, group in found.items():
        tests = f"tests on {_on_a_line(data)} are"
        if len({run.samples for run in group if run.samples is not None}) > 1:
            yield f"{tests} of {samples_of(group)} samples: compare with care"
        suites = {(run.subject[3:], frozenset(run.scores)) for run in group}
        if len(suites) > len({trial for trial, _ in suites}):
            yield f"{tests} not all under the same attacks, and the worst case is of those that there were"


def _mixed(found: Mapping[Subject, Sequence[TestedRun]]) -> Iterator[str]:
    for subject, group in found.items():
        for what in ("training", "test"):
            texts = [_OF_A_SEED.sub("", text) for run in group if (text := run.configurations.get(what)) is not None]
            if len(set(texts)) > 1 and (names := _differing([*map(_flat, texts)])):
                yield (
                    f"the {what}s of {_on_a_line(subject.name)} on {_on_a_line(subject.data)} differ in more than their seed: "
                    f"{', '.join(map(_on_a_line, names))}"
                )


def _flat(text: str) -> dict[str, str]:
    """Settings by their dotted name."""
    found: dict[str, str] = {}

    def add(value: Any, name: str) -> None:
        if isinstance(value, dict) and value:
            for key, part in value.items():
                add(part, f"{name}.{key}" if name else str(key))
        elif not name.startswith(_PLACES):
            found[name] = str(value)

    try:
        add(load_yaml(text), "")
    except yaml.YAMLError:
        return {}
    return found


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for one in settings for name in one)
    return [name for name in names if len({one.get(name) for one in settings}) > 1]


def _on_a_line(text: str) -> str:
    return " ".join(text.split())
