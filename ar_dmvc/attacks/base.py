"""The contract of an attack: a target and views in, perturbed views out, within a threat model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypedDict

import torch
from torch import Tensor

from ar_dmvc.attacks.target import Target, undisturbed, usable
from ar_dmvc.attacks.threat import NORMS, NormName, ThreatModel, Views, present_only
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.distributed import empty_batch, is_global, own_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import Shape
from ar_dmvc.seeding import torch_generator
from ar_dmvc.signatures import TypesChecked, whole_signature

Need = Literal["nothing", "decisions", "scores", "gradients", "surrogate"]


class Reach(TypedDict, total=False):
    """What an attack may touch, beside its budget.

    Args:
        seed: of the attack's own random numbers.
        norm: in which the budget is: ``linf``, the largest change of a value, or ``l2``, the Euclidean length.
        views: which views it may change, counted from zero; None: all.
        joint: whether the budget is that of the change of all views as one, rather than of each.
        share: of the samples of a batch, drawn at random, that it may change, in (0, 1].
    """

    seed: int
    norm: NormName
    views: Sequence[int] | None
    joint: bool
    share: float


class Attack(TypesChecked, ABC):
    """Base of every attack: a callable on a clusterer and clean views.

    The result is within the budget and in [0, 1], exactly. The clusterer comes out bit for bit as it went in:
    parameters, gradients, buffers and mode. An attack meets it in the mode it is in: in training mode its batch norm uses
    the statistics of the attacked batch, without keeping them.

    Random choices come from a generator of the attack's own; global random state is neither read nor changed.

    A subclass defines :meth:`run`, and :meth:`fit` if it learns from more than the batch at hand.

    Attributes:
        needs: what it takes of the clusterer under attack: nothing, its decisions, its scores, their gradients, or instead a
            surrogate that it was made against.
        has_start: whether given perturbations are a start that it improves on.
        names_checkpoints: whether its arguments name checkpoints, which another checkpoint cannot bring along.
        searches_corners: whether it tries corners of the budget alone, which L-infinity has.
        compares: whether it drives the clusterer's output away from its output for the clean sample.
        couples_samples: whether what it does to a sample depends on the others of the batch.

    Args:
        epsilon: budget of each view, positive; None leaves it to whoever runs the attack, see :meth:`with_default_budget`.
        seed: of the attack's own random numbers.
        norm: in which the budget is: ``linf``, the largest change of a value, or ``l2``, the Euclidean length.
        views: which views it may change, counted from zero; None: all.
        joint: whether the budget is that of the change of all views as one, rather than of each.
        share: of the samples of a batch, drawn at random, that it may change, in (0, 1].

    Raises:
        ValueError: a budget that is not positive, an unknown norm, no view, or no share.
    """

    needs: ClassVar[Need] = "nothing"
    has_start: ClassVar[bool] = False
    names_checkpoints: ClassVar[bool] = False
    searches_corners: ClassVar[bool] = False
    compares: bool = False
    couples_samples: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = whole_signature(cls)  # type: ignore[assignment]

    def __init__(
        self,
        epsilon: float | None = None,
        seed: int = 0,
        norm: NormName = "linf",
        views: Sequence[int] | None = None,
        joint: bool = False,
        share: float = 1.0,
    ) -> None:
        if norm not in NORMS:
            raise ValueError(f"norm: {norm!r} is not one of {', '.join(NORMS)}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share}")
        self.norm: NormName = norm
        self.views = None if views is None else tuple(views)
        ThreatModel(1.0 if epsilon is None else epsilon, NORMS[norm], self.views)  # says what is wrong with it
        self.joint = joint
        self.share = share
        self.epsilon = epsilon
        self.seed = seed
        self._position = 0
        self._generator: torch.Generator | None = None

    def __call__(
        self, clusterer: Clusterer, views: Views, start: Views | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Perturb views.

        Args:
            clusterer: the clusterer under attack, on the views' device.
            views: V clean views (N, *shape_v) in [0, 1].
            start: initial perturbations, of the views' shapes, for attacks that have a start.
            mask: (N, V) bool, which views are present; the others are left alone. None: all.

        Returns:
            V perturbed views, detached.

        Raises:
            ConfigurationError: the attack has no budget yet.
            ValueError: views or mask are not of the shapes that the clusterer takes, or views not in [0, 1].
            TypeError: they are no tensors of floating point and of bool, or what is attacked is no clusterer.
        """
        if not hasattr(clusterer, "check_views"):
            raise TypeError(f"clusterer: a Clusterer is attacked, not a {type(clusterer).__name__}")
        clusterer.check_views(views, mask)
        self.threat.check_clean(views, mask)
        if start is not None and [change.shape for change in start] != [view.shape for view in views]:
            raise ValueError(f"start must have the shapes of the views, got {[tuple(change.shape) for change in start]}")
        with torch.inference_mode(False):
            return self.against(Target(clusterer, None if mask is None else usable(mask)), views, start)

    def against(
        self, target: Target, views: Views, start: Views | None = None, samples: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Perturb the views of a target's batch; see :meth:`__call__`.

        Args:
            target: the clusterer on the batch.
            views: V clean views (N, *shape_v) in [0, 1].
            start: initial perturbations, for attacks that have a start.
            samples: which may be changed, (n,) in ascending order; None: all.

        Raises:
            ConfigurationError: the attack has no budget yet.
        """
        threat = self.threat
        with torch.inference_mode(False), undisturbed(target.clusterer):
            clean = tuple(usable(view) for view in views)
            generator = self._random(clean[0].device)
            if self.share < 1:
                drawn = _drawn(clean[0], self.share, generator)
                samples = drawn if samples is None else drawn[torch.isin(drawn, samples)]
            if samples is None:
                attacked = self.checked_run(target, clean, threat, generator, start)
            else:
                attacked = self._on_some(samples, target, clean, threat, generator, start)
            with torch.no_grad():
                if target.watched:
                    changed = present_only(clean, attacked, target.mask)
                    target.observe_cut(threat.sizes(clean, changed), threat.budget, threat.rounding(clean))
                return threat.project(clean, attacked, target.mask)

    def _on_some(
        self,
        samples: Tensor,
        target: Target,
        views: Views,
        threat: ThreatModel,
        generator: torch.Generator,
        start: Views | None = None,
    ) -> tuple[Tensor, ...]:
        """:meth:`run` for some samples of a batch; the others stay clean.

        Where a sample depends on its batch, in training mode, on several devices and where the attack couples samples, it meets
        all of them, and what became of the others is dropped.
        """
        touched = torch.zeros(len(views[0]), dtype=torch.bool, device=samples.device)
        touched[samples] = True
        if touched.all() or target.clusterer.training or is_global() or self.couples_samples:
            attacked = self.checked_run(target, views, threat, generator, start)
            if target.movers is not None:
                target.movers[~touched.cpu()] = -1
            return present_only(views, attacked, touched[:, None].expand(-1, len(views)))
        results = tuple(view.clone() for view in views)
        if len(samples):
            part = target.part(samples)
            first = None if start is None else tuple(change[samples] for change in start)
            attacked = self.checked_run(part, tuple(view[samples] for view in views), threat, generator, first)
            for result, other in zip(results, attacked, strict=True):
                result[samples] = other.detach()
            target.add(part, samples, len(views[0]))
            if part.movers is not None:
                target.movers = torch.full((len(views[0]),), -1)
                target.movers[samples.cpu()] = part.movers
        return results

    @abstractmethod
    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; the caller sees to the clusterer's state and to what rounding leaves of the budget.

        Args:
            target: the clusterer on this batch.
            views: V clean views (N, *shape_v).
            threat: what may be done to them.
            generator: of random numbers, on the views' device.
            start: initial perturbations, for attacks that have a start.
        """

    def checked_run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """:meth:`run`, whose result has the shapes of the views.

        Raises:
            TypeError: it has not, or the attack asked the clusterer while its ``needs`` say that it takes nothing of it.
        """
        passes = target.passes
        attacked = self.run(target, views, threat, generator, start)
        name, expected = type(self).__name__, [tuple(view.shape) for view in views]
        given = [tuple(getattr(view, "shape", ())) for view in attacked] if isinstance(attacked, Sequence) else attacked
        if given != expected:
            said = given if isinstance(attacked, Sequence) else f"a {type(attacked).__name__}"
            raise TypeError(f"{name}.run: a sequence of views of the shapes {expected} is expected, got {said}")
        if self.needs == "nothing" and target.passes > passes:
            raise TypeError(f"{name} asks the clusterer, so that it needs something: name it in its class, needs = 'decisions'")
        return attacked

    def fit(self, target: Target, batches: Iterable[tuple[Views, Tensor | None]], threat: ThreatModel) -> None:
        """Learn from clean views, batch by batch, before :meth:`run`; nothing by default.

        Args:
            target: the clusterer under attack, or a surrogate of it.
            batches: V clean views (N, *shape_v) each, with the mask (N, V) of those that are present, None: all.
            threat: what may be done to them.
        """

    def check_views(self, view_shapes: Sequence[Shape]) -> None:
        """Check that the attack takes views of these shapes.

        Raises:
            ConfigurationError: it does not.
        """
        if self.views is not None and not set(self.views) <= set(range(len(view_shapes))):
            raise ConfigurationError(f"{type(self).__name__}: views {list(self.views)}: there are 0 to {len(view_shapes) - 1}")

    def check_clusterer(self, clusterer: Clusterer) -> None:
        """Check that the attack applies to a clusterer.

        Raises:
            ConfigurationError: it does not.
        """

    @property
    def learns(self) -> bool:
        """Whether it has to be fitted before it runs."""
        return type(self).fit is not Attack.fit

    def members(self, clusterer: Clusterer) -> Mapping[str, Attack]:
        """The attacks that it is made of, for a clusterer; none where it is one by itself.

        What moved a sample is in :attr:`Target.movers`, as positions in these.
        """
        return {}

    def why_not(self, clusterer: Clusterer) -> str:
        """Why it does not apply to a clusterer; empty where it does."""
        try:
            self.check_clusterer(clusterer)
        except ConfigurationError as error:
            return str(error)
        return ""

    @property
    def budget(self) -> float:
        """The budget.

        Raises:
            ConfigurationError: there is none yet.
        """
        if self.epsilon is None:
            raise ConfigurationError(f"{type(self).__name__} has no budget: give it an epsilon")
        return self.epsilon

    @property
    def threat(self) -> ThreatModel:
        """What it may do.

        Raises:
            ConfigurationError: it has no budget yet.
        """
        return ThreatModel(self.budget, NORMS[self.norm], self.views, joint=self.joint)

    def with_budget(self, epsilon: float) -> Self:
        """The same attack with another budget; an explicit step size grows and shrinks with it, what was learned is kept."""
        changed = copy.copy(self)
        changed.epsilon = epsilon
        changed._generator = None
        return changed

    def within(self, before: float | None, after: float) -> Self:
        """This attack as part of another whose budget was ``before`` (None: it had none) and is ``after`` now."""
        if before is None:
            return self
        own = self if self.epsilon is not None else self.with_budget(before)
        return own.with_budget(own.budget * after / before)

    def with_default_budget(self, epsilon: float | None) -> Self:
        """This attack, or where it has no budget of its own the same with this one, which is L-infinity.

        Raises:
            ConfigurationError: it has none, and its norm is another.
        """
        if self.epsilon is None and epsilon is not None and self.norm != "linf":
            raise ConfigurationError(f"{type(self).__name__}: norm {self.norm} needs an epsilon of its own; the data's is linf")
        return self if self.epsilon is not None or epsilon is None else self.with_budget(epsilon)

    def reseed(self, position: int) -> None:
        """Restart the attack's random numbers at a place that seed and ``position`` (a step, say) name."""
        self._position = position
        self._generator = None

    def random_start(self, views: Views) -> tuple[Tensor, ...]:
        """The perturbations that it would start from where none are given: by default random ones within the budget."""
        return self.initial(views, self.threat, self._random(views[0].device))

    def initial(self, views: Views, threat: ThreatModel, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Perturbations to start from, random by default."""
        return threat.random_start(views, generator)

    def _random(self, device: torch.device) -> torch.Generator:
        """The attack's generator; what it draws next follows from seed, position and what was drawn since."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch_generator(device, self.seed, self._position)
        return self._generator


def _drawn(like: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which samples of a batch (N, ...) a share of them is, at least one of the whole batch, in ascending order: (n,)."""
    order = empty_batch(like.flatten(1)[:, 0]).uniform_(generator=generator).argsort().argsort()
    return own_rows(order < max(1, round(share * len(order)))).nonzero()[:, 0]
