"""Attacks along the sign of a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Views
from ar_dmvc.attacks.objectives import objective_named
from ar_dmvc.clusterers import Clusterer, ClustererOutput

ObjectiveName = Literal["contrastive_alignment", "assignment_divergence", "attack_distance"]


class PGD(Attack):
    """Projected gradient descent that maximises an objective under an L-infinity budget.

    Gradients are taken with respect to the perturbations alone.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Args:
        objective: what to maximise, by name.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        step_size: step along the gradient's sign, positive; None takes a quarter of the budget.
        steps: number of steps, at least one.
        restarts: number of random starts, at least one; each sample keeps the one with its highest objective.
        seed: of the random starts.

    Raises:
        ValueError: a value out of range, or an unknown objective.

    Example:
        >>> attack = PGD(objective="contrastive_alignment", epsilon=0.2, step_size=0.02, steps=10)
        >>> attacked = attack(clusterer, views)  # doctest: +SKIP
    """

    def __init__(
        self,
        objective: ObjectiveName = "contrastive_alignment",
        epsilon: float | None = None,
        step_size: float | None = None,
        steps: int = 10,
        restarts: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(epsilon, seed)
        if step_size is not None and not step_size > 0:
            raise ValueError(f"step_size must be positive, got {step_size}")
        if steps < 1 or restarts < 1:
            raise ValueError(f"steps and restarts must be at least 1, got {steps} and {restarts}")
        self.objective = objective_named(objective)
        self.step_size = step_size
        self.steps = steps
        self.restarts = restarts

    def with_budget(self, epsilon: float) -> Self:
        """The same attack with another budget; an explicit step size grows and shrinks with it."""
        changed = super().with_budget(epsilon)
        if self.step_size is not None and self.epsilon is not None:
            changed.step_size = self.step_size * epsilon / self.epsilon
        return changed

    def check_clusterer(self, clusterer: Clusterer) -> None:
        """Check that the clusterer has what the objective is about.

        Raises:
            ConfigurationError: it has not.
        """
        self.objective.check(clusterer)

    def perturb(self, clusterer: Clusterer, views: Views, start: Views | None) -> Views:
        """Perturb views; see :class:`Attack`."""
        clean = self._clean_output(clusterer, views)
        if self.restarts == 1:
            return self._ascend(clusterer, views, clean, self.initial(views) if start is None else start)
        return self._best_restart(clusterer, views, clean, start)

    def initial(self, views: Views) -> tuple[Tensor, ...]:
        """The perturbations that it starts from where none are given."""
        return self.uniform(views)

    def _step(self) -> float:
        return self.budget / 4 if self.step_size is None else self.step_size

    def _clean_output(self, clusterer: Clusterer, views: Views) -> ClustererOutput | None:
        if not self.objective.compares:
            return None
        with torch.no_grad():
            output: ClustererOutput = clusterer(views)
        return output

    def _ascend(self, clusterer: Clusterer, views: Views, clean: ClustererOutput | None, start: Views) -> tuple[Tensor, ...]:
        step = self._step()
        perturbations = tuple(start)
        for _ in range(self.steps):
            gradients = self._gradients(clusterer, views, clean, perturbations)
            perturbations = tuple(
                _restrict(view, perturbation + step * gradient.sign(), self.budget)
                for view, perturbation, gradient in zip(views, perturbations, gradients, strict=True)
            )
        return tuple(view + perturbation for view, perturbation in zip(views, perturbations, strict=True))

    def _gradients(
        self, clusterer: Clusterer, views: Views, clean: ClustererOutput | None, perturbations: Views
    ) -> tuple[Tensor, ...]:
        # The gradient with respect to the attacked views is that with respect to the perturbations.
        attacked = [view + change for view, change in zip(views, perturbations, strict=True)]
        with torch.enable_grad():
            variables = tuple(view.requires_grad_() for view in attacked)
            return torch.autograd.grad(self._value(clusterer(variables), clean).sum(), variables)

    def _value(self, attacked: ClustererOutput, clean: ClustererOutput | None) -> Tensor:
        return self.objective.terms(attacked if clean is None else clean, attacked)

    def _best_restart(
        self, clusterer: Clusterer, views: Views, clean: ClustererOutput | None, start: Views | None
    ) -> tuple[Tensor, ...]:
        best_views: tuple[Tensor, ...] | None = None
        best_values: Tensor | None = None
        for initial in self._starts(views, start):
            attacked = self._ascend(clusterer, views, clean, initial)
            with torch.no_grad():
                values = self._value(clusterer(attacked), clean)
            if best_views is None or best_values is None:
                best_views, best_values = attacked, values
                continue
            better = values > best_values
            best_values = torch.where(better, values, best_values)
            best_views = tuple(
                torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)
                for new, old in zip(attacked, best_views, strict=True)
            )
        assert best_views is not None
        return best_views

    def _starts(self, views: Views, start: Views | None) -> Iterator[Views]:
        """The given start, if any, comes first; the rest are random."""
        for restart in range(self.restarts):
            yield self.uniform(views) if start is None or restart > 0 else start


class FGSM(PGD):
    """Fast gradient sign method: one step of the whole budget.

    It starts at random (Wong et al., "Fast is better than free", ICLR 2020), or at the clean views as first published
    (Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015).

    Args:
        objective: what to maximise, by name.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        random_start: start uniform in the budget rather than at the clean views.
        seed: of the random start.

    Raises:
        ValueError: a value out of range, or an objective whose gradient vanishes at the clean views without random start.
    """

    def __init__(
        self,
        objective: ObjectiveName = "assignment_divergence",
        epsilon: float | None = None,
        random_start: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(objective, epsilon, step_size=None, steps=1, seed=seed)
        if self.objective.compares and not random_start:
            raise ValueError(
                f"objective {objective!r} compares with the clean views, where its gradient is zero: FGSM needs random_start"
            )
        self.random_start = random_start

    def initial(self, views: Views) -> tuple[Tensor, ...]:
        """The perturbations that it starts from where none are given."""
        return super().initial(views) if self.random_start else tuple(torch.zeros_like(view) for view in views)

    def _step(self) -> float:
        return self.budget


def _restrict(view: Tensor, perturbation: Tensor, epsilon: float) -> Tensor:
    """Clip to the budget first, then so that the view stays in [0, 1]."""
    return (view + perturbation.clamp(-epsilon, epsilon)).clamp(0, 1) - view
