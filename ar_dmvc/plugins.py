"""Classes that other installed packages bring: clusterers, attacks, objectives, data sets."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import entry_points

GROUP = "ar_dmvc"


def packages_that_bring_classes() -> set[str]:
    """The names of installed packages that :func:`installed_classes` are of; loads none."""
    return {entry.module.partition(".")[0] for entry in entry_points(group=GROUP)}


@cache
def installed_classes() -> tuple[type, ...]:
    """The classes that installed packages name as entry points of the group ``ar_dmvc``.

    A package's ``pyproject.toml`` says::

        [project.entry-points.ar_dmvc]
        MyClusterer = "my_package.clusterers:MyClusterer"

    Whoever installs a package trusts it: its classes need no ``--allow``, and configurations may use their bare names.

    One that cannot be loaded, or is no class, is left out and said.
    """
    classes = []
    for entry in entry_points(group=GROUP):
        try:
            kind = entry.load()
        except Exception as error:  # noqa: BLE001  whatever another package does when it is imported
            print(f"ardmvc: {entry.value} is left out ({type(error).__name__}: {error})", file=sys.stderr)
            continue
        if isinstance(kind, type):
            classes.append(kind)
        else:
            print(f"ardmvc: {entry.value} is left out, it is no class", file=sys.stderr)
    return tuple(classes)
