"""Training, measuring and predicting as functions of a configuration and a folder.

The command line is one way to call them, a benchmark another, your own program a third::

    from ar_dmvc import api

    run = api.fit("configs/victims/comvc.yaml", "configs/data/digits.yaml", folder="runs/mine")
    print(api.test(checkpoint=run.checkpoint, folder="runs/mine_tested").report.worst)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ar_dmvc.plain_words import quiet
from ar_dmvc.plugins import installed_classes

if TYPE_CHECKING:
    from ar_dmvc.session import Run

Source = str | Path | Mapping[str, Any]
"""A part of a configuration: a YAML file, settings by name, or an option ``--name=value``; later parts win."""


def fit(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Train a clusterer, an attacker or a defender.

    Args:
        configuration: parts of it, merged in order.
        folder: for its files; None: ``runs/NAME/version_N``, as the configuration says.
        checkpoint: to go on from; ``last``: the newest of the runs of the same name.

    Returns:
        Folder, checkpoint, module, data and metrics.

    Raises:
        ArDmvcError: something that a user can mend.
    """
    return call("fit", configuration, folder, checkpoint)


def validate(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Measure a checkpoint's clusterer on clean data; see :func:`fit`."""
    return call("validate", configuration, folder, checkpoint)


def test(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Measure a checkpoint's clusterer under a suite of attacks; see :func:`fit`."""
    return call("test", configuration, folder, checkpoint)


def predict(*configuration: Source, folder: str | Path | None = None, checkpoint: str | Path | None = None) -> Run:
    """Find the cluster of every sample with a checkpoint's clusterer; see :func:`fit`."""
    return call("predict", configuration, folder, checkpoint)


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
        ArDmvcError: something that a user can mend.
    """
    arguments = [_argument(source) for source in configuration]
    if folder is not None:
        arguments.append(_place(Path(folder)))
    if checkpoint is not None:
        arguments.append(f"--ckpt_path={checkpoint}")
    return run(command, arguments, alone)


def run(command: str, arguments: Sequence[str], alone: bool = False) -> Run:
    """The same for arguments as of the command line; see :func:`call`."""
    from ar_dmvc.session import Session

    with quiet():
        installed_classes()  # so that their names are known
        return Session(command, arguments, alone).made()


def _argument(source: Source) -> str:
    if isinstance(source, Mapping):
        return f"--config={json.dumps(source, default=str)}"
    return source if isinstance(source, str) and source.startswith("--") else f"--config={source}"


def _place(folder: Path) -> str:
    """The option that has a run keep its files in a folder, whose name may look like a number."""
    settings = {"save_dir": str(folder), "name": "", "version": ""}
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": settings}
    return f"--config={json.dumps({'trainer': {'logger': logger}})}"
