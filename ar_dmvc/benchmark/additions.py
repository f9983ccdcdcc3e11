"""Options that add to settings of a grid: ``--data+=OPTION``, and ``--data.NAME+=OPTION`` where settings have names.

The parser knows the first alone, and has it take the place of settings that have names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import yaml

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.settings import load_yaml
from ar_dmvc.suggestions import did_you_mean

_ADDITION = re.compile(r"--(data|clusterers|baselines|defences|attacker|attacks)(?:\.([^=]+))?\+(?:=(.*))?", re.DOTALL)
_NAMED = ("clusterers", "baselines", "defences")
"""Axes on which settings always have names."""


class Addition(NamedTuple):
    """What is added.

    Attributes:
        axis: of the grid.
        name: of settings on it; empty where they have none.
        parts: configuration files and options.
    """

    axis: str
    name: str
    parts: list[str]

    def make(self, settings: dict[str, Any]) -> None:
        """Add it to the settings of a grid.

        Raises:
            ConfigurationError: none on the axis have this name, or they have names and this has not.
        """
        there = settings[self.axis] or ({} if self.axis in _NAMED else [])
        if not isinstance(there, Mapping):
            if self.name:
                raise ConfigurationError(f"--{self.axis}+=OPTION: nothing there is named {self.name!r}; settings have no names")
            settings[self.axis] = [*there, *self.parts]
        elif self.name in there:
            settings[self.axis] = {**there, self.name: [*there[self.name], *self.parts]}
        else:
            names, unknown = ", ".join(filter(None, there)), f", not {self.name!r}" if self.name else ""
            known = f"the names are {names}{unknown}{did_you_mean(self.name, there)}" if there else "there are none"
            raise ConfigurationError(f"--{self.axis}.NAME+=OPTION: {known}")


def additions(args: Sequence[str]) -> tuple[list[str], list[Addition]]:
    """The arguments that are none, and those that are.

    Raises:
        ConfigurationError: one has no value.
    """
    others, found, rest = list[str](), list[Addition](), iter(args)
    for argument in rest:
        if (addition := _ADDITION.fullmatch(argument)) is None:
            others.append(argument)
            continue
        value = next(rest, None) if addition[3] is None else addition[3]
        if value is None:
            raise ConfigurationError(f"{argument}: a value is expected after it")
        found.append(Addition(addition[1], addition[2] or "", _parts(argument, value)))
    return others, found


def _parts(argument: str, value: str) -> list[str]:
    parts: list[object] = [value]
    with suppress(yaml.YAMLError):
        parts = load_yaml(value) if value.startswith("[") else parts
    if any(not isinstance(part, str) or part.startswith("[") or not part for part in parts):
        raise ConfigurationError(f"{argument.partition('=')[0]}: {value!r} is no file or option, nor a list of them")
    return [str(part) for part in parts]
