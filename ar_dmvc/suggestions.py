"""What a misspelt option, class or command may have been meant to be."""

from __future__ import annotations

import importlib
import inspect
import re
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from jsonargparse import ArgumentError

from ar_dmvc.plain_words import put_plainly

_CLOSE = 0.65
_PACKAGES = (
    *(f"ar_dmvc.{name}" for name in ("clusterers", "attacks", "data", "defences", "modules")),
    "lightning.pytorch.loggers",
    "lightning.pytorch.callbacks",
)


def parse(parser: ArgumentParser, args: Sequence[str]) -> Any:
    """What a parser makes of arguments.

    Raises:
        ArgumentError: they are wrong; with what may have been meant.
    """
    try:
        return parser.parse_args(list(args))
    except ArgumentError as error:
        raise ArgumentError(None, with_suggestion(put_plainly(str(error)), parser._option_string_actions)) from error


def with_suggestion(message: str, options: Iterable[str] = ()) -> str:
    """A parser's message, with the closest of what is known where it is about something that is not.

    Args:
        message: of the error.
        options: of the command, with their dashes.
    """
    wrong, known = _unknown(message, options)
    if wrong in known and not wrong.startswith("-"):
        return f"{message}; {wrong} is a class of another kind"
    return message + did_you_mean(wrong, known)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The end of a message about what is not known: the closest of what is, in any case; empty where nothing is close."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(wrong.lower(), names, n=1, cutoff=_CLOSE)
    return f"; did you mean {names[close[0]]}?" if close else ""


def _unknown(message: str, options: Iterable[str]) -> tuple[str, list[str]]:
    """What is not known, and what is known instead."""
    if found := re.search(r"unrecognized arguments: (--[\w.]+)", message):
        return found[1], sorted(options)
    if found := re.search(r"(ar_dmvc\.\w+\.\w+): Option '(\w+)' is not accepted", message):
        return found[2], _arguments(found[1])
    if found := re.search(r"(?:there is no class|import path string:?) (\w+)", message):
        return found[1], _classes()
    return "", []


def _classes() -> list[str]:
    packages = [importlib.import_module(name) for name in _PACKAGES]
    return sorted({name for package in packages for name in package.__all__ if isinstance(getattr(package, name), type)})


def _arguments(path: str) -> list[str]:
    """The arguments of a class of this package, those of its bases included."""
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(module), name, object)
    return sorted({argument for base in kind.__mro__ if base is not object for argument in inspect.signature(base).parameters})
