"""What to know before numbers of several tests are compared or averaged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ar_dmvc.report.grouping import budget_of, groups, samples_of
from ar_dmvc.report.runs import Subject, TestedRun
from ar_dmvc.settings import load_yaml

_OF_A_SEED = re.compile(r"(?<=seed_)\d+|(?<=^seed_everything: )\d+", re.M)
_NO_DIFFERENCE = (
    *("seed_everything", "ckpt_path", "trainer.logger", "trainer.default_root_dir"),
    *("trainer.callbacks", "trainer.plugins", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
)
"""Settings of the seed, of where a run is, and of how it is watched."""
_MOST_NAMES = 10
_LONGEST_NAME = 100


def caveats(runs: Sequence[TestedRun]) -> list[str]:
    """Sentences on tests of different numbers of samples, attacks or budgets, and on seeds of different settings.

    Args:
        runs: at least one.
    """
    found: dict[str, list[TestedRun]] = {}
    for run in runs:
        found.setdefault(run.subject.data, []).append(run)
    of_data = (note for data, group in found.items() for note in _uneven(data, group))
    of_seeds = (note for subject, group in groups(runs).items() for note in _mixed(subject, group))
    return [*of_data, *of_seeds]


def _uneven(data: str, group: Sequence[TestedRun]) -> Iterator[str]:
    tests = f"tests on {_on_a_line(data)} are"
    if len({run.samples for run in group if run.samples is not None}) > 1:
        yield f"{tests} of {samples_of(group)} samples: compare with care"
    suites = {(run.subject[3:], frozenset(run.scores)) for run in group}
    if len(suites) > len({trial for trial, _ in suites}):
        yield f"{tests} not all under the same attacks, and the worst case is of those that there were"
    own = {attack: None for run in group for attack in run.budgets if has_own_budget(run, attack)}
    if own:
        yield f"{tests} of several budgets, but for attacks with their own, of which the worst case is as well: {_list(own)}"


def has_own_budget(run: TestedRun, attack: str) -> bool:
    """Whether an attack has another budget than its grid gives."""
    budget = budget_of(run.subject)
    return budget is not None and abs(run.budgets.get(attack, budget) - budget) > 1e-6 * budget


def _mixed(subject: Subject, group: Sequence[TestedRun]) -> Iterator[str]:
    for what in dict.fromkeys(name for run in group for name in run.configurations):
        texts = {_OF_A_SEED.sub("", text) for run in group if (text := run.configurations.get(what)) is not None}
        if len(texts) > 1 and (names := _differing(sorted(texts))):
            where = f"{_on_a_line(subject.name)} on {_on_a_line(subject.data)}"
            yield f"the {what}s of {where} differ in more than their seed: {names}"


def _differing(texts: Sequence[str]) -> str:
    """The names of settings that differ between configurations, of those that can be read; empty where none do."""
    settings = []
    for text in texts:
        try:
            settings.append(load_yaml(text))
        except yaml.YAMLError:
            continue
    names: dict[str, None] = {}
    try:
        for name in _names(settings, []):
            if not name.startswith(_NO_DIFFERENCE):
                names[name] = None
                if len(names) > _MOST_NAMES:
                    break
    except RecursionError:  # settings without end
        pass
    return _list(names)


def _names(values: Sequence[Any], place: list[str]) -> Iterator[str]:
    """The dotted names of what differs."""
    if all(isinstance(value, dict) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            place.append(str(key)[:_LONGEST_NAME])
            yield from _names([value.get(key) for value in values], place)
            place.pop()
    elif any(_placeless(value) != _placeless(values[0]) for value in values[1:]):
        yield ".".join(place)


def _placeless(value: Any) -> Any:
    """A path without what is in front of the run's folder, which may have been moved."""
    if not isinstance(value, str):
        return value
    before, seed, after = value.partition("/seed_/")
    return before.rpartition("/")[2] + seed + after if seed else value


def _list(names: dict[str, None]) -> str:
    shown = [_on_a_line(name)[:_LONGEST_NAME] for name in list(names)[:_MOST_NAMES]]
    return ", ".join(shown) + (", and more" if len(names) > _MOST_NAMES else "")


def _on_a_line(text: str) -> str:
    return " ".join(text.split())
