"""Finding clusters, for clusterers whose assignments come from no head, whenever they are about to be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc.clusterers import Clusterer, TrainingViews
from ar_dmvc.distributed import broadcast_buffers
from ar_dmvc.errors import TrainingError


class Found(IntEnum):
    """Which clusters a clusterer has, since its last step."""

    NONE = 0
    QUICK = 1
    FINAL = 2


class ClusterFinding(Callback):
    """Lets a clusterer find its clusters: quickly after each epoch, before they are measured or kept, in full at the end.

    Args:
        clusterer: whose :meth:`~ar_dmvc.clusterers.Clusterer.fit_clusters` is called.
        training_views: of the training part.

    Attributes:
        found: which clusters it has.
        found_late: whether the final ones were found after the last checkpoint.
    """

    def __init__(self, clusterer: Clusterer, training_views: TrainingViews) -> None:
        self.clusterer = clusterer
        self.training_views = training_views
        self.found = Found.NONE
        self.found_late = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """At the beginning of an epoch: a run that stopped between the last step of an epoch and its end has none yet."""
        if batch_idx == 0 and trainer.global_step > 0:
            self._find(trainer, pl_module, Found.QUICK)

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        """After a step the clusters are those of other parameters."""
        self.found = Found.NONE

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find clusters before they are measured."""
        if trainer.state.fn == "fit":
            self._find(trainer, pl_module, _wanted(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find clusters before the checkpoint is written."""
        self._find(trainer, pl_module, _wanted(trainer))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find clusters after all where training ended unforeseen, or had ended before."""
        self.found_late = self.found < Found.FINAL and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.found_late:
            self._find(trainer, pl_module, Found.FINAL)

    def _find(self, trainer: Trainer, module: LightningModule, wanted: Found) -> None:
        if self.found >= wanted or trainer.sanity_checking:
            return
        try:
            with measuring(self.clusterer):
                self.clusterer.fit_clusters(self.training_views, wanted is Found.FINAL)
        except TrainingError:
            vars(module)["can_go_on_from_here"] = False
            raise
        self.found = wanted


@contextmanager
def measuring(clusterer: Clusterer) -> Iterator[None]:
    """A clusterer in evaluation mode and without gradients; what it measures is the same in all processes."""
    training = clusterer.training
    # Buffers that are written under inference mode could not take part in autograd later.
    with torch.inference_mode(False), torch.no_grad():
        clusterer.eval()
        try:
            yield
            broadcast_buffers(clusterer)
        finally:
            clusterer.train(training)


def finds_clusters(clusterer: Clusterer) -> bool:
    """Whether a clusterer has something to find."""
    return type(clusterer).fit_clusters is not Clusterer.fit_clusters


def _wanted(trainer: Trainer) -> Found:
    last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    ends = last_epoch or trainer.should_stop or trainer.global_step == trainer.max_steps
    return Found.FINAL if ends else Found.QUICK
