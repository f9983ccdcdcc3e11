"""Options that are given two values on one command line, under one name or under two that mean the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

import yaml

from ar_dmvc.settings import load_yaml

_REPEATABLE = ("--", "--config", "--allow")
"""Configurations are merged, and what may be imported adds up."""


def given_again(arguments: Sequence[str]) -> str | None:
    """What is wrong where an option is given two values; ``--x+`` appends what has its own.

    Args:
        arguments: of a command line, in either form, ``--x=1`` or ``--x 1``.

    Returns:
        A message that names the option and its values, None where there is none such.
    """
    known = defaultdict[str, list[tuple[str, str, str]]](list)
    for name, value in _options(arguments):
        plain = _plain(name.removesuffix("+"))
        if name.endswith("+"):
            for other in [other for other in known if other.startswith(f"{plain}.")]:
                del known[other]
        elif name not in _REPEATABLE:
            for part, content in {**dict(_parts(plain, value)), plain: str(_loaded(value))}.items():
                known[part].append((content, plain, value))
    return next(filter(None, (_complaint(name, given) for name, given in known.items())), None)


def _complaint(name: str, given: Sequence[tuple[str, str, str]]) -> str | None:
    """Of a setting's contents, each with the option that it came with, and that option's value."""
    if len({content for content, _, _ in given}) == 1:
        return None
    if all(option == name for _, option, _ in given):
        where = ", ".join(value for _, _, value in given)
    else:
        where = " and ".join(f"in {option}={value}" for _, option, value in given)
    return f"{name}: given {len(given)} times, {where}; give it once"


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values, an empty one where there is none."""
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            yield name, value if equals else "" if following.startswith("--") else following


def _plain(name: str) -> str:
    """Without what may be left out of the name of a setting."""
    return name.replace(".init_args", "").removesuffix(".class_path")


def _loaded(value: str) -> object:
    """What a text stands for; itself where that is nothing, as the parser will say."""
    with suppress(ValueError, yaml.YAMLError):
        return load_yaml(value)
    return value


def _parts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """The settings within a value, which may be several of a class or a group, each as text."""
    content = _loaded(value) if isinstance(value, str) else value
    if isinstance(content, Mapping) and content:
        for key, item in content.items():
            yield from _parts(_plain(f"{name}.{key}"), item)
    else:
        yield name, str(content)
