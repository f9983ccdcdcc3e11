"""The record of a run, its resolved configuration: written beside its results and into its checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ar_dmvc.files import write_whole
from ar_dmvc.runs.folder import run_folder
from ar_dmvc.settings import load_yaml

KEY = "config"
"""The key under which a checkpoint holds the configuration."""

SECTIONS = ("model", "data")
"""The parts of the configuration that a checkpoint holds."""


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
        self._plain: dict[str, Any] = load_yaml(text)
        folder = run_folder(trainer)
        if folder is not None:
            write_whole(folder / "config.yaml", text)
            for logger in trainer.loggers:
                logger.log_hyperparams(self._plain)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what describes model and data, and the seed."""
        checkpoint[KEY] = {name: self._plain[name] for name in SECTIONS} | {"seed_everything": self._plain["seed_everything"]}
