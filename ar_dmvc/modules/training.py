"""Training a clusterer as it declares: its stages, its alternating optimisers, its clusters at the end."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ar_dmvc.attacks import Attack, Views
from ar_dmvc.clusterers import BatchViews, Clusterer, ClustererOutput, LossTerms, OptimizerSettings, Stage
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.modules.base import ClustererModule, restart, total
from ar_dmvc.modules.finding import ClusterFinding, finds_clusters, measuring
from ar_dmvc.modules.strategy import data_of

Pass = tuple[BatchViews, ClustererOutput]
"""Views of a batch and what the clusterer makes of them."""


class ClustererTraining(ClustererModule):
    """Base of the modules that train a clusterer; subclasses define a step's forward passes and loss.

    Args:
        clusterer: what to train.
        learning_rate: of Adam, positive; None takes the clusterer's usual one.
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode.
        global_batch: on several devices, whether losses are those of the global batch.
        compile: compile the networks with ``torch.compile``, which takes a while at first; on CPUs it brought no speed-up.

    Raises:
        ValueError: stages or optimisers that cannot be.
    """

    def __init__(
        self,
        clusterer: Clusterer,
        learning_rate: float | None = None,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        batch_statistics: bool = False,
        global_batch: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__(clusterer, attacks, epsilon, batch_statistics, global_batch, compile)
        self.learning_rate = clusterer.usual_learning_rate if learning_rate is None else learning_rate
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        self.schedule = Schedule(clusterer.stages())
        self.optimizer_settings = tuple(clusterer.optimizers())
        _check_settings(clusterer, self.optimizer_settings)
        self.automatic_optimization = len(self.optimizer_settings) == 1
        self.finding: ClusterFinding | None = None

    @property
    def stage(self) -> Stage:
        """The stage at hand."""
        return self.schedule.at(self.current_epoch)

    @property
    def steps(self) -> int:
        """Number of steps so far, of each optimiser; of batches, unless gradients are accumulated."""
        return self.global_step // len(self.optimizer_settings)

    @abstractmethod
    def forward_passes(self, batch: MultiViewBatch) -> tuple[Pass, ...]:
        """Run the clusterer on a batch, as often as the loss needs."""

    @abstractmethod
    def terms(self, passes: Sequence[Pass], losses: LossTerms, main: bool) -> dict[str, Tensor]:
        """Weighted loss terms.

        Args:
            passes: what :meth:`forward_passes` returned.
            losses: the clusterer's, of the optimiser that is stepping.
            main: whether they are those of the stage rather than of an auxiliary optimiser.
        """

    def training_step(self, batch: MultiViewBatch, batch_idx: int) -> Tensor | None:
        """One step of every optimiser, in turn."""
        with self.in_global_batch(batch):
            passes = self.forward_passes(batch)
            if self.automatic_optimization:
                terms = self.terms(passes, self.stage.losses, main=True)
                loss = total(terms)
                self.log_losses({**terms, "loss": loss}, len(batch.index))
                return loss
            self.log_losses(self._alternate(passes), len(batch.index))
            return None

    @property
    def leaves_parameters_out(self) -> bool:
        """Whether there are steps in which some parameters get no gradient."""
        return super().leaves_parameters_out or len(self.schedule.stages) > 1

    def _alternate(self, passes: Sequence[Pass]) -> dict[str, Tensor]:
        logged: dict[str, Tensor] = {}
        for settings, optimizer in zip(self.optimizer_settings, self._optimizers(), strict=True):
            # What the others train may be in this loss, but must get no gradient from it.
            self.toggle_optimizer(optimizer)
            main = settings.losses is None
            terms = self.terms(passes, settings.losses or self.stage.losses, main)
            loss = total(terms)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)
            for config in self.trainer.lr_scheduler_configs:
                if config.scheduler.optimizer is optimizer.optimizer:
                    config.scheduler.step()  # type: ignore[call-arg]  # none that looks at a metric
            logged |= {**terms, "loss": loss} if main else {settings.name: loss}
        self._stepped()
        return logged

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step and count it: before callbacks may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        self._stepped()

    def _stepped(self) -> None:
        self.clusterer.after_step()

    def on_train_batch_start(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """At the beginning of an epoch, which is not where a run resumes within one: start the stage, the optimisers."""
        if batch_idx > 0:
            return
        starts = self.schedule.starts_at(self.current_epoch)
        if starts and self.stage.prepare is not None:
            with measuring(self.clusterer):
                self.stage.prepare(TrainingViews(self))
        if starts or self.stage.restart_every_epoch:
            for optimizer in self._optimizers():
                restart(optimizer)

    def configure_callbacks(self) -> Sequence[Callback]:
        """What finds clusters, where they come from no head."""
        if not finds_clusters(self.clusterer):
            return []
        self.finding = ClusterFinding(self.clusterer, TrainingViews(self))
        return [self.finding]

    def on_fit_end(self) -> None:
        """Leave a checkpoint of the end, with the clusters that were found then."""
        self.keep_final(changed=self.finding is not None and self.finding.found_late)

    def on_train_start(self) -> None:
        """Check that as many steps as are asked for reach the last stage.

        Raises:
            ConfigurationError: they do not.
        """
        trainer = self.trainer
        first = self.schedule.starts[-1] * float(trainer.num_training_batches) * len(self.optimizer_settings)
        if 0 <= trainer.max_steps <= first and first and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ConfigurationError(self._too_short(f"trainer.max_steps = {trainer.max_steps}", int(first)))
        # Where a schedule has asked for the number of steps, Lightning made its loader before it had read where in an epoch a
        # checkpoint was left, and would begin that epoch's batches again. Our loader begins only when its first batch is taken.
        trainer.fit_loop._load_combined_loader_states()
        super().on_train_start()

    def check_trainer(self, trainer: Trainer, stage: str) -> None:
        """Check that the trainer does what this module needs.

        Raises:
            ConfigurationError: fewer epochs than reach the last stage, gradient accumulation or clipping where optimisers
                alternate, or what the base refuses.
        """
        super().check_trainer(trainer, stage)
        if stage != "fit":
            return
        first, epochs = self.schedule.starts[-1], trainer.max_epochs
        if first and epochs is not None and 0 <= epochs <= first and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ConfigurationError(self._too_short(f"trainer.max_epochs = {epochs}", first))
        if not self.automatic_optimization:
            check_alternating(trainer, f"the optimisers of {type(self.clusterer).__name__}")

    def _too_short(self, what: str, first: int) -> str:
        stages = ", ".join(f"{stage.name!r} from epoch {start}" for start, stage in self.schedule)
        return (
            f"{what} ends before the last stage of {type(self.clusterer).__name__} ({stages}); set it to more than {first}, or "
            "give earlier stages fewer epochs (model.clusterer)"
        )

    def check_data(self, data: MultiViewDataModule, stage: str) -> None:
        """Check that data and clusterer fit; see the base.

        Raises:
            ConfigurationError: what the base refuses, views that decoders cannot reproduce, or batches of fewer samples than
                there are clusters.
        """
        super().check_data(data, stage)
        if stage == "fit" and self.clusterer.reproduces_unit_range:
            self.check_range(data, f"decoders of {type(self.clusterer).__name__} reproduce views in [0, 1]")
        if stage == "fit" and data.batch_size < self.clusterer.num_clusters:
            raise ConfigurationError(
                f"data.batch_size = {data.batch_size} is smaller than the number of clusters, {self.clusterer.num_clusters}: "
                "no batch could show them all"
            )

    def configure_optimizers(self) -> Sequence[Any]:
        """The clusterer's optimisers, with their schedulers."""
        optimizers = [settings.build(self.clusterer, self.learning_rate) for settings in self.optimizer_settings]
        if all(settings.scheduler is None for settings in self.optimizer_settings):
            return optimizers
        estimated = self.trainer.estimated_stepping_batches
        if not math.isfinite(estimated):
            raise ConfigurationError(
                "the learning rate follows a schedule that needs an end: set trainer.max_epochs or max_steps"
            )
        steps = int(estimated)
        return [
            {"optimizer": optimizer}
            if settings.scheduler is None
            else {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": settings.scheduler(optimizer, steps), "interval": "step"},
            }
            for settings, optimizer in zip(self.optimizer_settings, optimizers, strict=True)
        ]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip gradients where the clusterer says so."""
        for settings, other in zip(self.optimizer_settings, self.trainer.optimizers, strict=True):
            if other is optimizer and settings.clip_norm is not None:
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]


class Schedule:
    """Which stage each epoch belongs to; iterates over first epochs and stages.

    Args:
        stages: in order; those of zero epochs are left out.

    Raises:
        ValueError: there is none, or one before the last has no number of epochs.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = [stage for stage in stages if stage.epochs != 0]
        if not self.stages or any(stage.epochs is None for stage in self.stages[:-1]):
            raise ValueError("a clusterer needs at least one stage of training, and all but the last a number of epochs")
        self.starts = [0, *accumulate(stage.epochs or 0 for stage in self.stages[:-1])]

    def __iter__(self) -> Iterator[tuple[int, Stage]]:
        return iter(zip(self.starts, self.stages, strict=True))

    def at(self, epoch: int) -> Stage:
        """The stage of an epoch, counted from zero."""
        return [stage for start, stage in self if start <= epoch][-1]

    def starts_at(self, epoch: int) -> bool:
        """Whether a stage begins with this epoch."""
        return epoch in self.starts

    def first_with_clusters(self) -> int:
        """The first epoch whose assignments mean something."""
        return next((start for start, stage in self if stage.has_clusters), self.starts[-1])


def batch_views(batch: MultiViewBatch, views: Views | None = None) -> BatchViews:
    """What losses see of a batch, its labels left out; with other views where given."""
    return BatchViews(batch.views if views is None else views, batch.index, batch.mask)


class TrainingViews:
    """The views of the training part in its order, without labels, on a module's device, in the precision of training."""

    def __init__(self, module: LightningModule) -> None:
        self.module = module

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (views for views, _ in self.masked())

    def masked(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
        """The same, each batch with its mask (N, V) of the views that are present; None: all."""
        trainer, device = self.module.trainer, self.module.device
        data = data_of(trainer)
        loader: Iterable[MultiViewBatch] | None = trainer.train_dataloader
        if data is not None:
            loader = data.training_part()
        elif isinstance(loader, DataLoader):  # in the midst of an epoch: its own workers must not start again
            loader = DataLoader(loader.dataset, loader.batch_size, collate_fn=loader.collate_fn)
        assert loader is not None
        for batch in loader:
            views = tuple(trainer.precision_plugin.convert_input(view.to(device)) for view in batch.views)
            yield views, None if batch.mask is None else batch.mask.to(device)


def check_alternating(trainer: Trainer, who: str) -> None:
    """Check that the trainer leaves gradients to optimisers that alternate.

    Raises:
        ConfigurationError: it is to accumulate or to clip them.
    """
    if trainer.gradient_clip_val:
        raise ConfigurationError(
            f"trainer.gradient_clip_val: {who} alternate in every step, and their gradients cannot be clipped; leave it out"
        )
    if trainer.accumulate_grad_batches != 1:
        raise ConfigurationError(
            f"trainer.accumulate_grad_batches: {who} alternate in every step and cannot accumulate gradients; set it to 1 "
            f"(it is {trainer.accumulate_grad_batches}) and change data.batch_size instead"
        )


def _check_settings(clusterer: Clusterer, all_settings: Sequence[OptimizerSettings]) -> None:
    if sum(settings.losses is None for settings in all_settings) != 1:
        raise ValueError(f"{type(clusterer).__name__}: exactly one of its optimisers minimises the loss of the stage")
    owned = [id(p) for settings in all_settings for part in settings.parts for p in clusterer.get_submodule(part).parameters()]
    rates = [rate for settings in all_settings for rate in settings.parts.values() if rate is not None]
    if not all(rate > 0 for rate in rates):
        raise ValueError(f"{type(clusterer).__name__}: learning rates must be positive, got {rates}")
    names = [name for name, parameter in clusterer.named_parameters() if owned.count(id(parameter)) != 1]
    if names:
        raise ValueError(f"{type(clusterer).__name__}: each parameter belongs to one optimiser, which {names} do not")
