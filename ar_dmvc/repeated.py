"""Options that are given two values on one command line, under one name or under two that mean the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

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
    texts, parts = defaultdict[str, list[str]](list), defaultdict[str, list[tuple[str, object]]](list)
    for name, text in _options(arguments):
        if name.endswith("+"):
            for other in [other for other in (*texts, *parts) if other.startswith(f"{name[:-1]}.")]:
                texts.pop(other, None)
                parts.pop(other, None)
        elif name not in _REPEATABLE:
            texts[name].append(text)
            for part, value in _parts(_plain(name), _loaded(text)):
                parts[part].append((f"{name}={text}", value))
    names = dict.fromkeys((*texts, *parts))
    return next(filter(None, (_complaint(name, texts.get(name, ()), parts.get(name, ())) for name in names)), None)


def _complaint(name: str, texts: Sequence[str], given: Sequence[tuple[str, object]]) -> str | None:
    """Of a setting: the texts under its own name, and its values with the options that they came with."""
    if len(set(texts)) > 1:
        return f"{name}: given {len(texts)} times, {', '.join(texts)}; give it once"
    if not all(_same(given[0][1], value) for _, value in given[1:]):
        return f"{name}: given {len(given)} times, {' and '.join(f'in {option}' for option, _ in given)}; give it once"
    return None


def _same(one: object, other: object) -> bool:
    """Whether two values mean the same: numbers however they are written, classes with or without their modules."""
    if isinstance(one, str) and isinstance(other, str) and (one.endswith(f".{other}") or other.endswith(f".{one}")):
        return True
    with suppress(TypeError, ValueError, OverflowError):
        one, other = float(one), float(other)  # type: ignore[arg-type]
    return one == other or (one != one and other != other)  # NaN is NaN here


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values, an empty one where there is none."""
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            yield name.replace(".init_args", ""), value if equals else "" if following.startswith("--") else following


def _plain(name: str) -> str:
    """Without what may be left out of the name of a setting."""
    return name.removesuffix(".init_args").removesuffix(".class_path")


def _loaded(text: str) -> object:
    """What a text stands for; itself where that is nothing, as the parser will say."""
    with suppress(Exception):
        return load_yaml(text)
    return text


def _parts(name: str, value: object) -> Iterator[tuple[str, object]]:
    """The settings within a value, which may be several of a class or a group."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _parts(_plain(f"{name}.{key}"), item)
    else:
        yield name, value
