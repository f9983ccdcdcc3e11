"""A line an epoch where output goes to a file, in which a progress bar would show nothing until the end."""

from __future__ import annotations

import sys
import time

from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc.plain_words import duration


class EpochLines(Callback):
    """Writes a line to standard error after each epoch: losses, clean metrics, and the time that is left.

    Nothing where standard error is a terminal, which has a progress bar, or where that is turned off.

    Args:
        one_of_several: whether other runs write beside it: then each line names the folder, and none is left out.
    """

    def __init__(self, one_of_several: bool = False) -> None:
        self.one_of_several = one_of_several
        self._begun = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begun = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line."""
        unwanted = sys.stderr.isatty() or trainer.progress_bar_callback is None
        if (unwanted and not self.one_of_several) or not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1
        each = (time.monotonic() - self._begun) / (done - self._first_epoch)
        values = trainer.callback_metrics
        shown = [f"{name} {float(values[name]):.4g}" for name in ("train/loss", "val/acc", "val/nmi") if name in values]
        end = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else None
        left = "" if end is None else f", {duration(each * (end - done))} left"
        of = f"epoch {done}" if end is None else f"epoch {done} of {end}"
        where = f"{trainer.default_root_dir}: " if self.one_of_several else ""
        print(f"ardmvc: {where}{', '.join([of, *shown])}; {duration(each)} each{left}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it where nothing has been found, unless progress is not to be shown."""
        shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
        if shown and not trainer.fast_dev_run and float(trainer.callback_metrics.get("val/nmi", 1)) == 0:  # type: ignore[attr-defined]
            advice = "train longer, or from several seeds (--starts 5)"
            print(f"ardmvc: val/nmi is 0, as where all samples are in one cluster; {advice}", file=sys.stderr, flush=True)
