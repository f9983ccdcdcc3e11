"""Training, measuring and predicting as functions of a configuration and a folder.

The command line is one way to call them, a benchmark another, your own program a third::

    from ar_dmvc import api

    run = api.fit("configs/victims/comvc.yaml", "configs/data/digits.yaml", folder="runs/mine")
    print(api.test(checkpoint=run.checkpoint, folder="runs/mine_tested").report.worst)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.plain_words import put_plainly, quiet
from ar_dmvc.plugins import installed_classes
from ar_dmvc.settings import Source, as_arguments

if TYPE_CHECKING:
    from ar_dmvc.session import Run


def fit(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Train a clusterer, an attacker or a defender.

    Args:
        configuration: parts of it, merged in order.
        folder: for its files, which take the place of those of an earlier run there; None: ``runs/NAME/version_N``, as the
            configuration says.
        checkpoint: to go on from; ``last``: the newest of the runs of the same name.

    Returns:
        Folder, checkpoint, module, data and metrics.

    Raises:
        ArDmvcError: something that a user can fix.
    """
    return call("fit", configuration, folder, checkpoint)


def validate(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Measure a checkpoint's clusterer on clean data; see :func:`fit`, but that ``checkpoint`` is a file."""
    return call("validate", configuration, folder, checkpoint)


def test(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Measure a checkpoint's clusterer under a suite of attacks; see :func:`fit`, but that ``checkpoint`` is a file."""
    return call("test", configuration, folder, checkpoint)


def predict(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Find the cluster of every sample with a checkpoint's clusterer; see :func:`fit`, but that ``checkpoint`` is a file."""
    return call("predict", configuration, folder, checkpoint)


def check(command: str, configuration: Sequence[Source], promised: Collection[Path] = ()) -> None:
    """Parse a configuration, so that every file, class and option in it is known to be there; nothing is trained or written.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        configuration: see :func:`fit`.
        promised: checkpoints that will be there by then.

    Raises:
        ConfigurationError: one is not.
    """
    from jsonargparse import ArgumentError

    from ar_dmvc import session

    with quiet():
        installed_classes()
        try:
            session.check(command, as_arguments(configuration), promised)
        except ArgumentError as error:
            raise ConfigurationError(put_plainly(str(error))) from error


def call(
    command: str,
    configuration: Sequence[Source],
    folder: str | Path | None = None,
    checkpoint: str | Path | None = None,
    alone: bool = False,
) -> Run:
    """One of the functions above, by name.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        configuration: see :func:`fit`.
        folder: see :func:`fit`.
        checkpoint: see :func:`fit`.
        alone: whether it is one of several that this process runs, so that Lightning must not start the process again.

    Raises:
        ArDmvcError: something that a user can fix.
    """
    return run(command, as_arguments(configuration, folder, checkpoint), alone)


def run(command: str, arguments: Sequence[str], alone: bool = False) -> Run:
    """The same for arguments as of the command line; see :func:`call`."""
    from ar_dmvc.session import Session

    with quiet():
        installed_classes()  # so that their names are known
        return Session(command, arguments, alone).made()
