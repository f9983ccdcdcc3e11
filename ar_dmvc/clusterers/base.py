"""The contract of a clusterer: views in, latents, fusion and soft assignments out, and its own loss terms.

What a method's training needs beyond that, it declares here, and whatever trains it acts on the declaration.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ar_dmvc.checkpoint import describe
from ar_dmvc.data.scaling import Scaling, as_numbers, first_doubt
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks.shapes import check_shapes
from ar_dmvc.signatures import TypesChecked


class ClustererOutput(NamedTuple):
    """What a clusterer makes of a batch.

    Attributes:
        latents: V tensors, (N, D_v).
        fused: (N, D).
        hidden: (N, H).
        assignments: (N, K), rows sum to one.
        extra: what the method's own losses need beside these, by name; nobody else reads it.
        experts: what each view alone would say, V tensors (N, K), rows sum to one; none where a clusterer does not ask them.
    """

    latents: tuple[Tensor, ...]
    fused: Tensor
    hidden: Tensor
    assignments: Tensor
    extra: Mapping[str, tuple[Tensor, ...]] = MappingProxyType({})
    experts: tuple[Tensor, ...] = ()

    def detached(self) -> ClustererOutput:
        """The same without gradient."""
        extra = {name: tuple(tensor.detach() for tensor in tensors) for name, tensors in self.extra.items()}
        latents, experts = (tuple(tensor.detach() for tensor in tensors) for tensors in (self.latents, self.experts))
        return ClustererOutput(latents, self.fused.detach(), self.hidden.detach(), self.assignments.detach(), extra, experts)

    def of(self, rows: Tensor) -> ClustererOutput:
        """The same of some of the samples, (N,) bool or (n,) indices, without ``extra``."""
        latents, experts = (tuple(tensor[rows] for tensor in tensors) for tensors in (self.latents, self.experts))
        return ClustererOutput(latents, self.fused[rows], self.hidden[rows], self.assignments[rows], experts=experts)

    def expert(self, view: int) -> ClustererOutput:
        """The same with what one view alone says for assignments."""
        return self._replace(assignments=self.experts[view], experts=())


class BatchViews(tuple[Tensor, ...]):
    """The views of a training batch, (N, *shape_v) each, that say which samples they are of: for losses with a memory.

    Attributes:
        index: (N,) int64, position of each sample in the data set.
        mask: (N, V) bool, which views the samples have; None: all.
    """

    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on views
    mask: Tensor | None

    def __new__(cls, views: Iterable[Tensor], index: Tensor, mask: Tensor | None = None) -> Self:
        """Views of these samples."""
        batch = super().__new__(cls, views)
        batch.index = index
        batch.mask = mask
        return batch


LossTerms = Callable[[Sequence[Tensor], ClustererOutput], dict[str, Tensor]]
"""From views and the clusterer's output to weighted loss terms, scalars by name, whose sum is minimised."""

TrainingViews = Iterable[Sequence[Tensor]]
"""The views of the training part, batch by batch in its order; may be gone through more than once."""


@dataclass(frozen=True)
class Stage:
    """A part of training with a loss of its own. Each starts with fresh optimisers.

    Attributes:
        name: for messages.
        losses: the loss terms of this stage.
        epochs: how many; zero leaves it out; None, for the last stage only, takes those that are left.
        prepare: called before its first step, with the views of the training part, the clusterer in evaluation mode and
            without gradients: for what is measured between stages, kept in buffers.
        has_clusters: whether assignments mean something in it; where they do not, there is nothing to attack or defend.
        restart_every_epoch: optimisers start afresh in every epoch.
    """

    name: str
    losses: LossTerms
    epochs: int | None = None
    prepare: Callable[[TrainingViews], None] | None = None
    has_clusters: bool = True
    restart_every_epoch: bool = False


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimiser. A clusterer that has several alternates them in each step, in their order.

    Attributes:
        name: for logs.
        parts: names of submodules (``""`` the whole clusterer) to learning rates; None: that of the training at hand.
        losses: what it minimises; None, for one of them: the loss terms of the stage. One forward pass serves all in turn, so
            the others have to detach what is not theirs.
        betas: of Adam and its kin.
        kind: of optimiser, any of torch's.
        options: its further arguments, by name, such as ``weight_decay``.
        scheduler: optimiser and number of training steps to a scheduler of the learning rate, which is stepped with it; None:
            the rate stays.
        clip_norm: largest norm of the gradients of its parameters together; None: any.
    """

    name: str
    parts: Mapping[str, float | None]
    losses: LossTerms | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    kind: type[Optimizer] = Adam
    options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Callable[[Optimizer, int], LRScheduler] | None = None
    clip_norm: float | None = None

    def build(self, clusterer: nn.Module, learning_rate: float) -> Optimizer:
        """The optimiser, of a clusterer's parameters.

        Args:
            clusterer: that has the parts.
            learning_rate: of those that name none.
        """
        groups = [
            {"params": list(clusterer.get_submodule(part).parameters()), "lr": learning_rate if rate is None else rate}
            for part, rate in self.parts.items()
        ]
        options = {"betas": self.betas} if "betas" in inspect.signature(self.kind).parameters else {}
        return self.kind(groups, **{**options, **self.options})


class Clusterer(TypesChecked, nn.Module, ABC):
    """Base of every clusterer.

    A subclass takes ``view_shapes``, ``num_clusters`` and settings of its own that are plain values (numbers, strings, lists
    of them), calls ``super().__init__(view_shapes, num_clusters)``, and defines :meth:`forward` and :meth:`losses`.
    The arguments it was made with are kept, so that a checkpoint alone is enough to make it again.

    A method whose training is more than minimising one loss also defines, as far as it needs them: :meth:`stages`,
    :meth:`optimizers`, :meth:`after_step` and :meth:`fit_clusters`. One that is built on another takes it as an argument.

    Attributes:
        usual_learning_rate: of training that names none.
        reproduces_unit_range: whether its decoders can reproduce views in [0, 1] only.
        takes_incomplete: whether samples may lack views.
        is_stochastic: whether its output for the same views differs from pass to pass.
        aligns_contrastively: whether its loss aligns the latents contrastively, so that attacks can maximise that.
        scalings: of one that :func:`~ar_dmvc.load_clusterer` loaded, how the views that it was trained on were scaled; None:
            not at all.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.

    Raises:
        ValueError: no views, an impossible shape, or fewer than two clusters.
    """

    usual_learning_rate: ClassVar[float] = 1e-3
    takes_incomplete: bool = False
    is_stochastic: bool = False
    aligns_contrastively: bool = False
    reproduces_unit_range: ClassVar[bool] = False

    scalings: Sequence[Scaling] | None = None

    _arguments: dict[str, Any]

    def __init__(self, view_shapes: Iterable[Sequence[int]], num_clusters: int) -> None:
        super().__init__()
        self.view_shapes = check_shapes(view_shapes)
        self.num_clusters = num_clusters
        if not self.view_shapes:
            raise ValueError("a clusterer needs at least one view")
        if num_clusters < 2:
            raise ValueError(f"num_clusters must be at least 2, got {num_clusters}")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _keeping_arguments(cls.__init__)  # type: ignore[method-assign]

    def scaled(self, views: Sequence[Any], mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """What :meth:`forward` takes, and attacks perturb: raw views scaled as those were that it was trained on.

        It warns of views that look as if they were scaled already, or of other data; without scaling, of views outside [0, 1].

        Args:
            views: V tensors, arrays or data frames (N, *shape_v) of real numbers, as a file of one's own data holds them.
            mask: (N, V) bool, which views the samples have; the values of others mean nothing. None: all but rows of NaN.

        Raises:
            ValueError: another number of views, or of other shapes.
            TypeError: they hold no real numbers.
        """
        raw = tuple(as_numbers(view) for view in views)
        self.check_views([view if view.is_floating_point() else view.float() for view in raw])
        there = [~view.flatten(1).isnan().all(1) for view in raw] if mask is None else mask.unbind(1)
        if doubt := first_doubt(self.scalings, [view[present] for view, present in zip(raw, there, strict=True)]):
            warnings.warn(doubt, stacklevel=2)
        if self.scalings is None:
            return tuple(view.to(torch.float32) for view in raw)
        return tuple(scale(view) for scale, view in zip(self.scalings, raw, strict=True))

    def check_scalings(self, name: str, scalings: Sequence[Scaling | None]) -> None:
        """Check that data scales its V views as those were that it was trained on, if that is known.

        Args:
            name: of the setting that it is given by.
            scalings: of the data; None: nothing.

        Raises:
            ConfigurationError: it does not.
        """
        for number, (own, now) in enumerate(zip(self.scalings or (), scalings, strict=False)):
            if not own.is_like(now):
                raise ConfigurationError(
                    f"{name}: it knows view {number} scaled in another way (it: {own.name}; here: "
                    f"{'none' if now is None else now.name}, or fitted on other samples); train it on this data with this "
                    "data.scaling"
                )

    def check_views(self, views: Sequence[Tensor], mask: Tensor | None = None) -> None:
        """Check that views, and the mask (N, V) of those that are there, are what :meth:`forward` takes.

        Raises:
            ValueError: another number of views, of other shapes or lengths, or a mask of another shape.
            TypeError: they are no tensors, or of another type.
        """
        if not isinstance(views, (Sequence, Tensor)) or isinstance(views, str):
            raise TypeError(f"views have to be a list of tensors, not a {type(views).__name__}")
        if len(views) != len(self.view_shapes):
            raise ValueError(f"{type(self).__name__} takes {len(self.view_shapes)} views, got {len(views)}")
        for number, (view, shape) in enumerate(zip(views, self.view_shapes, strict=True)):
            _check_view(number, view, shape)
        if len({len(view) for view in views}) > 1:
            raise ValueError(f"views must have as many samples each, got {', '.join(str(len(view)) for view in views)}")
        if mask is not None:
            _check_mask(mask, len(views[0]), len(views))

    @abstractmethod
    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch.

        Args:
            views: V views (N, *shape_v).
            mask: (N, V) bool, which views the samples have; None: all. One that :attr:`takes_incomplete` hands it on to the
                losses as ``extra["mask"]``.
        """

    @abstractmethod
    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Weighted loss terms, scalars by name; training minimises their sum.

        Args:
            views: of the batch; in training :class:`BatchViews`, which say which samples they are of.
            output: what :meth:`forward` made of them.
        """

    def cluster(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Call :meth:`forward`, with a mask only where there is one."""
        output: ClustererOutput = self(views) if mask is None else self(views, mask)
        return output

    def check_complete(self, mask: Tensor | None) -> None:
        """Check a mask, (N, V) or None, of a clusterer that may not take one.

        Raises:
            ValueError: it does not.
        """
        if mask is not None and not self.takes_incomplete:
            raise ValueError(f"{type(self).__name__} does not take samples without some views")

    def stages(self) -> Sequence[Stage]:
        """The stages of training, in order; by default one."""
        return (Stage("training", self.losses),)

    def optimizers(self) -> Sequence[OptimizerSettings]:
        """The optimisers; each parameter belongs to one of them. By default one for all."""
        return (OptimizerSettings("clusterer", {"": None}),)

    def after_step(self) -> None:
        """Called after every training step: for what depends on their number."""

    def fit_clusters(self, training_views: TrainingViews, final: bool) -> None:
        """Find clusters of the training part, for methods whose assignments come from no head.

        Called at the end of every epoch, in evaluation mode and without gradients.

        Args:
            training_views: the views of the training part.
            final: training ends here; before, a quick look is enough.
        """

    def learn_from(self, teacher: Clusterer) -> None:
        """Called once before it is taught a teacher's clusters: for what is built on the teacher."""

    def description(self) -> dict[str, Any]:
        """Class and arguments of this clusterer, in the plain values that a checkpoint keeps.

        Raises:
            TypeError: an argument is no plain value.
        """
        return describe(self, self._arguments)


def _keeping_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Let the outermost constructor, that of the class being made, keep its arguments on the instance."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Clusterer, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in vars(self):
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            # nn.Module's own __setattr__ does not work before its constructor ran.
            arguments = dict(list(bound.arguments.items())[1:])
            for parameter in signature.parameters.values():
                if parameter.kind is parameter.VAR_KEYWORD:
                    arguments |= arguments.pop(parameter.name)
            vars(self)["_arguments"] = arguments
        init(self, *args, **kwargs)

    return wrapper


def mask_of(output: ClustererOutput) -> Tensor | None:
    """Which views (N, V) the batch had that an output is of; None: all."""
    (mask,) = output.extra.get("mask", (None,))
    return mask


def check_positive(**settings: float) -> None:
    """Check settings that have to be positive.

    Raises:
        ValueError: one is not.
    """
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_view(number: int, view: object, shape: tuple[int, ...]) -> None:
    if not isinstance(view, Tensor):
        raise TypeError(f"view {number} is a {type(view).__name__}, no tensor; scaled(views) makes tensors of arrays")
    if view.shape[1:] != shape or view.dim() == 0:
        raise ValueError(f"view {number} must have the shape (N, {', '.join(map(str, shape))}), got {tuple(view.shape)}")
    if not view.is_floating_point():
        raise TypeError(f"view {number} must be of floating point, got {view.dtype}; scaled(views) makes it so")


def _check_mask(mask: object, samples: int, views: int) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a tensor of bool, got {kind}")
    if mask.shape != (samples, views):
        raise ValueError(f"mask must have the shape ({samples}, {views}), got {tuple(mask.shape)}")


def check_not_negative(**settings: float) -> None:
    """Check settings that may be zero.

    Raises:
        ValueError: one is negative, or no number.
    """
    for name, value in settings.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")


def needs_several_views(clusterer: Clusterer) -> None:
    """Check that there are at least two views.

    Raises:
        ValueError: there is one only.
    """
    if len(clusterer.view_shapes) < 2:
        raise ValueError(
            f"{type(clusterer).__name__} relates views to each other: it needs at least two, and the data has one of shape "
            f"{clusterer.view_shapes[0]}"
        )
