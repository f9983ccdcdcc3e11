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

from ar_dmvc.errors import ConfigurationError, message_of
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


class Rehearsal:
    """Configurations tried one after another, so that what is wrong with any is known before the first runs.

    Files, classes, options and values are checked; nothing is trained or written. Where a command needs the checkpoint of
    another that was tried before, the untrained clusterer of that one stands in for it.
    """

    def __init__(self) -> None:
        from ar_dmvc.session import Rehearsal

        self._rehearsal = Rehearsal()

    def __call__(
        self, command: str, configuration: Sequence[Source], promised: Collection[Path] = (), leaves: Path | None = None
    ) -> None:
        """Try a command.

        Args:
            command: ``fit``, ``validate``, ``test`` or ``predict``.
            configuration: see :func:`fit`.
            promised: checkpoints that will be there by then.
            leaves: the checkpoint that it will leave.

        Raises:
            ConfigurationError: a file, a class or an option that is not there, or a value out of range.
        """
        from jsonargparse import ArgumentError

        with quiet():
            installed_classes()
            try:
                self._rehearsal(command, as_arguments(configuration), promised, leaves)
            except ArgumentError as error:
                raise ConfigurationError(put_plainly(str(error))) from error
            except Exception as error:  # a class of anybody's may raise what it likes
                raise ConfigurationError(put_plainly(message_of(error))) from error


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
        alone: whether it is one of several that this process runs, so that Lightning must not start the process again, and a
            test prints no table of its own.

    Raises:
        ArDmvcError: something that a user can fix.
    """
    return run(command, as_arguments(configuration, folder, checkpoint), alone)


def run(command: str, arguments: Sequence[str], alone: bool = False) -> Run:
    """The same for arguments as of the command line; see :func:`call`."""
    from ar_dmvc.session import Session

    with quiet(alone):
        installed_classes()  # so that their names are known
        return Session(command, arguments, alone).made()
