"""How a gradient attack moves from one point to the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from ar_dmvc.attacks.threat import ThreatModel, Views


class Ascent(ABC):
    """The way of one start; what it remembers of its steps is its own."""

    @abstractmethod
    def move(self, perturbations: Views, gradients: Views, values: Tensor) -> tuple[Tensor, ...]:
        """The next perturbations.

        Args:
            perturbations: V tensors (N, *shape_v), where the attack is.
            gradients: of the objective there.
            values: the objective there, (N,), without gradient.
        """


class UpdateRule(ABC):
    """A rule that takes gradients, and values of the objective, to the next point."""

    @abstractmethod
    def begin(self, threat: ThreatModel, views: Views, steps: int) -> Ascent:
        """Begin at a start.

        Args:
            threat: what may be done to the views.
            views: V clean views (N, *shape_v).
            steps: how many there will be.
        """

    def scaled(self, factor: float) -> Self:
        """The rule for a budget that is ``factor`` times as large: what it has in units of the views grows with it."""
        return self


@dataclass(frozen=True)
class SteepestStep(UpdateRule):
    """Steps of one size along the steepest ascent in the norm at hand: for L-infinity, the gradient's sign.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Attributes:
        step_size: in units of the views, positive; None takes ``share`` of the budget.
        share: of the budget.

    Raises:
        ValueError: a size that is not positive.
    """

    step_size: float | None = None
    share: float = 0.25

    def __post_init__(self) -> None:
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size must be positive, got {self.step_size}")

    def begin(self, threat: ThreatModel, views: Views, steps: int) -> Ascent:
        """Begin at a start."""
        return _Steepest(threat, views, threat.budget * self.share if self.step_size is None else self.step_size)

    def scaled(self, factor: float) -> Self:
        """The same with an explicit step size scaled."""
        return self if self.step_size is None else replace(self, step_size=self.step_size * factor)


class _Steepest(Ascent):
    def __init__(self, threat: ThreatModel, views: Views, size: float) -> None:
        self.threat = threat
        self.views = views
        self.size = size

    def move(self, perturbations: Views, gradients: Views, values: Tensor) -> tuple[Tensor, ...]:
        moved = [
            change + self.size * direction
            for change, direction in zip(perturbations, self.threat.steepest(gradients), strict=True)
        ]
        return self.threat.restrict(self.views, moved)
