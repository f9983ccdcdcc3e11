"""What a checkpoint says of the model and the data that it was made with, as far as it can be trusted."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ar_dmvc import attacks, clusterers, data, defences
from ar_dmvc.callbacks.record import KEY, SECTIONS
from ar_dmvc.checkpoint import current_name, name_of, read_checkpoint
from ar_dmvc.clusterers.loading import check_clusterer
from ar_dmvc.data.part import part_in_words
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.plugins import installed_classes
from ar_dmvc.runs.checkpoints import epochs_begun

_LIBRARIES = {"torch", "lightning", "abc", "builtins", "typing"}
_KEPT_BY_OPTIMISERS = {"learning_rate", "weight_decay"}
_PLAIN_TYPES = {str, int, float, bool, type(None), Path, list, tuple, dict, Sequence, Iterable, Mapping, UnionType, Any}


def recorded_settings(path: str | Path, allowed: Sequence[type] = ()) -> dict[str, Any]:
    """What a checkpoint says of the model and the data that it was made with, as far as it can be trusted.

    Only classes of ``ar_dmvc``, of installed packages that bring some, and those that the caller allows are taken from a
    checkpoint, each with arguments that its constructor has; where an argument is an object, it must be described in full,
    because a parser would take a string for the name of a class or of a file. A section that is otherwise is left out and said
    so. Arguments that name a checkpoint for which this one can stand in are pointed to it.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    content = read_checkpoint(path)
    recorded = content.get(KEY)
    if not isinstance(recorded, dict):
        print(f"ardmvc: {path}: holds no configuration; give --config or --model and --data", file=sys.stderr)
        return {}
    known = _known_classes() | {name_of(kind): kind for kind in (*installed_classes(), *allowed)}
    settings = {}
    for name in SECTIONS:
        section: Any = recorded.get(name)
        if name == "model":
            _take_clusterer_s_own_settings(section, content.get("clusterer"))
            _leave_out_attacks_that_name_checkpoints(section, known, path)
        try:
            kind = _check_description(section, known)
        except _ForeignError as error:
            print(
                f"ardmvc: {path}: its {name} is not taken from the checkpoint, because it {error}; "
                f"give --config or --{name}, or --allow a class of yours",
                file=sys.stderr,
            )
            continue
        held: dict[str, str] = dict.fromkeys(getattr(kind, "held_in_checkpoint", ()), str(path))
        arguments = {key: value for key, value in section["init_args"].items() if key not in _only_for_training(kind)}
        if name == "model" and "clusterer" in content:
            check_clusterer(content, path, [kind for kind in allowed if issubclass(kind, clusterers.Clusterer)])
        if name == "data":
            # The clusterer's, whatever labels new data shows.
            with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
                arguments["num_clusters"] = int(content["clusterer"]["init_args"]["num_clusters"])
        settings[name] = {"class_path": section["class_path"], "init_args": arguments | held}
    return settings


def training_facts(content: Mapping[str, Any]) -> dict[str, str]:
    """How the clusterer of a checkpoint was trained, by what it says itself, in words by name: for people to read."""
    config = content.get(KEY)
    model, data = (_arguments_of(config, name) for name in SECTIONS)
    facts: dict[str, object] = {}
    if "victim" not in model:  # of an attacker's checkpoint these are the generator's
        facts["epochs"] = epochs_begun(content)
        facts["seed"] = config.get("seed_everything") if isinstance(config, dict) else None
    facts["trained on"] = part_in_words(content.get("trained_on"))
    if "path" in data:
        facts["data file"] = Path(str(data["path"])).name
        facts["scaling of its views"] = data.get("scaling")
    if attack := _in_words(model.get("attack")):
        grows = "at most " if "curriculum" in content else ""
        facts |= {
            "inner attack": attack,
            "inner budget": "" if "epsilon=" in attack else f"{grows}{model.get('inner_budget')} times the data's",
            "outer loss": _in_words(model.get("outer")),
            "teacher": content.get("teacher") or _in_words(model.get("teacher")),
        }
    return {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}


def recorded_budget(content: Mapping[str, Any]) -> float | None:
    """The budget that a checkpoint's data gave for attacks; None: none of its own."""
    epsilon = _arguments_of(content.get(KEY), "data").get("epsilon")
    return float(epsilon) if isinstance(epsilon, int | float) and 0 < epsilon <= 1 else None


def check_resumed(content: Mapping[str, Any], settings: Mapping[str, Any], source: str | Path) -> None:
    """Check that settings of a model do not contradict what a checkpoint's optimisers go on with.

    Raises:
        ConfigurationError: they do.
    """
    recorded = _arguments_of(content.get(KEY), "model")
    for name in sorted(_KEPT_BY_OPTIMISERS & recorded.keys() & settings.keys()):
        theirs, own = ("the default" if rate is None else rate for rate in (recorded[name], settings[name]))
        if theirs != own:
            raise ConfigurationError(
                f"model.{name} = {own}: the optimiser of {source} goes on with {theirs}; give the same, "
                "or begin a new run with its weights (init_from)"
            )


def _arguments_of(config: object, section: str) -> dict[str, Any]:
    found = config.get(section) if isinstance(config, dict) else None
    arguments = found.get("init_args") if isinstance(found, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _in_words(described: object) -> str:
    """A class with its settings in a line; a checkpoint by its last folders, a list of settings by its parts."""
    if isinstance(described, dict):
        arguments = described.get("init_args")
        given = arguments.items() if isinstance(arguments, dict) else ()
        settings = ", ".join(f"{name}={value}" for name, value in given if value is not None)
        return f"{str(described.get('class_path')).rpartition('.')[2]}({settings})"
    if isinstance(described, list):
        return "fitted first, of " + ", ".join(str(part) for part in described)
    return "" if described is None else "/".join(Path(str(described)).parts[-4:])


def _take_clusterer_s_own_settings(model: Any, clusterer: Any) -> None:
    """Let the settings of a model be those of the clusterer whose weights it holds, and name what that is built on."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # what is no description is refused as one
        own = model["init_args"]["clusterer"]["init_args"]
        own |= {
            key: value
            for key, value in clusterer["init_args"].items()
            if (key in own and not isinstance(own[key], (dict, list))) or (isinstance(value, dict) and "class_path" in value)
        }


def _leave_out_attacks_that_name_checkpoints(model: Any, known: dict[str, type], path: str | Path) -> None:
    """Leave attacks of the suite out that name other checkpoints, which a checkpoint cannot ask to be read."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # what is no description is refused as one
        suite = model["init_args"]["attacks"]
        foreign = [
            name
            for name, attack in suite.items()
            if getattr(known.get(current_name(attack["class_path"])), "names_checkpoints", False)
        ]
        for name in foreign:
            del suite[name]
            print(
                f"ardmvc: {path}: the attack {name!r} is left out, because it names other checkpoints; give its settings "
                "again (--config)",
                file=sys.stderr,
            )
        if foreign and not suite:
            del model["init_args"]["attacks"]


def _only_for_training(kind: type) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(kind, "only_for_training", ())
    return names


class _ForeignError(Exception):
    """A checkpoint describes something that is not of this package."""


def _known_classes() -> dict[str, type]:
    packages = {package: package.__all__ for package in (clusterers, data, attacks, defences)}
    known = {f"{package.__name__}.{name}": getattr(package, name) for package, names in packages.items() for name in names}
    return known | {f"ar_dmvc.modules.{kind.__name__}": kind for kind in (VictimClusterer, GANAttacker, RobustDefender)}


def _check_description(value: object, known: dict[str, type]) -> type:
    """The class of a description, a mapping with a known ``class_path`` and arguments that the class has."""
    if not isinstance(value, dict) or not set(value) <= {"class_path", "init_args"}:
        raise _ForeignError("is not described by class and arguments")
    given, arguments = value.get("class_path"), value.setdefault("init_args", {})
    name = current_name(given) if isinstance(given, str) else ""
    if not isinstance(known.get(name), type):
        raise _ForeignError(f"names {given!r}, which is not a class of ar_dmvc")
    if not isinstance(arguments, dict):
        raise _ForeignError(f"gives {name} no arguments by name")
    hints = _argument_types(known[name])
    for argument, item in arguments.items():
        if argument not in hints:
            raise _ForeignError(f"gives {name} an argument {argument!r} that it has not")
        if argument not in (*getattr(known[name], "held_in_checkpoint", ()), *_only_for_training(known[name])):
            _check_argument(item, hints[argument], known)
    return known[name]


def _check_argument(value: object, hint: object, known: dict[str, type]) -> None:
    parts = list(_parts(hint))
    takes_objects = any(isinstance(part, type) and part not in _PLAIN_TYPES for part in parts)
    is_name = str in parts and isinstance(value, str) and value in attacks.OBJECTIVES
    if value is None or is_name or not takes_objects:
        if isinstance(value, (dict, list)) and "class_path" in str(value):
            raise _ForeignError("has a class where a plain value belongs")
    elif Mapping in parts and isinstance(value, dict):
        for item in value.values():
            _check_description(item, known)
    else:
        _check_description(value, known)


def _argument_types(kind: type) -> dict[str, object]:
    """Types of a constructor's arguments, those that it hands on to its bases by ``**kwargs`` included."""
    hints: dict[str, object] = {}
    for base in reversed(kind.__mro__[:-1]):
        ours = base.__module__.partition(".")[0] not in _LIBRARIES
        if "__init__" in vars(base) and ours:
            hints |= dict.fromkeys(list(inspect.signature(base).parameters), Any)
            with contextlib.suppress(NameError):  # annotations that only a type checker can read
                hints |= get_type_hints(vars(base)["__init__"])
    return hints


def _parts(hint: object) -> Iterator[object]:
    """A type and everything it is made of."""
    yield get_origin(hint) or hint
    for argument in get_args(hint):
        yield from _parts(argument)
