"""Update rules with a memory: momentum, and steps that adapt to each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ar_dmvc.attacks.rules import Ascent, UpdateRule
from ar_dmvc.attacks.threat import ThreatModel, Views, per_sample


@dataclass(frozen=True)
class MomentumStep(UpdateRule):
    """Steps of one size along the steepest ascent of accumulated gradients.

    Source: Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018 (MI-FGSM).

    Attributes:
        step_size: in units of the views, positive; None takes the budget over the number of steps.
        decay: of the gradients gathered so far, at least zero.

    Raises:
        ValueError: a value out of range.
    """

    step_size: float | None = None
    decay: float = 1.0

    def __post_init__(self) -> None:
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"step_size must be positive, got {self.step_size}")
        if not self.decay >= 0:
            raise ValueError(f"decay must be at least 0, got {self.decay}")

    def begin(self, threat: ThreatModel, views: Views, steps: int) -> Ascent:
        """Begin at a start."""
        return _Momentum(threat, views, threat.budget / steps if self.step_size is None else self.step_size, self.decay)

    def scaled(self, factor: float) -> Self:
        """The same with an explicit step size scaled."""
        return self if self.step_size is None else replace(self, step_size=self.step_size * factor)


class _Momentum(Ascent):
    def __init__(self, threat: ThreatModel, views: Views, size: float, decay: float) -> None:
        self.threat = threat
        self.views = views
        self.size = size
        self.decay = decay
        self.gathered: list[Tensor] = [torch.zeros_like(view) for view in views]

    def move(self, perturbations: Views, gradients: Views, values: Tensor) -> tuple[Tensor, ...]:
        for number, gradient in enumerate(gradients):
            length = per_sample(gradient.flatten(1).abs().mean(1), gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
            self.gathered[number] = self.decay * self.gathered[number] + gradient / length
        directions = self.threat.steepest(self.gathered)
        moved = [change + self.size * way for change, way in zip(perturbations, directions, strict=True)]
        return self.threat.restrict(self.views, moved)


@dataclass(frozen=True)
class AdaptiveStep(UpdateRule):
    """Steps that start at ``share`` of the budget and are halved, sample by sample, where they no longer pay.

    At checkpoints, which come ever closer, a sample's step is halved, and it goes back to its best point, if fewer than
    ``needed`` of its steps since the last one raised the objective, or if neither step nor best point have changed.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020 (APGD), its constants included.

    Attributes:
        share: of the budget, positive.
        needed: share of steps that have to raise the objective.
        inertia: weight of a new step against the direction of the last one, in (0, 1].

    Raises:
        ValueError: a value out of range.
    """

    share: float = 2.0
    needed: float = 0.75
    inertia: float = 0.75

    def __post_init__(self) -> None:
        if not self.share > 0 or not 0 < self.inertia <= 1:
            raise ValueError(f"share must be positive and inertia in (0, 1], got {self.share} and {self.inertia}")

    def begin(self, threat: ThreatModel, views: Views, steps: int) -> Ascent:
        """Begin at a start."""
        return _Adaptive(self, threat, views, checkpoints(steps))


def checkpoints(steps: int) -> set[int]:
    """The steps before which :class:`AdaptiveStep` looks back, of so many."""
    period, shortest, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    places, place = set(), period
    while place < steps:
        places.add(place)
        period = max(period - less, shortest)
        place += period
    return places


class _Adaptive(Ascent):
    def __init__(self, rule: AdaptiveStep, threat: ThreatModel, views: Views, looks: set[int]) -> None:
        self.rule = rule
        self.threat = threat
        self.views = views
        self.looks = looks
        first = views[0]
        self.step, self.last_look = 0, 0
        self.sizes = threat.of_each(first) * rule.share
        self.raised = first.new_zeros(len(first))
        self.halved = torch.ones(len(first), dtype=torch.bool, device=first.device)
        self.last_values = self.best_values = self.best_at_look = first.new_full((len(first),), -math.inf)
        self.before: Views = ()
        self.best: Views = ()
        self.best_gradients: Views = ()

    def move(self, perturbations: Views, gradients: Views, values: Tensor) -> tuple[Tensor, ...]:
        values = values.to(self.sizes.dtype)
        self._remember(perturbations, gradients, values)
        if self.step in self.looks:
            back = self._look_back()
            perturbations = _where(back, self.best, perturbations)
            gradients = _where(back, self.best_gradients, gradients)
        directions = self.threat.steepest(gradients)
        moved = self.threat.restrict(
            self.views,
            [x + per_sample(self.sizes, x) * way for x, way in zip(perturbations, directions, strict=True)],
        )
        if self.step > 0:
            share = self.rule.inertia
            moved = self.threat.restrict(
                self.views,
                [
                    x + share * (new - x) + (1 - share) * (x - old)
                    for x, new, old in zip(perturbations, moved, self.before, strict=True)
                ],
            )
        self.before = perturbations
        self.step += 1
        return moved

    def _remember(self, perturbations: Views, gradients: Views, values: Tensor) -> None:
        if self.step > 0:
            self.raised = self.raised + (values > self.last_values)
        self.last_values = values
        better = values > self.best_values
        self.best_values = torch.where(better, values, self.best_values)
        self.best = perturbations if self.step == 0 else _where(better, perturbations, self.best)
        self.best_gradients = gradients if self.step == 0 else _where(better, gradients, self.best_gradients)

    def _look_back(self) -> Tensor:
        """Which samples' steps are halved."""
        too_few = self.raised < self.rule.needed * (self.step - self.last_look)
        stuck = ~self.halved & (self.best_values <= self.best_at_look)
        self.halved = too_few | stuck
        self.sizes = torch.where(self.halved, self.sizes / 2, self.sizes)
        self.raised = torch.zeros_like(self.raised)
        self.best_at_look, self.last_look = self.best_values, self.step
        return self.halved


def _where(chosen: Tensor, one: Views, other: Views) -> tuple[Tensor, ...]:
    return tuple(torch.where(per_sample(chosen, a), a, b) for a, b in zip(one, other, strict=True))
