"""What an attacker may do to views: how far each may be moved, in which norm, which of them, and within which box.

The only place where a norm is known.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ar_dmvc.distributed import empty_batch, own_rows

Views = Sequence[Tensor]
Limit = float | Tensor
"""A budget for all samples, or of each, in a shape that goes with their views."""


class Norm(ABC):
    """A norm of the change of a view, (N, *shape), sample by sample.

    Attributes:
        takes_corners: whether all values may change by the whole budget at once.
    """

    takes_corners: ClassVar[bool] = False

    @abstractmethod
    def random(self, view: Tensor, budget: Limit, generator: torch.Generator) -> Tensor:
        """A random change within the budget, (N, *shape)."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The change of norm one, for each sample, along which a gradient (N, *shape) ascends fastest."""

    @abstractmethod
    def clip(self, change: Tensor, budget: Limit) -> Tensor:
        """The change within the budget that is nearest to a change, up to rounding."""

    @abstractmethod
    def nearest(self, clean: Tensor, attacked: Tensor, budget: Limit) -> Tensor:
        """The view within the budget of the clean one that is nearest to an attacked one, in their precision."""

    @abstractmethod
    def exceeds(self, change: Tensor, budget: Limit) -> Tensor:
        """Which values of a change are to be brought nearer to zero: bool, (N, *shape)."""

    @abstractmethod
    def size(self, change: Tensor) -> Tensor:
        """The norm of each sample's change, (N,)."""


class LInfinity(Norm):
    """The largest absolute change of a value."""

    takes_corners = True

    def random(self, view: Tensor, budget: Limit, generator: torch.Generator) -> Tensor:
        """Uniform in the ball."""
        if isinstance(budget, Tensor):
            return budget * own_rows(empty_batch(view).uniform_(-1, 1, generator=generator))
        return own_rows(empty_batch(view).uniform_(-budget, budget, generator=generator))

    def steepest(self, gradient: Tensor) -> Tensor:
        """The gradient's sign."""
        return gradient.sign()

    def clip(self, change: Tensor, budget: Limit) -> Tensor:
        """Each value for itself."""
        return torch.clamp(change, -budget, budget)  # type: ignore[arg-type]  # both numbers or both tensors

    def nearest(self, clean: Tensor, attacked: Tensor, budget: Limit) -> Tensor:
        """Each value for itself."""
        return attacked.clamp(clean - budget, clean + budget)

    def exceeds(self, change: Tensor, budget: Limit) -> Tensor:
        """Each value for itself."""
        return change.abs() > budget

    def size(self, change: Tensor) -> Tensor:
        """The largest absolute value."""
        return change.flatten(1).abs().amax(1)


class L2(Norm):
    """The Euclidean length of the change of a view."""

    def random(self, view: Tensor, budget: Limit, generator: torch.Generator) -> Tensor:
        """Uniform in the ball."""
        direction = empty_batch(view).normal_(generator=generator)
        radius = empty_batch(view.flatten(1)[:, 0]).uniform_(generator=generator) ** (1 / math.prod(view.shape[1:]))
        return budget * own_rows(per_sample(radius, direction) * self.steepest(direction))

    def steepest(self, gradient: Tensor) -> Tensor:
        """The gradient over its length; zero where that is."""
        return gradient / per_sample(self.size(gradient), gradient).clamp(min=torch.finfo(gradient.dtype).tiny)

    def clip(self, change: Tensor, budget: Limit) -> Tensor:
        """Shortened where it is too long."""
        length = per_sample(self.size(change), change)
        return change * (budget / torch.clamp(length, min=budget))

    def nearest(self, clean: Tensor, attacked: Tensor, budget: Limit) -> Tensor:
        """On the way to the attacked view."""
        return clean + self.clip(attacked - clean, budget)

    def exceeds(self, change: Tensor, budget: Limit) -> Tensor:
        """All values of a change that is too long."""
        return (per_sample(self.size(change), change) > budget).expand_as(change)

    def size(self, change: Tensor) -> Tensor:
        """The Euclidean length."""
        length: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
        return length


_ROUNDING = 1e-6
"""How far past the box clean views may be."""
_FAR = 1e6
"""As far as infinity: what is farther has no length."""
NormName = Literal["linf", "l2"]
NORMS: dict[str, Norm] = {"linf": LInfinity(), "l2": L2()}
"""Those that configurations may name."""


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) in a shape that goes with a view (N, *shape)."""
    return values.view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker may do; see the module.

    Attributes:
        budget: epsilon, positive: the largest norm of the change of each view.
        norm: in which that is measured.
        views: which may be changed, counted from zero; None: all.
        low: smallest value of an attacked view.
        high: largest.
        joint: whether the budget is that of the change of all views taken as one, rather than of each.
        budgets: of each sample, (N,), where they differ; ``budget`` is then the largest.

    Raises:
        ValueError: a budget that is not positive, an empty box, or no view.
    """

    budget: float
    norm: Norm = field(default_factory=LInfinity)
    views: tuple[int, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    joint: bool = False
    budgets: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ValueError(f"epsilon must be positive, got {self.budget}")
        if not self.low < self.high or self.views == ():
            raise ValueError(f"a threat needs a box and views, got [{self.low}, {self.high}] and {self.views}")

    def with_budget(self, budget: float) -> ThreatModel:
        """The same with another budget."""
        return replace(self, budget=budget, budgets=None)

    def with_budgets(self, budgets: Tensor) -> ThreatModel:
        """The same with a budget of each sample's own, (N,)."""
        return replace(self, budget=float(budgets.max()), budgets=budgets)

    def of_each(self, view: Tensor) -> Tensor:
        """The budget of each sample of a view (N, *shape), (N,)."""
        return view.new_full((len(view),), self.budget) if self.budgets is None else self.budgets.to(view)

    def _limit(self, view: Tensor) -> Limit:
        """The budget, in a shape that goes with a view."""
        return self.budget if self.budgets is None else per_sample(self.budgets.to(view), view)

    def random_start(self, views: Views, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random perturbations within the budget, of the views' shapes."""
        return self._each(lambda view: self.norm.random(view, self._limit(view), generator), views)

    def of_present(self, perturbations: Views, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Perturbations of the views that are present, (N, V) bool, None: all; what others took of a joint budget is theirs."""
        if mask is None or not self.joint or self.norm.takes_corners:
            return tuple(perturbations)
        kept = present_only([torch.zeros_like(change) for change in perturbations], perturbations, mask)
        before, after = self.norm.size(_as_one(perturbations)), self.norm.size(_as_one(kept))
        larger = torch.where(after > 0, before / after, 1.0)
        return self.clip([change * per_sample(larger, change) for change in kept])

    def steepest(self, gradients: Views) -> tuple[Tensor, ...]:
        """The changes of norm one along which gradients ascend fastest."""
        return self._each(self.norm.steepest, gradients)

    def clip(self, perturbations: Views) -> tuple[Tensor, ...]:
        """Perturbations within the budget, up to rounding."""
        return self._each(lambda change: self.norm.clip(change, self._limit(change)), perturbations)

    def move(self, views: Views, perturbations: Views) -> tuple[Tensor, ...]:
        """Views with perturbations added, within the box."""
        return tuple((view + change).clamp(self.low, self.high) for view, change in zip(views, perturbations, strict=True))

    def restrict(self, views: Views, perturbations: Views) -> tuple[Tensor, ...]:
        """Perturbations within the budget, then such that the views stay in the box; up to rounding, for use in an ascent."""
        moved = self.move(views, self.clip(perturbations))
        return tuple(other - view for view, other in zip(views, moved, strict=True))

    def project(self, clean: Views, attacked: Views, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Attacked views within the budget and the box, exactly.

        Sums and bounds are rounded to the views' precision, which can end past the budget; such values are moved to the next
        number nearer to the clean value. What is no number is clean again.

        Args:
            clean: V views (N, *shape_v) in the box.
            attacked: the same, attacked.
            mask: (N, V) bool, which views are present; the others are left as they are. None: all.
        """
        numbers = self._changeable(clean)
        results = list(clean)
        before, after = [clean[number] for number in numbers], [attacked[number] for number in numbers]
        if self.joint:
            moved = _apart(self._project(_as_one(before), _as_one(after)), before)
        else:
            moved = tuple(self._project(view, other) for view, other in zip(before, after, strict=True))
        for number, view in zip(numbers, moved, strict=True):
            results[number] = view
        return present_only(clean, results, mask)

    def sizes(self, clean: Views, attacked: Views) -> Tensor:
        """The norm of each sample's change, (N,): that of all views as one if the budget is joint, else the largest."""
        pairs = zip(clean, attacked, strict=True)
        if clean[0].device.type == "mps":  # which has no double precision
            pairs = zip([view.cpu() for view in clean], [view.cpu() for view in attacked], strict=True)
        changes = [other.double() - view.double() for view, other in pairs]
        if self.joint:
            return self.norm.size(_as_one(changes))
        return torch.stack([self.norm.size(change) for change in changes]).amax(0)

    def rounding(self, views: Views) -> float:
        """By how much a change may seem to leave the budget because of the precision of views (N, *shape_v)."""
        steps = [view.new_full((1, *view.shape[1:]), torch.finfo(view.dtype).eps) for view in views]
        return float(self.sizes([torch.zeros_like(step) for step in steps], steps).amax())

    def check_clean(self, views: Views, mask: Tensor | None = None) -> None:
        """Check that clean views are in the box, up to rounding.

        Args:
            views: V views (N, *shape_v).
            mask: (N, V) bool, which views are present; the others do not matter. None: all.

        Raises:
            ValueError: they are not, or hold NaN.
        """
        for number, view in enumerate(views):
            present = view.detach() if mask is None else view.detach()[mask[:, number]]
            if not present.numel():
                continue
            low, high = (float(extreme) for extreme in present.aminmax())
            if math.isnan(low):
                raise ValueError(f"view {number} holds NaN; leave such samples out, or say in a mask which views are there")
            if not self.low - _ROUNDING <= low <= high <= self.high + _ROUNDING:
                raise ValueError(
                    f"view {number} has values from {low:g} to {high:g}, and attacks keep views in "
                    f"[{self.low:g}, {self.high:g}]; scale it first"
                )

    def _project(self, view: Tensor, other: Tensor) -> Tensor:
        if view.device.type == "mps":  # which has no double precision
            return self._project(view.cpu(), other.cpu()).to(view.device)
        exact, other = view.double(), torch.where(other.isnan(), view, other).double().clamp(-_FAR, _FAR)
        low, high = exact.clamp(max=self.low), exact.clamp(min=self.high)  # a clean value is where it may be
        kept = self.norm.nearest(exact, other, self._limit(exact)).clamp(low, high).to(view.dtype)
        while (excess := self.norm.exceeds(kept.double() - exact, self._limit(exact))).any():
            kept = torch.where(excess, torch.nextafter(kept, view), kept)
        return kept

    def _each(self, change: Callable[[Tensor], Tensor], views: Views) -> tuple[Tensor, ...]:
        """Change the views that may be changed, each by itself or all as one; zero for the others."""
        numbers = self._changeable(views)
        chosen = [views[number] for number in numbers]
        changed = _apart(change(_as_one(chosen)), chosen) if self.joint else tuple(map(change, chosen))
        parts = dict(zip(numbers, changed, strict=True))
        return tuple(parts[number] if number in parts else torch.zeros_like(view) for number, view in enumerate(views))

    def _changeable(self, views: Views) -> list[int]:
        return [number for number in range(len(views)) if self.views is None or number in self.views]


def _as_one(views: Views) -> Tensor:
    """Views (N, *shape_v) as one, (N, D)."""
    return torch.cat([view.flatten(1) for view in views], 1)


def _apart(joined: Tensor, like: Views) -> tuple[Tensor, ...]:
    """The views of :func:`_as_one`."""
    parts = torch.split(joined, [math.prod(view.shape[1:]) for view in like], 1)
    return tuple(part.view_as(view) for part, view in zip(parts, like, strict=True))


def present_only(clean: Views, attacked: Views, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Attacked views where ``mask`` (N, V) has them, clean ones elsewhere."""
    if mask is None:
        return tuple(attacked)
    return tuple(
        torch.where(per_sample(present, view), other, view)
        for view, other, present in zip(clean, attacked, mask.unbind(1), strict=True)
    )
