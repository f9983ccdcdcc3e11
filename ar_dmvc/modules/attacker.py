"""Training a generator that misleads a frozen clusterer.

Source: Huang et al., "Adversarially Robust Deep Multi-View Clustering", ICML 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.optim import Optimizer

from ar_dmvc.attacks import Attack, GeneratorAttack, Views, attack_distance, perturb_with, undisturbed
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.clusterers.loading import clusterer_of
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule, may_overlap
from ar_dmvc.data.part import part_in_words
from ar_dmvc.distributed import batch_mean, mean_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import attack_figure
from ar_dmvc.losses import full_precision
from ar_dmvc.metrics import clustering_metrics, compute_metrics
from ar_dmvc.modules.base import ClustererModule, restart
from ar_dmvc.modules.strategy import OF_ALL_PROCESSES, data_of
from ar_dmvc.modules.training import check_alternating
from ar_dmvc.networks import Discriminator, Generator
from ar_dmvc.runs.folder import keep_picture


def _name_of_data(content: Mapping[str, Any]) -> str:
    """Under which name a checkpoint keeps the state of its data module."""
    trained_on = content.get("trained_on")
    return str(trained_on.get("data")) if isinstance(trained_on, dict) else ""


class GeneratorLosses(NamedTuple):
    """Terms of the generator's loss, before their weights, each a scalar.

    Attributes:
        adversarial: least-squares distance of the discriminator's scores from one.
        perturbation: L2 norm of the perturbations, mean over the batch, summed over views.
        attack: the attack distance, which is maximised.
    """

    adversarial: Tensor
    perturbation: Tensor
    attack: Tensor


class GANAttacker(ClustererModule):
    """Trains a generator of perturbations against any clusterer, which stays frozen.

    In each step the discriminator learns to tell clean from attacked views; then the generator learns, against that
    discriminator, to make perturbations that are small, pass for clean, and move the clusterer's representations.
    Because the two alternate, gradient accumulation is refused; change the batch size instead.

    Args:
        victim: the clusterer under attack: a checkpoint of ``ardmvc fit``, or the clusterer itself.
        epsilon: L-infinity budget; from the command line, that of the data.
        perturbation_weight: ``w_p``, weight of the perturbations' norm.
        attack_weight: ``w_a``, weight of the attack distance, a mean over the batch.
        consistency: weight of the hidden representation within the attack distance.
        complementarity: weight of the views' latents within it.
        learning_rate: of both Adams, positive.
        late_learning_rate: the same from ``late_epoch`` on, where the optimisers' state is restarted.
        late_epoch: epoch, counted from zero, at which that happens.
        attacks: the suite to test under beside the generator itself (``gan``), by name; None: the standard one.
        batch_statistics: keep the victim in training mode, so that its batch norm uses the statistics of the batch at hand,
            as published settings do; a deployed clusterer does not.
        global_batch: on several devices, whether losses are those of the global batch, so that the number of devices does not
            matter; False leaves each device its own part of it.
        compile: compile the networks with ``torch.compile``, which takes a while at first; on CPUs it brought no speed-up.
        allowed: classes from outside ``ar_dmvc`` that the victim's checkpoint may name; from the command line, ``--allow``.

    Raises:
        CheckpointError: the victim's checkpoint is missing, damaged, hostile or of another kind.
        ConfigurationError: there is no budget, or the suite has a ``gan`` of its own.
        ValueError: a weight, a learning rate or an epoch that is out of range.
    """

    held_in_checkpoint: ClassVar[tuple[str, ...]] = ("victim",)

    def __init__(
        self,
        victim: str | Path | Clusterer,
        epsilon: float | None = None,
        perturbation_weight: float = 1.0,
        attack_weight: float = 500.0,
        consistency: float = 1.0,
        complementarity: float = 1.0,
        learning_rate: float = 1e-3,
        late_learning_rate: float = 1e-4,
        late_epoch: int = 20,
        attacks: Mapping[str, Attack] | None = None,
        batch_statistics: bool = False,
        global_batch: bool = True,
        compile: bool = False,
        allowed: type[Clusterer] | Sequence[type[Clusterer]] = (),
    ) -> None:
        content: Mapping[str, Any] = {}
        if isinstance(victim, Clusterer):
            clusterer = victim
        else:
            content = read_checkpoint(victim)
            clusterer = clusterer_of(content, victim, [allowed] if isinstance(allowed, type) else allowed)
        if attacks is not None and "gan" in attacks:
            raise ConfigurationError("attacks: 'gan' is this attacker's own generator; give the other attack another name")
        super().__init__(clusterer, attacks, epsilon, batch_statistics, global_batch, compile)
        self.automatic_optimization = False
        self.trained_on = content.get("trained_on")
        self.victim_data: dict[str, Any] | None = content.get(_name_of_data(content))
        self.generator = Generator(clusterer.view_shapes)
        self.discriminator = Discriminator(clusterer.view_shapes)
        self.gan = GeneratorAttack(self.generator, epsilon)
        self.budget = self.gan.budget
        self.perturbation_weight = perturbation_weight
        self.attack_weight = attack_weight
        self.consistency = consistency
        self.complementarity = complementarity
        if late_epoch < 0:
            raise ValueError(f"late_epoch must not be negative, got {late_epoch}")
        for name, weight in self._weights().items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, got {weight}")
        for name, rate in {"learning_rate": learning_rate, "late_learning_rate": late_learning_rate}.items():
            if not 0 < rate < math.inf:
                raise ValueError(f"{name} must be a positive number, got {rate}")
        self.learning_rate = learning_rate
        self.late_learning_rate = late_learning_rate
        self.late_epoch = late_epoch
        self.attacked_metrics = clustering_metrics()
        self.clusterer.requires_grad_(False)
        self.train()

    def _weights(self) -> dict[str, float]:
        names = ("perturbation_weight", "attack_weight", "consistency", "complementarity")
        return {name: getattr(self, name) for name in names}

    def train(self, mode: bool = True) -> Self:
        """Switch the attacker's mode; the victim's follows ``batch_statistics`` alone."""
        super().train(mode)
        self.clusterer.train(self.batch_statistics)
        return self

    def setup(self, stage: str) -> None:
        """Check that all fits, see the base; let views be scaled as the victim's were."""
        super().setup(stage)
        data = data_of(self.trainer)
        if data is not None and self.victim_data is not None and stage == "fit":
            data.load_state_dict(self.victim_data)

    def check_data(self, data: MultiViewDataModule, stage: str) -> None:
        """Check that data and victim fit; see the base."""
        super().check_data(data, stage)
        self.check_range(data, "attacks keep views in [0, 1]")
        if stage == "fit":
            self.clusterer.check_scalings("victim", data.scalings)

    def on_fit_start(self) -> None:
        """Say so where the victim may have seen the samples; what it was trained on is kept from its checkpoint."""
        data = data_of(self.trainer)
        if data is not None and may_overlap(self.trained_on, data, data.partition):
            rank_zero_warn(
                f"the victim was trained on {part_in_words(self.trained_on)}: it may have seen samples that it is attacked on "
                "here; give the data the same settings and partition: attacker"
            )

    def check_trainer(self, trainer: Trainer, stage: str) -> None:
        """Check that the trainer does what this module needs.

        Raises:
            ConfigurationError: gradient accumulation or clipping are asked for, or what the base refuses.
        """
        super().check_trainer(trainer, stage)
        if stage == "fit":
            check_alternating(trainer, "discriminator and generator")

    def on_train_batch_start(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """From ``late_epoch`` on, the lower learning rate, with the optimisers' state restarted."""
        if self.current_epoch == self.late_epoch and batch_idx == 0:
            for optimizer in self._optimizers():
                restart(optimizer)
                for group in optimizer.param_groups:
                    group["lr"] = self.late_learning_rate

    def training_step(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """Update the discriminator, then the generator against it."""
        with self.in_global_batch(batch):
            self._alternate(batch)

    def _alternate(self, batch: MultiViewBatch) -> None:
        generator_optimizer, discriminator_optimizer = self._optimizers()
        perturbed = perturb_with(self.generator, batch.views, self.gan.threat, batch.mask)

        discriminator_loss = self.discriminator_loss(batch.views, [view.detach() for view in perturbed.views])
        self._update(discriminator_optimizer, discriminator_loss)

        # The generator's gradient passes through the discriminator but must not stay in it.
        self.toggle_optimizer(generator_optimizer)
        terms = self.generator_losses(batch.views, perturbed.perturbations, perturbed.views, batch.mask)
        loss = terms.adversarial + self.perturbation_weight * terms.perturbation - self.attack_weight * terms.attack
        self._update(generator_optimizer, loss)
        self.untoggle_optimizer(generator_optimizer)
        self.log_losses({**terms._asdict(), "discriminator": discriminator_loss, "loss": loss}, len(batch.index))

    def discriminator_loss(self, clean: Views, attacked: Views) -> Tensor:
        """Least squares: clean views (N, *shape_v) towards one, attacked ones towards zero, mean over views."""
        real, fake = (full_precision(self.discriminator(views)) for views in (clean, attacked))
        terms = [batch_mean((r - 1).square()) + batch_mean(f.square()) for r, f in zip(real, fake, strict=True)]
        return torch.stack(terms).mean()

    def generator_losses(
        self, clean: Views, perturbations: Views, attacked: Views, mask: Tensor | None = None
    ) -> GeneratorLosses:
        """The terms of the generator's loss for clean views (N, *shape_v), perturbations, and attacked views."""
        scores = full_precision(self.discriminator(attacked))
        norms = [mean_rows(torch.linalg.vector_norm(change.flatten(1), dim=1)) for change in full_precision(perturbations)]
        with undisturbed(self.clusterer):
            with torch.no_grad():
                clean_output = self.clusterer.cluster(clean, mask)
            attacked_output = self.clusterer.cluster(attacked, mask)
        return GeneratorLosses(
            adversarial=torch.stack([batch_mean((score - 1).square()) for score in scores]).mean(),
            perturbation=torch.stack(norms).sum(),
            attack=attack_distance(clean_output, attacked_output, self.consistency, self.complementarity),
        )

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        super().on_validation_epoch_start()
        self.attacked_metrics.reset()

    def validation_step(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """Count a batch, clean and attacked."""
        if batch.labels is not None and len(batch.labels):
            with undisturbed(self.clusterer):
                super().validation_step(batch, batch_idx)
                attacked = self.gan(self.clusterer, batch.views, mask=batch.mask)
                self.attacked_metrics.update(self(attacked, batch.mask).argmax(1), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log clean and attacked metrics."""
        super().on_validation_epoch_end()
        scores = compute_metrics(self.attacked_metrics)
        self.log_dict({f"val/attacked/{name}": value for name, value in scores.items()}, **OF_ALL_PROCESSES)

    def on_train_batch_end(self, outputs: object, batch: MultiViewBatch, batch_idx: int) -> None:
        """Keep a picture at the very end; see also the base."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        last_epoch = self.trainer.max_epochs is not None and self.current_epoch + 1 == self.trainer.max_epochs
        if last_epoch and self.trainer.is_last_batch:
            views, mask = [view[:16] for view in batch.views], None if batch.mask is None else batch.mask[:16]
            attacked = self.gan(self.clusterer, views, mask=mask)
            keep_picture(self.trainer, "pictures/attack", lambda: attack_figure(views, attacked))

    def networks(self) -> Sequence[nn.Module]:
        """The victim, the generator and the discriminator."""
        return [self.clusterer, self.generator, self.discriminator]

    def test_suite(self) -> dict[str, Attack]:
        """The attacks to test under: the suite and the trained generator."""
        return {**super().test_suite(), "gan": self.gan}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is needed to make the victim and the generator again."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["generator"] = {
            "view_shapes": [list(shape) for shape in self.clusterer.view_shapes],
            "epsilon": self.budget,
        }

    def begin_with(self, checkpoint: Mapping[str, Any], source: str | Path) -> None:
        """Refuse: the clusterer is the victim's."""
        raise ConfigurationError(f"init_from: an attacker's clusterer is its victim; set model.victim to {source}")

    def configure_optimizers(self) -> Sequence[Optimizer]:
        """Adam for the generator and for the discriminator."""
        return [
            torch.optim.Adam(network.parameters(), lr=self.learning_rate) for network in (self.generator, self.discriminator)
        ]

    def _optimizers(self) -> tuple[LightningOptimizer, LightningOptimizer]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers[0], optimizers[1]

    def _update(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
