"""What a configuration may name: the bound on classes and functions that its values can have imported."""

from __future__ import annotations

import os
import pkgutil
import site
import sys
import sysconfig
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
_LIBRARIES = ("ar_dmvc", "lightning", "torch.nn", "torch.optim", "torchmetrics")


def bound_imports() -> None:
    """Let values of a configuration name what is in these packages, and import nothing else.

    They are ``ar_dmvc``, ``lightning``, ``torch.nn``, ``torch.optim`` and ``torchmetrics``; installed packages that bring
    classes as entry points (:mod:`ar_dmvc.plugins`); modules of one's own, in the working directory or elsewhere on the Python
    path, but not among the installed packages and not in the standard library; and those that the environment variable
    ``AR_DMVC_ALLOW`` names. Aliases in YAML may not repeat themselves without end. All of this holds for every parser of
    jsonargparse in this process, from now on.
    """
    names = (name for name in sorted(_allowed()) if all(part.isidentifier() for part in name.split(".")))
    set_loader("yaml", _load_bounded)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(names), instantiate_subclass_spec_in_any=False)


def _load_bounded(text: str) -> Any:
    return load_yaml(text, _load)


def check_import(name: str) -> None:
    """Check that a class path is within the bound.

    Raises:
        ConfigurationError: it is not.
    """
    allowed, parts = _allowed(), name.split(".")
    if not any(".".join(parts[:count]) in allowed for count in range(1, len(parts) + 1)):
        raise ConfigurationError(beyond(name))


def sources_of(name: str) -> list[Path]:
    """The files of the module of one's own in which a class path leads; none where that is a library."""
    top = name.partition(".")[0]
    if top in {library.partition(".")[0] for library in _LIBRARIES} or top not in _own_modules():
        return []
    spec = find_spec(top)
    if spec is None or not spec.has_location or spec.origin is None:
        return []
    path = Path(spec.origin)
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def _allowed() -> set[str]:
    named = (name.strip() for name in os.environ.get("AR_DMVC_ALLOW", "").split(","))
    return {*_LIBRARIES, "__main__", *packages_that_bring_classes(), *_own_modules(), *filter(None, named)}


def _own_modules() -> set[str]:
    """Names of modules on the Python path that are neither installed nor of the standard library."""
    scheme = sysconfig.get_paths()
    others = {scheme[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")} | {*site.getsitepackages()}
    others |= {site.getusersitepackages()}
    theirs = [Path(folder).resolve() for folder in others]
    paths = [
        str(path)
        for path in dict.fromkeys(Path(entry).resolve() for entry in sys.path)
        if path.is_dir() and not _is_in(path, theirs) and not _INSTALLED & {*path.parts}
    ]
    found = {module.name for module in pkgutil.iter_modules(paths)}
    return found - {*sys.stdlib_module_names, "jsonargparse"}  # what reads settings is never theirs to name


def _is_in(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
