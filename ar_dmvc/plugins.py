"""Classes that other installed packages bring: clusterers, attacks, objectives, data sets."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ar_dmvc.errors import ConfigurationError

GROUP = "ar_dmvc"


@cache
def installed_classes() -> tuple[type, ...]:
    """The classes that installed packages name as entry points of the group ``ar_dmvc``.

    A package's ``pyproject.toml`` says::

        [project.entry-points.ar_dmvc]
        MyClusterer = "my_package.clusterers:MyClusterer"

    Whoever installs a package trusts it: its classes need no ``--allow``, and configurations may use their bare names.

    Raises:
        ConfigurationError: an entry point that cannot be loaded, or is no class.
    """
    classes = []
    for entry in entry_points(group=GROUP):
        try:
            kind = entry.load()
        except Exception as error:
            raise ConfigurationError(
                f"the installed {entry.value} cannot be loaded ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(kind, type):
            raise ConfigurationError(f"the installed {entry.value} is no class")
        classes.append(kind)
    return tuple(classes)
