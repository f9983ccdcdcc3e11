"""Adversarial training of a clusterer: while it clusters, or after a teacher has found the clusters.

Source: Huang et al., "Adversarially Robust Deep Multi-View Clustering", ICML 2024: AR-DMVC, and with the Attack Mitigator
AR-DMVC-AM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # type: ignore[attr-defined]
from torch import Tensor

from ar_dmvc.attacks import Attack, GradientAttack, Target, Views
from ar_dmvc.attacks.target import undisturbed
from ar_dmvc.clusterers import Clusterer, ClustererOutput, LossTerms, OptimizerSettings, Stage
from ar_dmvc.clusterers.base import check_not_negative, check_positive
from ar_dmvc.clusterers.baselines import NearestCentre
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule
from ar_dmvc.defences import AdversarialCrossEntropy, Augmentation, OuterLoss
from ar_dmvc.distributed import part_of_batch
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import attack_mitigator
from ar_dmvc.modules.base import total
from ar_dmvc.modules.perturbations import KeptPerturbations
from ar_dmvc.modules.strategy import data_of
from ar_dmvc.modules.teaching import AveragedWeights, Curriculum, Teacher, WeightPerturbation, one_cycle
from ar_dmvc.modules.training import ClustererTraining, Pass, Schedule, TrainingViews, batch_views
from ar_dmvc.runs.folder import keep_picture
from ar_dmvc.seeding import torch_generator

_TAUGHT_RATE = 2e-3
CraftingPrecision = Literal["training", "bf16"]


class RobustDefender(ClustererTraining):
    """Trains any clusterer on clean samples and on the same samples attacked.

    The loss is ``L(clean) + w_adv * L(attacked) + w_am * KL(A_clean || A_attacked)``, ``L`` the clusterer's own; the last term
    is the Attack Mitigator. Views are attacked anew in every step, batch norm using the statistics of the attacked batch;
    crafting leaves parameters and running statistics alone. Stages that train no assignments yet, pretraining, see clean
    samples alone.

    With a ``teacher``, a clusterer that has found its clusters on clean samples, ``clusterer`` is its student instead: it
    learns the teacher's clusters under attack by an outer loss, from no label; its own loss, stages and optimisers take no
    part.

    Args:
        clusterer: what to train.
        attack: the inner attack.
        teacher: a checkpoint of ``ardmvc fit``, or the clusterer itself; None: there is none. From the command line and
            :mod:`ar_dmvc.api` also parts of a configuration (files, options, settings), merged in order, with which one is
            fitted first, on the same data.
        outer: with a teacher, the outer loss; None: adversarial cross-entropy.
        soft_targets: with a teacher, teach its assignments rather than its clusters.
        augmentation: with a teacher, what makes other samples of the same clusters; None: nothing.
        inner_budget: budget of an inner attack that names none, as a multiple of the data's; larger ones reach at most halfway
            from there to 0.5, with which any view can be made grey.
        averaging: with a teacher, decay in each step of the weights' exponential moving average, in [0, 1), which is kept;
            None: the last weights are.
        weight_decay: with a teacher, share of the weights that Adam adds to their gradients, at least zero.
        allowed: classes from outside ``ar_dmvc`` that the teacher's checkpoint may name; from the command line, ``--allow``.
        weight_perturbation: with a teacher, how far up the loss the weights move before each step is taken there, as a share
            of their norm, at least zero; zero: they stay (Wu et al., 2020). Takes another pass forwards and backwards.
        curriculum: with a teacher, how many fewer of a tenth of the samples, which is not learned from, than of the others have
            to be in their taught clusters under attack, a difference of shares in [0, 1), for the inner attack's budget to grow
            beyond the data's, over ``warmup_epochs`` at least; else it shrinks again. At its largest it stays, and all samples
            are learned from. None: it grows in any case. It has no part where the inner attack's budget is no larger than the
            data's, or is in L2.
        experts_weight: with a teacher, of a student that asks each view on its own
            (:class:`~ar_dmvc.clusterers.ProductOfExperts`), weight of the outer loss of each view's expert beside that of all
            together, at least zero.
        adversarial_weight: ``w_adv``, at least zero.
        mitigator_weight: ``w_am``, at least zero; zero is AR-DMVC.
        warm_start: each attack on a sample starts from its last one, so that fewer steps are enough. Takes one byte of memory,
            and of each checkpoint, for each value of the data.
        crafting_precision: ``bf16`` crafts in bfloat16 where training does not, which is faster on hardware that has it.
        warmup_epochs: the inner attack's budget grows linearly from zero over this many epochs, from where there are
            clusters to defend.
        learning_rate: of Adam, positive; None takes the clusterer's usual one, with a teacher 0.002, where it rises to that and
            falls to nothing in one cycle (Smith and Topin, 2019).
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode, so that batch norm uses the statistics of the batch at hand, as published
            settings do; a deployed clusterer does not.
        global_batch: on several devices, whether losses are those of the global batch, so that the number of devices does not
            matter; False leaves each device its own part of it, which is another objective.
        compile: compile the networks with ``torch.compile``, which takes a while at first; on CPUs it brought no speed-up.

    Raises:
        ValueError: a negative weight or number of epochs.
        ConfigurationError: the inner attack does not apply to the clusterer, has no budget, with none to fall back on, or is to
            start warm and has no start; a clusterer without a network; a teacher with other views or clusters, or a student
            whose assignments come from no head.
        CheckpointError: the teacher's checkpoint is missing, damaged, hostile or of another kind.
    """

    only_for_training: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(
        self,
        clusterer: Clusterer,
        attack: Attack,
        adversarial_weight: float = 1.0,
        mitigator_weight: float = 0.1,
        warmup_epochs: float = 0.0,
        warm_start: bool = False,
        crafting_precision: CraftingPrecision = "training",
        learning_rate: float | None = None,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        batch_statistics: bool = False,
        global_batch: bool = True,
        compile: bool = False,
        teacher: list[str | dict[str, Any]] | str | Path | Clusterer | None = None,
        outer: OuterLoss | None = None,
        soft_targets: bool = False,
        inner_budget: float = 1.0,
        averaging: float | None = None,
        weight_decay: float = 0.0,
        augmentation: Augmentation | None = None,
        allowed: type[Clusterer] | Sequence[type[Clusterer]] = (),
        weight_perturbation: float = 0.0,
        curriculum: float | None = None,
        experts_weight: float = 1.0,
    ) -> None:
        taught_by = None
        if teacher is not None:
            taught_by = Teacher(teacher, soft_targets, [allowed] if isinstance(allowed, type) else allowed)
            taught_by.check_student(clusterer)
            clusterer.learn_from(taught_by.clusterer)
            learning_rate = _TAUGHT_RATE if learning_rate is None else learning_rate
        _check_has_network(clusterer)
        super().__init__(clusterer, learning_rate, attacks, epsilon, batch_statistics, global_batch, compile)
        check_positive(inner_budget=inner_budget)
        if averaging is not None and not 0 <= averaging < 1:
            raise ValueError(f"averaging must be in [0, 1), got {averaging}")
        check_not_negative(
            adversarial_weight=adversarial_weight,
            mitigator_weight=mitigator_weight,
            warmup_epochs=warmup_epochs,
            weight_decay=weight_decay,
            weight_perturbation=weight_perturbation,
            experts_weight=experts_weight,
        )
        self.attack = _inner(attack, clusterer).with_default_budget(
            None if epsilon is None else _inner_budget(epsilon, inner_budget)
        )
        self.budget = self.attack.budget
        self.adversarial_weight = adversarial_weight
        self.mitigator_weight = mitigator_weight
        self.warmup_epochs = warmup_epochs
        if warm_start and not self.attack.has_start:
            raise ConfigurationError(f"warm_start: {type(attack).__name__} has no start; PGD and FGSM have")
        if crafting_precision not in get_args(CraftingPrecision):
            raise ValueError(f"crafting_precision: {crafting_precision!r} is not one of {get_args(CraftingPrecision)}")
        self.crafting_precision = crafting_precision
        self.kept = KeptPerturbations(self.budget) if warm_start else None
        self.outer = AdversarialCrossEntropy() if outer is None else outer
        self.augmentation = augmentation
        self.averaging = averaging
        self.weight_perturbation = weight_perturbation
        self.experts_weight = experts_weight
        self._perturbation = WeightPerturbation()
        self._learned: Tensor | None = None
        self._least = 1.0 if epsilon is None or self.attack.norm != "linf" else min(1.0, epsilon / self.budget)
        grows = None if curriculum is None else Curriculum(curriculum)
        self.curriculum = grows if self._least < 1 else None
        of_students = {
            "outer": outer,
            "soft_targets": soft_targets,
            "augmentation": augmentation,
            "averaging": averaging,
            "weight_decay": weight_decay,
            "weight_perturbation": weight_perturbation,
            "curriculum": curriculum,
        }
        self._of_students = [name for name, value in of_students.items() if value]
        self.teacher = taught_by
        if taught_by is not None:
            self.trained_on = taught_by.trained_on
            self.outer.check(clusterer, taught_by.clusterer)
            if self.outer.on_representations and augmentation is not None and augmentation.mixes:
                raise ConfigurationError(
                    f"augmentation: {type(augmentation).__name__} changes what a sample is, and "
                    f"{type(self.outer).__name__} teaches its representation; leave one of them out"
                )
            if isinstance(attack, GradientAttack) and attack.objective.on_representations:
                raise ConfigurationError(
                    f"teacher: the inner objective {attack.objective.name} compares representations, which a student and its "
                    "teacher do not share; take cross_entropy"
                )
            self.schedule = Schedule([Stage("taught", clusterer.losses)])
            self.optimizer_settings = (
                OptimizerSettings("student", {"": None}, options={"weight_decay": weight_decay}, scheduler=one_cycle),
            )
            self.automatic_optimization = True

    def check_data(self, data: MultiViewDataModule, stage: str) -> None:
        """Check that data and clusterer fit; see the base."""
        super().check_data(data, stage)
        self.attack.check_views(data.view_shapes)
        self.check_range(data, "attacks keep views in [0, 1]")
        if stage == "fit" and self.teacher is not None:
            self.teacher.check_data(data)
        elif stage == "fit" and self._of_students:
            raise ConfigurationError(
                f"{', '.join(self._of_students)}: for students alone, and there is no teacher; name one, or leave them out "
                "(configs/defenders/robust_joint.yaml)"
            )

    @property
    def tested_name(self) -> str:
        """The clusterer, defended."""
        return f"defended {super().tested_name}"

    def configure_callbacks(self) -> Sequence[Callback]:
        """What averages a student's weights; see also the base."""
        callbacks = list(super().configure_callbacks())
        if self.teacher is not None and self.averaging is not None:
            callbacks.append(AveragedWeights(self.averaging))
        return callbacks

    def on_train_start(self) -> None:
        """Say which clusters the teacher leaves empty; see also the base."""
        super().on_train_start()
        if self.teacher is not None and self.steps == 0 and (empty := self.teacher.empty(TrainingViews(self).masked())):
            rank_zero_warn(f"the teacher puts no sample into clusters {empty}: nor will its student")

    def forward_passes(self, batch: MultiViewBatch) -> tuple[Pass, ...]:
        """Run the clusterer on clean views, and on the same attacked where there are clusters to defend."""
        if self.teacher is not None:
            passes = self._taught_passes(self.teacher, batch)
            return self._perturbed(passes) if self.weight_perturbation else passes
        clean = self.clusterer.cluster(batch.views, batch.mask)
        if not self.stage.has_clusters:
            return ((batch_views(batch), clean),)
        attacked = self.craft(batch.views, batch.mask, batch.index, clean)
        return (
            (batch_views(batch), clean),
            (batch_views(batch, attacked), self.clusterer.cluster(attacked, batch.mask)),
        )

    def on_after_backward(self) -> None:
        """Put weights back that were perturbed."""
        super().on_after_backward()
        self._perturbation.undo()

    def on_train_epoch_end(self) -> None:
        """Log how large the budget of a curriculum is; see also the base."""
        super().on_train_epoch_end()
        if self.curriculum is not None:
            self.log("inner_budget", self.budget * self.strength(), sync_dist=True)

    def terms(self, passes: Sequence[Pass], losses: LossTerms, main: bool) -> dict[str, Tensor]:
        """Weighted loss terms on clean and on attacked views, and the Attack Mitigator beside the loss of the stage."""
        if self.teacher is not None:
            seen = passes[0][1] if self.outer.needs_clean else None
            return self._outer_terms(seen, passes[-1][1], self.teacher.taught)
        clean, *attacked = passes
        terms = {"clean": total(losses(*clean))}
        for other in attacked:
            terms["attacked"] = self.adversarial_weight * total(losses(*other))
            if main:
                terms["mitigator"] = self.mitigator_weight * attack_mitigator(clean[1].assignments, other[1].assignments)
        return terms

    def _outer_terms(
        self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput
    ) -> dict[str, Tensor]:
        if (rows := self._learned) is None:
            return self._taught_terms(clean, attacked, taught)
        with part_of_batch(rows) as count:
            if count:
                return self._taught_terms(None if clean is None else clean.of(rows), attacked.of(rows), taught.of(rows))
        return {name: 0 * term for name, term in self._taught_terms(clean, attacked, taught).items()}

    def _taught_terms(
        self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput
    ) -> dict[str, Tensor]:
        """The outer loss, and the same of each view's expert, if the student has experts."""
        terms = self.outer.checked_terms(clean, attacked, taught)
        if self.experts_weight and not self.outer.on_representations:
            for view in range(len(attacked.experts)):
                own = self.outer.checked_terms(None if clean is None else clean.expert(view), attacked.expert(view), taught)
                terms |= {f"view_{view}_{name}": self.experts_weight * term for name, term in own.items()}
        return terms

    def _taught_passes(self, teacher: Teacher, batch: MultiViewBatch) -> tuple[Pass, ...]:
        taught = teacher.teach(batch.views, batch.mask)
        learned = self._learned = None if self.curriculum is None else self.curriculum.learned(batch.index)
        if self.augmentation is not None:
            generator = torch_generator(self.device, self.attack.seed, self._batch, 1)  # the attack's has one place less
            clusters = taught.assignments.argmax(1)
            if learned is not None:  # nothing of what is held out gets into the others
                clusters = clusters + self.clusterer.num_clusters * ~learned
            batch = batch._replace(views=self.augmentation.augment(batch.views, batch.mask, clusters, generator))
        passes: list[Pass] = []
        if self.outer.needs_clean:
            passes.append((batch_views(batch), self.clusterer.cluster(batch.views, batch.mask)))
        attacked = self.craft(batch.views, batch.mask, batch.index, taught)
        output = self.clusterer.cluster(attacked, batch.mask)
        if self.curriculum is not None and learned is not None and self.warmup() >= self._least:
            batches = self._warmup_steps * self.trainer.accumulate_grad_batches
            self.curriculum.update(output, taught, learned, step=1 / max(1.0, batches))
        return (*passes, (batch_views(batch, attacked), output))

    def _perturbed(self, passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
        """The same passes with weights that have gone up their loss, until it has been taken back through them."""
        loss = total(self.terms(passes, self.stage.losses, main=True))
        self._perturbation.move(self.clusterer, loss, self.weight_perturbation * self.warmup())
        with undisturbed(self.clusterer):
            return tuple((views, self.clusterer.cluster(views, views.mask)) for views, _ in passes)

    def craft(
        self,
        views: Views,
        mask: Tensor | None = None,
        index: Tensor | None = None,
        clean: ClustererOutput | None = None,
    ) -> tuple[Tensor, ...]:
        """Attack a batch in training; the step alone decides the attack's random numbers and budget.

        Args:
            views: V clean views (N, *shape_v) in [0, 1].
            mask: (N, V) bool, which views are present; None: all.
            index: positions of the samples in the data set, to start where their last perturbations are, and to keep the new.
            clean: what the clusterer makes of the clean views, in the precision of crafting, or what a teacher does, where that
                is known.
        """
        attack = self.attack.with_budget(self.budget * self.strength())
        attack.reseed(self._batch)
        start = None
        if self.kept is not None and index is not None:
            start = self.kept.start(index, attack.random_start(views))
        reusable = self.crafting_precision == "training" or self.teacher is not None
        shared = clean.detached() if clean is not None and reusable else None
        with self._crafting(views[0].device):
            attacked = attack.against(Target(self.clusterer, mask, shared), views, start)
        if self.kept is not None and index is not None:
            data = data_of(self.trainer)
            samples = len(data.data.views[0]) if data is not None else None
            self.kept.keep(index, [other - view for other, view in zip(attacked, views, strict=True)], samples)
        return attacked

    def _crafting(self, device: torch.device) -> AbstractContextManager[object]:
        if self.crafting_precision == "training":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the perturbations to go on from, and who taught; see also the base."""
        super().on_save_checkpoint(checkpoint)
        if self.teacher is not None:
            checkpoint["teacher"] = self.teacher.name
        if self.kept is not None:
            checkpoint["perturbations"] = self.kept.state_dict()
        if self.curriculum is not None:
            checkpoint["curriculum"] = self.curriculum.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the perturbations kept; see also the base."""
        super().on_load_checkpoint(checkpoint)
        if self.kept is not None and "perturbations" in checkpoint:
            self.kept.load_state_dict(checkpoint["perturbations"], self.clusterer.view_shapes)
        if self.curriculum is not None:
            grown = [1.0, 0.0, 0.0, 0.0, 0.0]  # without one the budget grew in any case
            self.curriculum.load_state_dict(checkpoint.get("curriculum", grown))

    @property
    def _batch(self) -> int:
        """The number of the batch, of those since the beginning, from which its random numbers come."""
        accumulated = self.trainer.accumulate_grad_batches
        return self.steps * accumulated + max(0, self.trainer.fit_loop.epoch_loop.batch_idx) % accumulated

    def strength(self) -> float:
        """Share of the inner attack's budget at this step, in (0, 1]."""
        if self.curriculum is None:
            return self.warmup()
        return min(self.warmup(), self._least + (1 - self._least) * self.curriculum.beyond)

    def warmup(self) -> float:
        """How far the warm-up is at this step, in (0, 1]."""
        done = self.steps - self.schedule.first_with_clusters() * self._epoch
        steps = self._warmup_steps
        return min(1.0, (done + 1) / steps) if steps > 1 else 1.0

    @property
    def _epoch(self) -> float:
        """Steps in an epoch."""
        steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        return math.ceil(steps) if math.isfinite(steps) else steps

    @property
    def _warmup_steps(self) -> float:
        return self.warmup_epochs * self._epoch

    def on_train_batch_end(self, outputs: object, batch: MultiViewBatch, batch_idx: int) -> None:
        """Keep a picture of the inner attack at the very end; see also the base."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        last_epoch = self.trainer.max_epochs is not None and self.current_epoch + 1 == self.trainer.max_epochs
        if last_epoch and self.trainer.is_last_batch:
            from ar_dmvc.evaluation import attack_figure

            views, mask = [view[:16] for view in batch.views], None if batch.mask is None else batch.mask[:16]
            keep_picture(self.trainer, "pictures/attack", lambda: attack_figure(views, self.craft(views, mask)))


def _inner_budget(epsilon: float, multiple: float) -> float:
    if multiple <= 1:
        return multiple * epsilon
    return min(multiple * epsilon, max(epsilon, (epsilon + 0.5) / 2))


def _check_has_network(clusterer: Clusterer) -> None:
    if isinstance(clusterer, NearestCentre):
        raise ConfigurationError(
            f"{type(clusterer).__name__} has no network that training under attack could change; with it as model.teacher, "
            "configs/defenders/robust.yaml teaches its clusters to one"
        )


def _inner(attack: object, clusterer: Clusterer) -> Attack:
    """The inner attack, checked."""
    if not isinstance(attack, Attack):
        raise TypeError(f"attack: an Attack is the inner one, not a {type(attack).__name__}")
    if attack.learns:
        raise ConfigurationError(f"attack: {type(attack).__name__} learns from all samples before it attacks; take another")
    attack.check_clusterer(clusterer)
    return attack
