"""The record of a run, its resolved configuration: written beside its results and into its checkpoints, read back from them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ar_dmvc import attacks, clusterers, data
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.modules.attacker import GANAttacker
from ar_dmvc.modules.defender import RobustDefender
from ar_dmvc.modules.run_folder import run_folder
from ar_dmvc.modules.victim import VictimClusterer

_KEY = "config"
_SECTIONS = ("model", "data")
_COULD_NAME_A_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+|.*([{\n]|class_path|: ).*", re.DOTALL)


class RunRecord(SaveConfigCallback):
    """Writes the resolved configuration into the run's folder, its loggers, and every checkpoint.

    In a checkpoint, under ``config``, it makes ``ardmvc test --ckpt_path`` possible with no configuration at hand.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration."""
        if self.already_saved:
            return
        self.already_saved = True
        text = self.parser.dump(self.config, skip_unset=False)
        self._plain: dict[str, Any] = yaml.safe_load(text)
        folder = run_folder(trainer)
        if folder is not None:
            (folder / "config.yaml").write_text(text)
            for logger in trainer.loggers:
                logger.log_hyperparams(self._plain)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what describes model and data."""
        checkpoint[_KEY] = {name: self._plain[name] for name in _SECTIONS}


def recorded_settings(path: str | Path) -> dict[str, Any]:
    """What a checkpoint says of the model and the data that it was made with, as far as it can be trusted.

    Only classes of ``ar_dmvc`` are taken from a checkpoint; a section that names another, or could, is left out and said so.
    Arguments that name a checkpoint for which this one can stand in are pointed to it.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    recorded = read_checkpoint(path).get(_KEY)
    if not isinstance(recorded, dict):
        return {}
    known = _known_classes()
    settings = {}
    for name in _SECTIONS:
        section = recorded.get(name)
        if not isinstance(section, dict):
            continue
        if foreign := [value for value in _names(section) if value not in known]:
            print(
                f"ardmvc: {path}: its {name} names {foreign[0]!r}, which is not a class of ar_dmvc and is not taken from a "
                f"checkpoint; name it with --config or --{name}",
                file=sys.stderr,
            )
            continue
        for argument in getattr(known.get(section.get("class_path", "")), "held_in_checkpoint", ()):
            section.setdefault("init_args", {})[argument] = str(path)
        settings[name] = section
    return settings


def _known_classes() -> dict[str, type]:
    packages = {package: package.__all__ for package in (clusterers, data, attacks)}
    known = {f"{package.__name__}.{name}": getattr(package, name) for package, names in packages.items() for name in names}
    return known | {f"ar_dmvc.modules.{kind.__name__}": kind for kind in (VictimClusterer, GANAttacker, RobustDefender)}


def _names(value: object, key: str = "") -> Iterator[str]:
    """Everything in nested plain values that names a class, or that a parser might take for the name of one."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _names(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)
    elif key == "class_path" or (isinstance(value, str) and _COULD_NAME_A_CLASS.fullmatch(value)):
        yield str(value)
