"""``ardmvc --completion``: a script with which a shell completes commands, options, and names of classes and files.

jsonargparse makes one as well, of every class that could stand in any place of torch and Lightning: 300 MB. This has the
options of a command, and those of this package's classes.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

import shtab
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from ar_dmvc import attacks, benchmark, clusterers, data, export, modules
from ar_dmvc.attacks import Attack
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import MultiViewDataModule
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.session import Session
from ar_dmvc.settings import shipped

_TRAINS = ("fit", "validate", "test", "predict")
_FILES = {"bash": "_ardmvc_files", "zsh": "_files", "tcsh": "f"}
_OF_FILES = ("config", "ckpt_path", "data.path", "model.teacher", "model.victim")


def main(args: Sequence[str]) -> None:
    """Print the script for a shell; making it takes some seconds.

    Args:
        args: ``bash``, ``zsh`` or ``tcsh``.

    Raises:
        ConfigurationError: another shell.
    """
    if len(args) != 1 or args[0] not in _FILES:
        raise ConfigurationError(f"--completion takes one of {', '.join(_FILES)}")
    names = shlex.quote(" ".join(shipped()))
    files = f'_ardmvc_files() {{ compgen -f -- "$1"; compgen -W {names} -- "$1"; }}'
    print(shtab.complete(_commands(), args[0], preamble=files if args[0] == "bash" else ""))


def _commands() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="ardmvc", add_help=False)
    commands = root.add_subparsers()
    for name in _TRAINS:
        _take(commands.add_parser(name, help=name, add_help=False), _options(_parser_of(name)) | _of_classes())
    for name, parser in {"benchmark": benchmark.parser(), "export": export.parser()}.items():
        _take(commands.add_parser(name, help=name, add_help=False), _options(parser))
    report, configs, data_command = (commands.add_parser(name, help=name) for name in ("report", "configs", "data"))
    report.add_argument("folder").complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    report.add_argument("--wandb")
    configs.add_argument("action", choices=["copy"])
    configs.add_argument("name", choices=list(shipped()))
    data_command.add_argument("action", choices=["prepare", "info", "preview", "suggest-clusters"])
    data_command.add_argument("what", choices=_names(data, MultiViewDataModule))
    return root


def _take(parser: argparse.ArgumentParser, options: Mapping[str, Sequence[str]]) -> None:
    for name, choices in options.items():
        action = parser.add_argument(f"--{name}", choices=list(choices) or None)
        if name in _OF_FILES:
            action.complete = _FILES  # type: ignore[attr-defined]


class _Built(Exception):  # noqa: N818  # not an error
    """The parser of a command is made."""


class _ParserOnly(Session):
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> NoReturn:
        raise _Built(self._subcommand_parsers[self._command])


def _parser_of(command: str) -> ArgumentParser:
    try:
        _ParserOnly(command, [])
    except _Built as built:
        parser: ArgumentParser = built.args[0]
        return parser
    raise AssertionError(command)


def _options(parser: ArgumentParser) -> dict[str, list[str]]:
    """Names of a parser's options, and what can stand there, if that can be listed."""
    found = {}
    for name, action in parser._option_string_actions.items():
        if name.startswith("--") and not name.endswith("+"):
            found[name.removeprefix("--")] = [*_choices(getattr(action, "_typehint", None))]
    return found


def _of_classes() -> dict[str, list[str]]:
    """What this package's classes take, as options."""
    found = {"data": _names(data, MultiViewDataModule), "model": list(modules.__all__)}
    found |= {"model.clusterer": _names(clusterers, Clusterer), "model.attack": _names(attacks, Attack)}
    for prefix, package in {"data": data, "model": modules, "model.clusterer": clusterers, "model.attack": attacks}.items():
        for name in found[prefix]:
            parser = ArgumentParser(exit_on_error=False)
            parser.add_class_arguments(getattr(package, name), prefix, fail_untyped=False)
            found |= {option: choices for option, choices in _options(parser).items() if option not in found}
    return {name: choices for name, choices in found.items() if name != "help"}


def _names(package: Any, base: type) -> list[str]:
    classes = [getattr(package, name) for name in package.__all__]
    return [one.__name__ for one in classes if isinstance(one, type) and issubclass(one, base) and one is not base]


def _choices(kind: Any) -> Iterator[str]:
    if kind is bool:
        yield from ("true", "false")
    elif get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif kind not in (None, NoneType) and get_origin(kind) not in (list, tuple, dict):
        for part in get_args(kind):
            yield from _choices(part)
