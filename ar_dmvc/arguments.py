"""Arguments of a command, before the parser sees them: what a checkpoint stands for, and what it may name."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace

from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.files import remove_strays
from ar_dmvc.imports import check_import
from ar_dmvc.plain_words import put_plainly
from ar_dmvc.recorded import recorded_settings
from ar_dmvc.runs.checkpoints import check_trainer_state
from ar_dmvc.settings import CONFIG_OPTIONS, load_yaml, with_files_found

_OF_THE_DATA = re.compile(r"--model(?:\.init_args)?\.clusterer(?:\.init_args)?\.(num_clusters|view_shapes)(?:=|$)")
_PLACES = ("root", "path", "mirrors")
"""Arguments of data that say where its files are."""
_FLAGS = ("--help", "--print_config", "--card")


def complete(command: str, args: Sequence[str]) -> list[str]:
    """Arguments for the parser: those given, after the model and data that a checkpoint was made with.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        args: what follows it.

    Raises:
        ArgumentError: an option without a value.
        ConfigurationError: a configuration file that is not there or holds no settings, or an unknown class.
        CheckpointError: the checkpoint cannot be read.
    """
    _check_values_follow(args)
    _check_not_the_data_s(args)
    args = with_files_found(args)
    return [*_recorded(command, args), *_with_one_allow(args)]


def _check_values_follow(args: Sequence[str]) -> None:
    """Name the option that has no value, for which the parser would name the one that it belongs to."""
    for argument, following in zip_longest(args, args[1:], fillvalue="--"):
        takes_value = argument.startswith("--") and "=" not in argument and argument not in _FLAGS
        if takes_value and following.startswith("--") and not argument.endswith(".help"):
            raise ArgumentError(None, f"{argument.removeprefix('--') or argument}: a value is expected after it")


def _check_not_the_data_s(args: Sequence[str]) -> None:
    """Refuse what the clusterer takes from the data, which the parser would pass over."""
    for argument in args:
        if found := _OF_THE_DATA.match(argument):
            advice = "give --data.num_clusters" if found[1] == "num_clusters" else "its views say it"
            raise ConfigurationError(f"model.clusterer.{found[1]}: it is the data's; {advice}")


def _recorded(command: str, args: Sequence[str]) -> list[str]:
    path = checkpoint_named(args)
    if command == "fit" or path in (None, "last", "best"):
        return []
    settings = recorded_settings(str(path), [class_named(name) for name in _allowed(args)])
    data, given = settings.get("data", {}), _data_named(args)
    if data and given is not None and given.rpartition(".")[2] != data["class_path"].rpartition(".")[2]:
        for name in _PLACES:  # where another data set's files are
            data["init_args"].pop(name, None)
    return ["--config", json.dumps(settings)]


def _data_named(args: Sequence[str]) -> str | None:
    """The class of data that is asked for, by an option or in a file of settings; of several the last."""
    found = None
    for name, value in _options(args):
        section = _read(value).get("data") if name in CONFIG_OPTIONS else (_read(value) or value) if name == "--data" else None
        kind = section.get("class_path") if isinstance(section, Mapping) else section
        kind = value if name == "--data.class_path" else kind
        found = kind if isinstance(kind, str) else found
    return found


def checkpoint_named(args: Sequence[str]) -> str | None:
    """The checkpoint that is asked for, by an option or in a file of settings; of several the last."""
    found = None
    for name, value in _options(args):
        if name == "--ckpt_path":
            found = value
        elif name in CONFIG_OPTIONS:
            settings = _read(value)
            found = settings.get("ckpt_path") or found
    return found


def _read(value: str) -> Mapping[str, Any]:
    """The settings that ``--config`` gives, a file's or as text; none where that cannot be read, which the parser says."""
    try:
        is_text = value.lstrip().startswith("{")  # which may be longer than any name of a file
        content = load_yaml(value if is_text or not Path(value).is_file() else Path(value).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _configurations(args: Sequence[str]) -> list[str]:
    return [value for name, value in _options(args) if name in CONFIG_OPTIONS]


def _options(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options and their values, in order."""
    for argument, following in zip_longest(args, args[1:]):
        name, equals, value = argument.partition("=")
        if equals or following is not None:
            yield name.removesuffix("+"), value if equals else following


def _allowed(args: Sequence[str]) -> list[str]:
    """The class paths that ``--allow`` names, in as many places and forms as there are."""
    values = [_read(value).get("allow", []) for value in _configurations(args)]
    values += [load_yaml(value) for name, value in _options(args) if name == "--allow"]
    names = [str(name) for value in values for name in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(names))


def _with_one_allow(args: Sequence[str]) -> list[str]:
    """The same arguments with a single ``--allow`` for all: of several, a parser would take the last."""
    names, rest, skip = _allowed(args), [], False
    for argument in args:
        name, equals, _ = argument.partition("=")
        if skip or name.removesuffix("+") == "--allow":
            skip = not skip and not equals
        else:
            rest.append(argument)
    return [*rest, f"--allow={json.dumps(names)}"] if names else rest


def clusterers_named(names: str | Sequence[str]) -> list[type[Clusterer]]:
    """The clusterers among class paths that the user gave."""
    kinds = map(class_named, [names] if isinstance(names, str) else names)
    return [kind for kind in kinds if issubclass(kind, Clusterer)]


def class_named(name: str) -> type:
    """The class of a class path that the user gave."""
    check_import(name)
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"allow: there is no class {name} ({error})") from error
    if not isinstance(kind, type):
        raise ConfigurationError(f"allow: {name} is no class")
    return kind


def check_devices(devices: object) -> None:
    """Check that devices are named in a way that Lightning takes; it would not say which setting was wrong.

    Args:
        devices: as ``trainer.devices`` has them: a number, -1 for all, a list, or ``auto``.

    Raises:
        ConfigurationError: they are not.
    """
    text = str(devices)
    if not (text in ("auto", "-1") or re.fullmatch(r"[1-9]\d*|\d+( ?, ?\d+)+|\d+,|\[\d+(, \d+)*\]", text)):
        raise ConfigurationError(f"trainer.devices: a number above zero, a list of devices, or auto is expected, not {text}")


def runs_folder(trainer: Namespace) -> tuple[Path, str]:
    """Where a trainer's settings keep runs, and the name of those of one kind there."""
    place = Path(trainer["default_root_dir"] or ".")
    logger = trainer["logger"][0] if isinstance(trainer["logger"], list) else trainer["logger"]
    if not isinstance(logger, Namespace):
        return place, ""
    arguments = logger["init_args"]
    named = "project" if logger["class_path"].endswith("WandbLogger") else "name"
    return Path(arguments.get("save_dir") or place), str(arguments.get(named) or "")


def _newest_first(found: Sequence[Path]) -> list[Path]:
    """By the numbers of their runs, which no clock that is set back changes; where some have names, by time."""
    versions = {path: path.parent.parent.name.removeprefix("version_") for path in found}
    numbered = all(version.isdecimal() for version in versions.values())

    def order(path: Path) -> tuple[int, bool, float]:
        return int(versions[path]) if numbered else 0, numbered and path.stem == "last", path.stat().st_mtime

    return sorted(found, key=order, reverse=True)


def last_checkpoint(settings: Namespace, run_id: str | None) -> str | None:
    """The newest checkpoint of runs of the same name; of the one run that has the id, if any, which may have none yet."""
    place, name = runs_folder(settings["trainer"])
    folder = place / name
    if run_id is not None:
        folder /= run_id
    found = [*folder.glob("*/checkpoints/*.ckpt"), *folder.glob("checkpoints/*.ckpt")]
    for path in _newest_first(found):
        remove_strays(path.parent)
        try:
            check_trainer_state(read_checkpoint(path), path, resumes=True)
        except CheckpointError as error:
            print(f"ardmvc: passed over: {put_plainly(str(error))}", file=sys.stderr)
        else:
            print(f"ardmvc: going on from {path}", file=sys.stderr)
            return str(path)
    if run_id is not None and not found:
        print(f"ardmvc: run {run_id} has no checkpoint yet and starts", file=sys.stderr)
        return None
    whole = " that is whole" if found else ""
    raise ConfigurationError(f"ckpt_path: there is no last checkpoint{whole} under {folder}")
