"""Training a clusterer on clean data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from ar_dmvc.attacks import Attack
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import MultiViewBatch
from ar_dmvc.modules.base import ClustererModule, total


class VictimClusterer(ClustererModule):
    """Trains any clusterer with its own loss.

    Args:
        clusterer: what to train.
        learning_rate: of Adam, positive.
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode, so that batch norm uses the statistics of the batch at hand, as published
            settings do; a deployed clusterer does not.

    Example:
        >>> module = VictimClusterer(CoMVC(view_shapes=[(1, 28, 28)] * 2, num_clusters=10))  # doctest: +SKIP
    """

    def __init__(
        self,
        clusterer: Clusterer,
        learning_rate: float = 1e-3,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__(clusterer, attacks, epsilon, batch_statistics)
        self.learning_rate = learning_rate

    def training_step(self, batch: MultiViewBatch, batch_idx: int) -> Tensor:
        """The clusterer's loss on a batch."""
        terms = self.clusterer.losses(batch.views, self.clusterer(batch.views))
        loss = total(terms)
        self.log_losses({**terms, "loss": loss}, len(batch.index))
        return loss

    def configure_optimizers(self) -> Optimizer:
        """Adam."""
        return torch.optim.Adam(self.clusterer.parameters(), lr=self.learning_rate)
