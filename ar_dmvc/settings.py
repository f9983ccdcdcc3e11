"""Settings of a command: what a file of them has to be, and parts of a configuration as arguments."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ar_dmvc.errors import ConfigurationError

CONFIG_OPTIONS = ("--config", "-c")
_LARGEST = 1_000_000
_SUFFIXES = (".yaml", ".yml")

Source = str | Path | Mapping[str, Any]
"""A part of a configuration: a YAML file, settings by name, or an option ``--name=value``; later parts win."""


def load_yaml(text: str, load: Callable[[str], Any] = yaml.safe_load) -> Any:
    """Read YAML as plain values.

    Args:
        text: to read.
        load: what reads it, once it is bounded.

    Raises:
        yaml.YAMLError: it is none, names Python objects, has a name twice, or repeats itself into more than a million values.
    """
    check_bounded(text)
    try:
        return load(text)
    except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
        raise yaml.YAMLError(f"{text[:100]}: holds what is no value of its tag") from error


def check_bounded(text: str) -> None:
    """Check that YAML cannot grow once it is used: of aliases that hold aliases, a few lines may stand for billions.

    Nor that it names a pipe or a device: the parser reads settings from files that they name, and of these there is no end.
    Nor that it has a name twice, of which readers of YAML silently keep the last.

    Raises:
        yaml.YAMLError: it would or does, or is not valid.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            if _has_no_end(node.value):
                raise yaml.YAMLError(f"{node.value}: a pipe or a device, of which nothing is read")
            return 1 + len(node.value) // 64
        if id(node) not in sizes:
            sizes[id(node)] = _LARGEST  # what holds itself has no end
            pairs = isinstance(node, yaml.MappingNode)
            if pairs:
                _check_each_once([name for name, _ in node.value])
            parts = [part for pair in node.value for part in pair] if pairs else node.value
            sizes[id(node)] = min(_LARGEST, 1 + sum(map(size, parts)))
        return sizes[id(node)]

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        too_large = node is not None and size(node) >= _LARGEST
    except RecursionError:
        too_large = True
    if too_large:
        raise yaml.YAMLError("aliases or levels that repeat themselves without end")


def _check_each_once(names: Sequence[yaml.Node]) -> None:
    lines: dict[str, int] = {}
    for name in names:
        if isinstance(name, yaml.ScalarNode) and name.value in lines and name.value != "<<":
            raise yaml.YAMLError(f"{name.value} is there twice, in lines {lines[name.value]} and {name.start_mark.line + 1}")
        if isinstance(name, yaml.ScalarNode):
            lines[name.value] = name.start_mark.line + 1


def _has_no_end(name: str) -> bool:
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and name != os.devnull)


def shipped() -> dict[str, Path]:
    """The configuration files that come with the package, by name: ``victims/comvc.yaml``."""
    here = Path(__file__).parent
    installed, checkout = here / "configs", here.parent / "configs"
    folder = installed if installed.is_dir() else checkout
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def find_file(name: str | Path) -> Path:
    """A configuration file: the one of this name or, where there is none, that of the package.

    Args:
        name: ``mine.yaml``; of the package ``victims/comvc.yaml``, or with ``configs/`` in front.

    Raises:
        ConfigurationError: there is neither.
    """
    path = Path(name)
    if path.suffix not in _SUFFIXES or path.exists():
        return path
    known, wanted = shipped(), path.as_posix().removeprefix("configs/")
    if wanted in known:
        return known[wanted]
    close = get_close_matches(wanted, known, n=1, cutoff=0.7)
    raise ConfigurationError(f"{name}: no such file{f'; did you mean {close[0]}?' if close else ''}")


def with_files_found(args: Sequence[str]) -> list[str]:
    """Arguments with the paths of their configuration files; see :func:`find_file`.

    Raises:
        ConfigurationError: one is not there, or holds no settings.
    """
    found, is_file = [], False
    for argument in args:
        option, equals, value = argument.partition("=")
        if is_file:
            argument = _checked(argument)
        elif option in CONFIG_OPTIONS and equals:
            argument = f"{option}={_checked(value)}"
        is_file = not is_file and argument in CONFIG_OPTIONS
        found.append(argument)
    return found


def _checked(value: str) -> str:
    if value.lstrip().startswith("{") or Path(value).suffix not in _SUFFIXES:
        return value
    check_yaml(path := find_file(value))
    return str(path)


def check_yaml(path: Path) -> None:
    """Check that a file, if it is there, holds settings, which the parser says less plainly.

    Raises:
        ConfigurationError: it is empty, not valid YAML, or something else.
    """
    if not path.is_file():
        return
    try:
        content = load_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML ({error})") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: {'empty' if content is None else 'holds no settings by name'}")


def as_arguments(
    configuration: Sequence[Source], folder: str | Path | None = None, checkpoint: str | Path | None = None
) -> list[str]:
    """What follows a command.

    Args:
        configuration: parts of it, merged in order.
        folder: for the files of the run; None: as the configuration says.
        checkpoint: to go on from, or to use.
    """
    arguments = [_argument(source) for source in configuration]
    if folder is not None:
        arguments.append(_place(Path(folder)))
    if checkpoint is not None:
        arguments.append(f"--ckpt_path={checkpoint}")
    return arguments


def _argument(source: Source) -> str:
    if isinstance(source, Mapping):
        return f"--config={json.dumps(source, default=str)}"
    return source if isinstance(source, str) and source.startswith("--") else f"--config={source}"


def _place(folder: Path) -> str:
    """The option that has a run keep its files in a folder, whose name may look like a number."""
    settings = {"save_dir": str(folder), "name": "", "version": ""}
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": settings}
    return f"--config={json.dumps({'trainer': {'logger': logger}})}"
