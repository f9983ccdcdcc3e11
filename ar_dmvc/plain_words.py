"""Words for users: of the parser's errors, of warnings about libraries rather than about a run, and of durations."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path


def beyond(name: str) -> str:
    """Why settings may not name a class path (:mod:`ar_dmvc.imports`)."""
    top = name.partition(".")[0]
    if _is_bare_folder(top):
        return (
            f"{name}: settings may name what is in the folder {top} once there is a file {top}/__init__.py, which may be empty"
        )
    if _is_there(top):
        return f"{name} is in a package that settings may not name; if you trust it, set AR_DMVC_ALLOW={top} in the environment"
    return f"{name}: there is no module {top} in the working directory or elsewhere on the Python path"


def _is_bare_folder(module: str) -> bool:
    """Whether a module is a folder of the working directory that does not say it is a package."""
    return _is_there(module) and Path(module).is_dir() and (spec := find_spec(module)) is not None and spec.origin is None


def _is_there(module: str) -> bool:
    """Whether a module that no other contains could be imported; nothing of it is."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


# What the parser says of values that fit none of a type's alternatives, and a sentence for it.
_PLAIN: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: ", ""),
    (r"(- )?Expected a path but \S+ either not accessible or invalid ", ""),
    (r"(- )?Expected a dot import path string: (\S+)", r"there is no class \2"),
    (r" ?- Expected a <class '(NoneType|collections\.abc\.Iterable)'>", ""),
    (r"(- )?Expected a typing\.Literal\[(.*?)\]", r"one of \2 is expected"),
    (
        r"(Problem with given class_path '[^']*': )?Importing '([^']*)' is not allowed, denied by .*",
        lambda found: beyond(found[2]),
    ),
    (r"Problem with given class_path '([^']*)':", r"\1:"),
    (r"(- )?Expected a <class '(\w+)'>", r"a value of type \2 is expected"),
    (r" Given value type: \S+ \S+ Given value: (Namespace|NestedArg|\{).*", ""),
    (r" Given value type: <class '[^']*'> Given value:$", ", not an empty one"),
    (r" Given value type: <class '[^']*'> Given value: ", ", not "),
    (r'Parser key "([^"]*)": (- )?', r"\1: "),
    (r"is expected (- )?(?=one of|a value)", "or "),
    (r"^(\w+): ar_dmvc\.\w+\.\w+: (\w+): ", r"\1.\2: "),
    (r"\. Got value: Namespace\(.*", ""),
    (r"\. Got value: ?$", ", not an empty one"),
    (r"\. Got value: ", ", not "),
    (r"a value of type (float|int) is expected, not (-?(?:nan|inf))$", r"a finite number is expected, not \2"),
    (
        r"Expected a <class 'collections\.abc\.Sequence'> - Expected a <class 'collections\.abc\.Mapping'>",
        "a list, or several by name, is expected",
    ),
    (r"is expected (- )?(?=there is no class)", "is expected; "),
    (r"(Expected a <class 'collections\.abc\.Sequence'>( - )?)+, not None$", "a name has no list of settings"),
    (r"^MisconfigurationException: ", ""),
    (r"(there is no class (\S+)).*, not \2$", r"\1"),
    (
        r"\w+Error: .*(gloo|NCCL|pair closure).*",
        "another process of this run has stopped, see its own message; --ckpt_path resumes",
    ),
)


def duration(seconds: float) -> str:
    """In the unit that suits it: ``40 s``, ``20 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def put_plainly(message: str) -> str:
    """An error's message in one line, without what only a developer knows, and without control characters."""
    line = "".join(character if character.isprintable() else "?" for character in " ".join(message.split()))
    for pattern, plain in _PLAIN:
        line = re.sub(pattern, plain, line)
    return re.sub(r"^(ValueError: |- )+", "", line)


_NOT_FOR_USERS = (
    r".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of torch
    r"(?s).*instantiate_classes.* was deprecated.*",  # Lightning's own use of jsonargparse
    r"(?s).*only one JsonargparseDeprecationWarning per type.*",
    r"Couldn't infer the batch indices.*",  # predictions carry the samples' own
    r"Found \d+ module.s. in eval mode at the start of training.*",  # an attacker's victim is meant to be
    r"Experiment logs directory .* exists and is not empty.*",  # what was logged there is kept
    r"(?s)Grad strides do not match bucket view strides.*",  # those of a convolution of one channel; tiny
    r"The dirpath has changed.*",  # a test or a resumed run has a folder of its own
    r"Be aware that when using `ckpt_path`.*callbacks.*",  # tests and predictions need no training callbacks
)


@contextmanager
def quiet(alone: bool = False) -> Iterator[None]:
    """Leave out what libraries say about themselves rather than about the run.

    Args:
        alone: whether it is one of several runs: then what each would say of itself but warnings is left out as well.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    with warnings.catch_warnings(), warnings_only() if alone else nullcontext():
        for message in _NOT_FOR_USERS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.addFilter(_is_for_users)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(_is_for_users)


@contextmanager
def warnings_only() -> Iterator[None]:
    """Leave out Lightning's remarks on seeds, devices and ends; not its warnings."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not re.search("Tip:|TPU available", record.getMessage())
