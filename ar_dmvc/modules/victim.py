"""Training a clusterer on clean data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ar_dmvc.clusterers import LossTerms
from ar_dmvc.data import MultiViewBatch
from ar_dmvc.modules.training import ClustererTraining, Pass, batch_views


class VictimClusterer(ClustererTraining):
    """Trains any clusterer with its own loss.

    Args:
        clusterer: what to train.
        learning_rate: of Adam, positive; None takes the clusterer's usual one.
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode, so that batch norm uses the statistics of the batch at hand, as published
            settings do; a deployed clusterer does not.
        global_batch: on several devices, whether losses are those of the global batch, so that the number of devices does not
            matter; False leaves each device its own part of it, which is another objective.
        compile: compile the networks with ``torch.compile``, which takes a while at first; on CPUs it brought no speed-up.

    Example:
        >>> module = VictimClusterer(CoMVC(view_shapes=[(1, 28, 28)] * 2, num_clusters=10))  # doctest: +SKIP
    """

    def forward_passes(self, batch: MultiViewBatch) -> tuple[Pass, ...]:
        """Run the clusterer once."""
        return ((batch_views(batch), self.clusterer.cluster(batch.views, batch.mask)),)

    def terms(self, passes: Sequence[Pass], losses: LossTerms, main: bool) -> dict[str, Tensor]:
        """The clusterer's loss terms."""
        ((views, output),) = passes
        return losses(views, output)
