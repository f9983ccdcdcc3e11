"""What a configuration may name: the bound on classes and functions that its values can have imported."""

from __future__ import annotations

import ast
import os
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonargparse import get_loader, set_loader, set_parsing_settings

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.plain_words import beyond
from ar_dmvc.plugins import packages_that_bring_classes
from ar_dmvc.settings import load_yaml

_INSTALLED = {"site-packages", "dist-packages"}
_load = get_loader("yaml")
_told: set[str] = set()
"""What the parser was ever told to allow."""
_LIBRARIES = ("ar_dmvc", "lightning", "torch.nn", "torch.optim", "torchmetrics")


def bound_imports() -> None:
    """Let values of a configuration name what is in these packages, and import nothing else.

    They are ``ar_dmvc``, ``lightning``, ``torch.nn``, ``torch.optim`` and ``torchmetrics``; installed packages that bring
    classes as entry points (:mod:`ar_dmvc.plugins`); modules of one's own, in the working directory or elsewhere on the Python
    path, but not among the installed packages and not in the standard library; and those that the environment variable
    ``AR_DMVC_ALLOW`` names. Aliases in YAML may not repeat themselves without end. All of this holds for every parser of
    jsonargparse in this process, from now on.
    """
    names = [name for name in sorted(_allowed()) if all(part.isidentifier() for part in name.split("."))]
    earlier = [name for name in _told if not _is_within(name, names)]  # which would stay allowed
    names += [name for name in _told if _is_within(name, names)]  # which may have been denied since
    _told.update(names)
    set_loader("yaml", _load_bounded)
    set_parsing_settings(
        import_path_denylist=["*", *earlier], import_path_allowlist=names, instantiate_subclass_spec_in_any=False
    )


def _load_bounded(text: str) -> Any:
    return load_yaml(text, _load)


def check_import(name: str) -> None:
    """Check that a class path is within the bound.

    Raises:
        ConfigurationError: it is not.
    """
    if not _is_within(name, _allowed()):
        raise ConfigurationError(beyond(name))


def _is_within(name: str, packages: Collection[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in packages for count in range(1, len(parts) + 1))


def sources_of(name: str) -> list[Path]:
    """The files of the module of one's own in which a class path leads, and of those of one's own that they import, sorted.

    None where it leads to a library. What they import by other means than a statement is not known.
    """
    top, libraries = name.partition(".")[0], {library.partition(".")[0] for library in _LIBRARIES}
    if top in libraries:
        return []
    own, folders = _own_modules() - libraries, _own_folders()
    waiting, known, found = [top] if top in own else [], set[str](), set[Path]()
    while waiting:
        top = waiting.pop()
        if top in known:
            continue
        known.add(top)
        files = _files_of(top) if top in own else [file for folder in folders for file in Path(folder, top).rglob("*.py")]
        found.update(files)
        waiting += [module for file in files for module in _imported_by(file, file.stat().st_mtime_ns)]
    return sorted(found)


def _files_of(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        return []
    path = Path(spec.origin)
    return list(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


@lru_cache(maxsize=1024)
def _imported_by(file: Path, changed: int) -> frozenset[str]:
    """The top modules that a file's import statements name; none of one that is no Python, which is said where it is used."""
    try:
        statements = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return frozenset()
    names = [alias.name for statement in statements if isinstance(statement, ast.Import) for alias in statement.names]
    names += [one.module for one in statements if isinstance(one, ast.ImportFrom) and one.module and not one.level]
    return frozenset(name.partition(".")[0] for name in names)


def _allowed() -> set[str]:
    named = (name.strip() for name in os.environ.get("AR_DMVC_ALLOW", "").split(","))
    return {*_LIBRARIES, "__main__", *packages_that_bring_classes(), *_own_modules(), *filter(None, named)}


def _own_modules() -> set[str]:
    """Names of modules on the Python path that are neither installed nor of the standard library."""
    found = {module.name for module in pkgutil.iter_modules(_own_folders())}
    return found - {*sys.stdlib_module_names, "jsonargparse"}  # what reads settings is never theirs to name


def _own_folders() -> list[str]:
    """Folders on the Python path that are neither of installed packages nor of the standard library."""
    scheme = sysconfig.get_paths()
    others = {scheme[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")} | {*site.getsitepackages()}
    others |= {site.getusersitepackages()}
    theirs = [Path(folder).resolve() for folder in others]
    return [
        str(path)
        for path in dict.fromkeys(Path(entry).resolve() for entry in sys.path)
        if path.is_dir() and not _is_in(path, theirs) and not _INSTALLED & {*path.parts}
    ]


def _is_in(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
