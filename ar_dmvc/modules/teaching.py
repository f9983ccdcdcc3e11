"""A trained clusterer that teaches its clusters to another."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ar_dmvc.attacks import Views
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.clusterers.loading import clusterer_of
from ar_dmvc.data import MultiViewDataModule, describe_part, may_overlap
from ar_dmvc.data.part import part_in_words
from ar_dmvc.distributed import mean_of_processes, process_count
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.losses import full_precision
from ar_dmvc.modules.finding import finds_clusters
from ar_dmvc.runs.checkpoints import epochs_begun

_HELD_OUT = 0.1
_SPREAD, _SPREAD_OVER = 2_654_435_761, 1 << 32
"""Multiplicative hashing (Knuth, 1998): what is held out is spread evenly over a data set, whatever its order."""


class Teacher:
    """A frozen clusterer, and what it teaches of the batch at hand.

    It is no part of the module that learns from it: a student's checkpoint does without.

    Args:
        source: a checkpoint, or a clusterer, of which this is a copy.
        soft: whether its assignments are taught, or its clusters.
        allowed: classes from outside ``ar_dmvc`` that the checkpoint may name.

    Attributes:
        name: what it is, for people to read.
        taught: of the batch that :meth:`teach` saw last: what the teacher makes of it, with the targets as assignments.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, hostile or of another kind.
        ConfigurationError: settings to fit a teacher with, which only ``ardmvc`` and :mod:`ar_dmvc.api` can.
    """

    taught: ClustererOutput

    def __init__(
        self,
        source: list[str | dict[str, Any]] | str | Path | Clusterer,
        soft: bool,
        allowed: Sequence[type[Clusterer]] = (),
    ) -> None:
        content: Mapping[str, Any] = {}
        if isinstance(source, list):
            raise ConfigurationError("teacher: settings to fit one with are for ardmvc and ar_dmvc.api; fit it first")
        if isinstance(source, Clusterer):
            self.clusterer = copy.deepcopy(source)
        elif isinstance(source, str | Path):
            content = read_checkpoint(source)
            self.clusterer = clusterer_of(content, source, allowed)
        else:
            raise TypeError(f"teacher: a checkpoint or a Clusterer is expected, not a {type(source).__name__}")
        self.clusterer.requires_grad_(False).eval()
        self.soft = soft
        self.trained_on = content.get("trained_on")
        epochs = epochs_begun(content) if isinstance(content.get("epoch"), int) else 0
        self.name = type(self.clusterer).__name__ + (f" after {epochs} epochs" if epochs > 1 else "")

    def check_student(self, student: Clusterer) -> None:
        """Check that a clusterer can learn from it.

        Raises:
            ConfigurationError: it has other views or clusters, or assignments that no gradient reaches.
        """
        own = self.clusterer
        if own.view_shapes != student.view_shapes:
            raise ConfigurationError(f"teacher: it takes views of shapes {own.view_shapes}, its student {student.view_shapes}")
        if own.num_clusters != student.num_clusters:
            raise ConfigurationError(f"teacher: it has {own.num_clusters} clusters, its student {student.num_clusters}")
        if finds_clusters(student):
            raise ConfigurationError(
                f"teacher: the clusters of {type(student).__name__} come from no head that could be taught; take SiMVC, say"
            )

    def check_data(self, data: MultiViewDataModule) -> None:
        """Check that it takes the views of its student, and has not seen what that is tested on, unless both are trained on it.

        Raises:
            ConfigurationError: it may have, or takes no samples without some views, or views that are scaled in another way.
        """
        if data.is_incomplete and not self.clusterer.takes_incomplete:
            raise ConfigurationError(
                f"teacher: {type(self.clusterer).__name__} does not take samples without some views, which {data.name} has"
            )
        self.clusterer.check_scalings("teacher", data.scalings)
        if may_overlap(describe_part(data), data, data.test_partition):
            return  # all samples are trained on, which a test says
        if may_overlap(self.trained_on, data, data.test_partition):
            raise ConfigurationError(
                f"teacher: it was trained on {part_in_words(self.trained_on)}, which may share samples with those tested on "
                f"(data.test_partition = {data.test_partition}); train it on the other half"
            )

    @torch.no_grad()
    def teach(self, views: Views, mask: Tensor | None) -> ClustererOutput:
        """What it makes of clean views, its targets for assignments; in its own precision, whatever that of training is."""
        output = self._cluster(views, mask)
        assignments = full_precision(output.assignments)
        if not self.soft:
            assignments = torch.zeros_like(assignments).scatter(1, assignments.argmax(1, keepdim=True), 1.0)
        self.taught = output._replace(assignments=assignments)
        return self.taught

    @torch.no_grad()
    def empty(self, batches: Iterable[tuple[Views, Tensor | None]]) -> list[int]:
        """The clusters into which it puts no sample of some batches of views, each with the mask of what is present."""
        found = set()
        for views, mask in batches:
            found |= set(self._cluster(views, mask).assignments.argmax(1).tolist())
        return sorted(set(range(self.clusterer.num_clusters)) - found)

    def _cluster(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        device = views[0].device
        self.clusterer.to(device)
        precision = next(self.clusterer.parameters()).dtype
        with torch.autocast(device.type, enabled=False):
            return self.clusterer.cluster([view.to(precision) for view in views], mask)


class Curriculum:
    """Lets the inner attack's budget grow beyond the data's where a student would else overfit to attacks.

    A tenth of the training samples is held out: attacked as the others are, but not learned from. Where fewer of these than of
    the others are in their taught clusters, by more than a gap, the budget grows, and else it shrinks again. Once it is as
    large as it gets it stays so, and all samples are learned from.

    Source: Cai, Liu and Song, "Curriculum adversarial training", IJCAI 2018, who make the attack stronger once the accuracy
    under it suffices; the gap is that of Rice, Wong and Kolter, "Overfitting in adversarially robust deep learning", ICML 2020.

    Args:
        gap: between two shares of samples, in [0, 1).

    Attributes:
        beyond: how far the budget has grown from the data's to the largest, in [0, 1].

    Raises:
        ValueError: a gap out of range.
    """

    def __init__(self, gap: float) -> None:
        if not 0 <= gap < 1:
            raise ValueError(f"curriculum must be in [0, 1), got {gap}")
        self.gap = gap
        self.beyond = 0.0
        self._seen = [0.0] * 4
        """Of late: samples learned from that hold, all of these, samples held out that hold, all of these."""

    def learned(self, index: Tensor) -> Tensor | None:
        """Which samples are learned from, (N,) bool, of those at these positions, (N,), of the data; None: all."""
        if self.beyond >= 1:
            return None
        return index * _SPREAD % _SPREAD_OVER >= _HELD_OUT * _SPREAD_OVER

    def update(self, attacked: ClustererOutput, taught: ClustererOutput, learned: Tensor, step: float) -> None:
        """Take a step, of a size in (0, 1], to the largest budget or back to the data's; earlier steps fade as fast.

        Args:
            attacked: what the student makes of a batch.
            taught: what it should.
            learned: from which samples it learns, (N,) bool.
            step: its size.
        """
        holds = attacked.assignments.argmax(1) == taught.assignments.argmax(1)
        counts = torch.stack([(holds & learned).sum(), learned.sum(), (holds & ~learned).sum(), (~learned).sum()])
        new = (mean_of_processes(counts.double()) * process_count()).round().tolist()
        self._seen = [(1 - step) * before + count for before, count in zip(self._seen, new, strict=True)]
        holding, of_learned, held_out_holding, of_held_out = self._seen
        if of_learned and of_held_out:
            grows = holding / of_learned - held_out_holding / of_held_out > self.gap
            self.beyond = min(1.0, max(0.0, self.beyond + (step if grows else -step)))

    def state_dict(self) -> list[float]:
        """What :meth:`load_state_dict` goes on with."""
        return [self.beyond, *self._seen]

    def load_state_dict(self, state: object) -> None:
        """Go on from where it was.

        Raises:
            CheckpointError: it is no state of its.
        """
        numbers = state if isinstance(state, list) and all(isinstance(part, float) and part >= 0 for part in state) else []
        if len(numbers) != 1 + len(self._seen) or not numbers[0] <= 1 or not all(map(math.isfinite, numbers)):
            raise CheckpointError("the checkpoint's curriculum is not what a defender keeps")
        self.beyond, *self._seen = numbers


class WeightPerturbation:
    """Moves weights a little way up a loss, so that what is trained there is flat around where they come back to.

    Each tensor of two or more dimensions moves along its gradient by a share of its norm.

    Source: Wu, Xia and Wang, "Adversarial weight perturbation helps robust generalization", NeurIPS 2020.
    """

    def __init__(self) -> None:
        self._before: list[tuple[Tensor, Tensor]] = []

    def move(self, module: nn.Module, loss: Tensor, share: float) -> None:
        """Move a module's weights up a loss of theirs, by a share of their norms."""
        weights = [weight for weight in module.parameters() if weight.requires_grad and weight.ndim > 1]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None and 0 < (size := float(mean_of_processes(gradient).norm())) < math.inf:
                    self._before.append((weight, weight.detach().clone()))
                    weight.add_(gradient, alpha=share * float(weight.norm()) / size)

    def undo(self) -> None:
        """Put them back."""
        with torch.no_grad():
            for weight, before in self._before:
                weight.copy_(before)
        self._before.clear()


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """A learning rate that rises to the optimiser's own over three tenths of so many steps, and falls to nothing as a cosine.

    Source: Smith and Topin, "Super-convergence", 2019.
    """
    rise = 0.3 * steps

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))

    return LambdaLR(optimizer, share)


class AveragedWeights(WeightAveraging):
    """Keeps the exponential moving average of a module's weights, and validates it; training goes on from the last weights.

    It begins as the mean of the last few, so that in short runs the initial weights do not hold it back.

    Args:
        decay: in each step, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        def mean(average: Tensor, newest: Tensor, before: Tensor) -> Tensor:
            share = min(decay, (1 + float(before)) / (10 + float(before)))
            return average + (1 - share) * (newest - average)  # exactly the same where nothing is trained

        super().__init__(avg_fn=mean)
        self._validates = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exchange the weights for their average."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._validates = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exchange them again."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._validates = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Exchange them again where a validation is interrupted, before a checkpoint is written."""
        if self._validates:
            self.on_validation_epoch_end(trainer, pl_module)
