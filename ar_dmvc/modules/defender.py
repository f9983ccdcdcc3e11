"""Adversarial training of a clusterer.

Source: Huang et al., "Adversarially Robust Deep Multi-View Clustering", ICML 2024: AR-DMVC, and with the Attack Mitigator
AR-DMVC-AM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ar_dmvc.attacks import Attack, Views
from ar_dmvc.clusterers import Clusterer, LossTerms, with_mask
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule
from ar_dmvc.losses import attack_mitigator
from ar_dmvc.modules.base import total
from ar_dmvc.modules.run_folder import keep_picture
from ar_dmvc.modules.training import ClustererTraining, Pass


class RobustDefender(ClustererTraining):
    """Trains any clusterer on clean samples and on the same samples attacked.

    The loss is ``L(clean) + w_adv * L(attacked) + w_am * KL(A_clean || A_attacked)``, ``L`` the clusterer's own; the last term
    is the Attack Mitigator. Views are attacked anew in every step, batch norm using the statistics of the attacked batch;
    crafting leaves parameters and running statistics alone. Stages that train no assignments yet, pretraining, see clean
    samples alone.

    Args:
        clusterer: what to train.
        attack: the inner attack.
        adversarial_weight: ``w_adv``, at least zero.
        mitigator_weight: ``w_am``, at least zero; zero is AR-DMVC.
        warmup_epochs: the inner attack's budget grows linearly from zero over this many epochs, from where there are
            clusters to defend.
        learning_rate: of Adam, positive; None takes the clusterer's usual one.
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode, so that batch norm uses the statistics of the batch at hand, as published
            settings do; a deployed clusterer does not.
        global_batch: on several devices, whether losses are those of the global batch, so that the number of devices does not
            matter; False leaves each device its own part of it, which is another objective.

    Raises:
        ValueError: a negative weight or number of epochs.
        ConfigurationError: the inner attack does not apply to the clusterer, or has no budget, with none to fall back on.
    """

    def __init__(
        self,
        clusterer: Clusterer,
        attack: Attack,
        adversarial_weight: float = 1.0,
        mitigator_weight: float = 0.1,
        warmup_epochs: float = 0.0,
        learning_rate: float | None = None,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        batch_statistics: bool = False,
        global_batch: bool = True,
    ) -> None:
        super().__init__(clusterer, learning_rate, attacks, epsilon, batch_statistics, global_batch)
        if min(adversarial_weight, mitigator_weight, warmup_epochs) < 0:
            raise ValueError("adversarial_weight, mitigator_weight and warmup_epochs must be at least 0")
        attack.check_clusterer(clusterer)
        self.attack = attack.with_default_budget(epsilon)
        self.budget = self.attack.budget
        self.adversarial_weight = adversarial_weight
        self.mitigator_weight = mitigator_weight
        self.warmup_epochs = warmup_epochs

    def check_data(self, data: MultiViewDataModule, stage: str) -> None:
        """Check that data and clusterer fit; see the base."""
        super().check_data(data, stage)
        self.attack.check_views(data.view_shapes)
        self.check_range(data, "attacks keep views in [0, 1]")

    def see(self, batch: MultiViewBatch) -> tuple[Pass, ...]:
        """Run the clusterer on clean views, and on the same attacked where there are clusters to defend."""
        clusterer, views = with_mask(self.clusterer, batch.mask), batch.views
        if not self.stage.has_clusters:
            return ((views, clusterer(views)),)
        attacked = self.craft(views, batch.mask)
        return (views, clusterer(views)), (attacked, clusterer(attacked))

    def terms(self, passes: Sequence[Pass], losses: LossTerms, whole: bool) -> dict[str, Tensor]:
        """Weighted loss terms on clean and on attacked views, and the Attack Mitigator beside the loss of the stage."""
        clean, *attacked = passes
        terms = {"clean": total(losses(*clean))}
        for other in attacked:
            terms["attacked"] = self.adversarial_weight * total(losses(*other))
            if whole:
                terms["mitigator"] = self.mitigator_weight * attack_mitigator(clean[1].assignments, other[1].assignments)
        return terms

    def craft(self, views: Views, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Attack a batch in training; the step alone decides the attack's random numbers and budget."""
        attack = self.attack.with_budget(self.budget * self.warmup())
        attack.reseed(self.steps)
        return attack(self.clusterer, views, mask=mask)

    def warmup(self) -> float:
        """Share of the full budget at this step, in (0, 1]."""
        batches = float(self.trainer.num_training_batches)
        done = self.steps - self.schedule.first_with_clusters() * batches
        steps = self.warmup_epochs * batches
        return min(1.0, (done + 1) / steps) if steps > 1 else 1.0

    def on_train_batch_end(self, outputs: object, batch: MultiViewBatch, batch_idx: int) -> None:
        """Keep a picture of the inner attack at the very end; see also the base."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        last_epoch = self.trainer.max_epochs is not None and self.current_epoch + 1 == self.trainer.max_epochs
        if last_epoch and self.trainer.is_last_batch:
            from ar_dmvc.evaluation import attack_figure

            views, mask = [view[:16] for view in batch.views], None if batch.mask is None else batch.mask[:16]
            keep_picture(self.trainer, "pictures/attack", lambda: attack_figure(views, self.craft(views, mask)))
