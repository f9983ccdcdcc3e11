"""Ctrl-C, and SLURM's signal before it takes a job's nodes away, between two training steps rather than within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ar_dmvc.modules.base import ClustererModule


class InterruptBetweenSteps(Callback):
    """Lets the step at hand finish before a run is interrupted, so that the checkpoint written then resumes exactly.

    On Ctrl-C, of which a second does not wait. And on the signal on which Lightning checkpoints and requeues a SLURM job:
    training then stops, though not between an epoch's last step and its validation, which the requeued job would leave out.
    Several processes stop after the same step: they ask each other every :attr:`steps_between_questions`.

    A test or a prediction has nothing to go on from: on SIGTERM, which Lightning would let it outlast, it ends at once.
    """

    steps_between_questions = 10

    def __init__(self) -> None:
        self._asked: set[int] = set()
        self._agreed: set[int] = set()
        self._taken: dict[int, Any] = {}
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; only the main thread can."""
        self._asked.clear()
        self._agreed.clear()
        self._steps = 0
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_requeue_signals()):
                self._taken[number] = signal.signal(number, self._ask)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over SIGTERM; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._taken[signal.SIGTERM] = signal.signal(signal.SIGTERM, _end)

    on_predict_start = on_test_start

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give it back."""
        self._restore()

    on_predict_end = on_test_end

    def on_train_batch_end(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Stop if any process was asked to."""
        self._steps += 1
        if trainer.world_size == 1 or self._steps % self.steps_between_questions == 0:
            decide = trainer.strategy.reduce_boolean_decision
            self._agreed.update(number for number in self._taken if decide(number in self._asked, all=False))
        if signal.SIGINT in self._agreed:
            self._stop(trainer)
        if self._agreed and (not trainer.is_last_batch or trainer.num_training_batches == 1):
            self._requeue(trainer, *self._agreed)
            raise KeyboardInterrupt

    def on_validation_batch_end(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Stop on Ctrl-C; processes validate different numbers of batches, so several of them wait for a training step."""
        if trainer.world_size == 1 and signal.SIGINT in self._asked:
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back, before Lightning does so with its own."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back; on SIGTERM Lightning stops between two steps as well."""
        if isinstance(exception, SIGTERMException) and trainer.world_size == 1 and isinstance(pl_module, ClustererModule):
            pl_module.about_to_stop()
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self._asked:
            raise KeyboardInterrupt
        self._asked.add(number)

    def _stop(self, trainer: Trainer) -> NoReturn:
        if isinstance(trainer.lightning_module, ClustererModule):
            trainer.lightning_module.about_to_stop()
        raise KeyboardInterrupt

    def _requeue(self, trainer: Trainer, number: int) -> None:
        """Let Lightning write its checkpoint and requeue the job."""
        handler = self._taken[number]
        if isinstance(trainer.lightning_module, ClustererModule):
            trainer.lightning_module.keep_earlier_checkpoint()  # another could be cut off half written
        # All processes are here, whether or not the signal has reached them yet; and SLURM's SIGTERM after requeueing, on which
        # Lightning would have them communicate, is not needed to stop them.
        self._taken[number] = signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handler(number, None)

    def _restore(self) -> None:
        for number, handler in self._taken.items():
            signal.signal(number, handler)
        self._taken.clear()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _requeue_signals() -> list[int]:
    """The signals that Lightning handles here by requeueing: one under SLURM, else none."""
    others = signal.valid_signals() - {signal.SIGTERM}
    return [number for number in others if type(signal.getsignal(number)).__module__.startswith("lightning.")]
