"""What of a clustering survives an attack, watched in validation without labels."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc.attacks import Attack, undisturbed
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.metrics import ClusteringStability
from ar_dmvc.modules.attacker import GANAttacker
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.strategy import OF_ALL_PROCESSES, batch_number, data_of


class StabilityUnderAttack(Callback):
    """Logs ``val/stability``: the mutual information of the clusters of clean and of attacked views, over log K.

    It is made of predicted clusters alone, so that a search may select by it. Every run is measured with the same attack and
    budget, whatever it trains with. Training goes on as without: neither parameters nor random numbers are touched.

    Args:
        attack: the reference attack, by default with the budget of the data; None: the generator that a ``GANAttacker`` trains.
        every_n_epochs: measure in every n-th epoch, and in the last; at least 1.

    Raises:
        ValueError: ``every_n_epochs`` is less than 1.
    """

    def __init__(self, attack: Attack | None = None, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.attack = attack
        self.every_n_epochs = every_n_epochs
        self._measures = False

    def check(self, module: ClustererModule, data: MultiViewDataModule) -> None:
        """Check that the attack fits the clusterer and the data.

        Raises:
            ConfigurationError: it does not, there is none, or it has no budget.
        """
        self._reference_against(module).check_views(data.view_shapes)
        module.check_range(data, "attacks keep views in [0, 1]")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the attack and the metric ready."""
        if stage not in ("fit", "validate"):
            return
        assert isinstance(pl_module, ClustererModule)
        data = data_of(trainer)
        if data is not None:
            self.check(pl_module, data)
        self._reference = self._reference_against(pl_module)
        self._metric = ClusteringStability(pl_module.clusterer.num_clusters)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting where it is time to."""
        epoch = trainer.current_epoch + 1
        is_due = trainer.state.fn != "fit" or epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        self._measures = is_due and not trainer.sanity_checking
        self._metric.to(pl_module.device).reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MultiViewBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Attack a batch and count its clusters before and after."""
        if not self._measures:
            return
        assert isinstance(pl_module, ClustererModule)
        clusterer = pl_module.clusterer
        if len(batch.index) == 0:
            self._metric.update(batch.index, batch.index)
            return
        self._reference.reseed(batch_number(trainer, batch_idx))
        with trainer.precision_plugin.forward_context():
            attacked = self._reference(clusterer, batch.views, mask=batch.mask)
            with torch.no_grad(), undisturbed(clusterer):
                after, before = (
                    clusterer.cluster(views, batch.mask).assignments.argmax(1) for views in (attacked, batch.views)
                )
        self._metric.update(after, before)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the stability."""
        if self._measures:
            pl_module.log("val/stability", self._metric.compute(), **OF_ALL_PROCESSES)

    def _reference_against(self, module: ClustererModule) -> Attack:
        if self.attack is not None:
            attack = self.attack.with_default_budget(module.epsilon)
        elif isinstance(module, GANAttacker):
            attack = module.gan
        else:
            raise ConfigurationError(f"StabilityUnderAttack: {type(module).__name__} has no attack of its own; give it one")
        attack.check_clusterer(module.clusterer)
        _ = attack.budget  # said now rather than in the first validation
        return attack
