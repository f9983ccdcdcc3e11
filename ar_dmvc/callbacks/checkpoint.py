"""Keeping the state of a run in its folder."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from ar_dmvc.checkpoint import not_finite
from ar_dmvc.errors import DivergedError
from ar_dmvc.files import remove_strays
from ar_dmvc.runs.folder import check_still_there, folder_of


class RunCheckpoint(ModelCheckpoint):
    """Keeps the newest state of a run as ``checkpoints/last.ckpt`` of its folder, after every epoch and where it stopped.

    Args:
        dirpath: where to; None: ``checkpoints`` of the run's folder.
        filename: without ``.ckpt``; within the folder.
        save_on_exception: also where training is interrupted, between two steps.
        enable_version_counter: give a new name to what would replace a file.
        kwargs: see Lightning's ``ModelCheckpoint``.

    Raises:
        ValueError: a name that leads out of the folder, or settings that leave no checkpoint.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = "last",
        save_on_exception: bool = True,
        enable_version_counter: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename, enable_version_counter=enable_version_counter, **kwargs)
        name = PurePath(filename or "")
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"checkpoint.filename: {filename!r} leads out of the run's folder; set checkpoint.dirpath instead")
        if self._every_n_epochs < 1 and self._every_n_train_steps < 1 and self._train_time_interval is None:
            raise ValueError("checkpoint.every_n_epochs must be at least 1: no checkpoint would be left")
        if self.save_top_k == 0 and not self.save_last:
            raise ValueError("checkpoint.save_top_k must not be 0 without save_last: no checkpoint would be left")
        self.save_on_exception = save_on_exception
        self._has_folder = False

    @property
    def state_key(self) -> str:
        """That of the class which it extends, so that checkpoints of either go on with the other."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder; remove what a process that was killed left half written there."""
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero and stage == "fit" and self.dirpath is not None:
            remove_strays(Path(self.dirpath))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the run's folder has to stay where it is."""
        super().on_train_start(trainer, pl_module)
        self._has_folder = folder_of(trainer).is_dir()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the state at hand where the module says that a run can go on from it."""
        if not getattr(pl_module, "can_go_on_from_here", False):
            return
        # The first process alone knows the folder; all are here, or there is one.
        if trainer.strategy.broadcast(trainer.is_global_zero and folder_of(trainer).is_dir()):
            super().on_exception(trainer, pl_module, exception)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if self._has_folder:
            check_still_there(trainer)
        if (name := not_finite(trainer.lightning_module.state_dict())) is not None:
            vars(trainer.lightning_module)["can_go_on_from_here"] = False
            raise DivergedError(
                f"{name} is not finite any more after epoch {trainer.current_epoch}; a smaller learning rate may help. The "
                "earlier checkpoint is kept"
            )
        super()._save_checkpoint(trainer, filepath)
