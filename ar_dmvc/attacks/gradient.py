"""Attacks along a gradient: an objective, where to start, and a rule that takes each point to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.adaptive import AdaptiveStep, MomentumStep
from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.objectives import Objective, objective_named
from ar_dmvc.attacks.rules import SteepestStep, UpdateRule
from ar_dmvc.attacks.target import Target, with_broken_highest
from ar_dmvc.attacks.threat import ThreatModel, Views, per_sample
from ar_dmvc.clusterers import Clusterer, ClustererOutput


class GradientAttack(Attack):
    """Ascends an objective by the gradient with respect to the perturbations alone.

    Args:
        objective: what to maximise: a name of ``OBJECTIVES``, or an objective of one's own.
        rule: how to move.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        steps: number of steps, at least one.
        restarts: number of starts, at least one; each sample keeps the one with its highest objective.
        keep_best: keep each sample's highest point on the way rather than the last.
        random_start: start at random in the budget rather than at the clean views.
        expectation: passes over which values and gradients are averaged, at least one, for a clusterer whose output is random
            (expectation over transformations: Athalye et al., ICML 2018).
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, an unknown objective, or one whose gradient vanishes at the start.
    """

    needs: ClassVar[Need] = "gradients"
    has_start: ClassVar[bool] = True

    def __init__(
        self,
        objective: Objective | str,
        rule: UpdateRule,
        epsilon: float | None = None,
        steps: int = 10,
        restarts: int = 1,
        keep_best: bool = False,
        random_start: bool = True,
        expectation: int = 1,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        if min(steps, restarts, expectation) < 1:
            raise ValueError(f"steps, restarts and expectation must be at least 1, got {steps}, {restarts} and {expectation}")
        self.objective = objective_named(objective) if isinstance(objective, str) else objective
        if not isinstance(self.objective, Objective):
            raise TypeError(f"objective: a name or an Objective is expected, got {objective!r}")
        if self.objective.vanishes_at_clean and not random_start:
            raise ValueError(
                f"objective {self.objective.name!r} has no gradient at the clean views: "
                f"{type(self).__name__} needs random_start"
            )
        self.rule = rule
        self.steps = steps
        self.restarts = restarts
        self.keep_best = keep_best
        self.starts_at_random = random_start
        self.expectation = expectation
        self.compares = self.objective.compares
        self.couples_samples = self.objective.couples_samples

    def with_budget(self, epsilon: float) -> Self:
        """The same attack with another budget; an explicit step size grows and shrinks with it."""
        changed = super().with_budget(epsilon)
        if self.epsilon is not None:
            changed.rule = self.rule.scaled(epsilon / self.epsilon)
        return changed

    def check_clusterer(self, clusterer: Clusterer) -> None:
        """Check that the clusterer has what the objective is about.

        Raises:
            ConfigurationError: it has not.
        """
        self.objective.check(clusterer)

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        best = Best()
        for first in self._starts(target, views, threat, generator, start):
            last = self._ascend(target, views, threat, first, best)
            if self.restarts == 1 and not self.keep_best:
                return last
            with torch.no_grad():
                best.offer(self._values(target, views, last), last)
        return best.views

    def initial(self, views: Views, threat: ThreatModel, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The perturbations that it starts from where none are given."""
        return super().initial(views, threat, generator) if self.starts_at_random else tuple(map(torch.zeros_like, views))

    def _starts(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None
    ) -> Iterator[Views]:
        """The given start, if any, comes first; the rest are its own."""
        for restart in range(self.restarts):
            if start is not None and restart == 0:
                yield start
            else:
                yield threat.of_present(self.initial(views, threat, generator), target.mask)

    def _ascend(self, target: Target, views: Views, threat: ThreatModel, start: Views, best: Best) -> tuple[Tensor, ...]:
        ascent = self.rule.begin(threat, views, self.steps)
        # The best point has to lie in the box; the published ascent may start outside it.
        perturbations = threat.restrict(views, start) if self.keep_best else tuple(start)
        path: list[Tensor] = []
        for step in range(self.steps):
            attacked = [view + change for view, change in zip(views, perturbations, strict=True)]
            values, gradients = self.gradients(target, views, attacked)
            if step == 0:
                first = gradients
            path.append(values)
            if self.keep_best:
                best.offer(values, attacked)
            perturbations = ascent.move(perturbations, gradients, values)
        target.observe(path, first)
        return tuple(view + change for view, change in zip(views, perturbations, strict=True))

    def gradients(self, target: Target, views: Views, attacked: Views) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The objective's values, (N,), and its gradient with respect to the attacked views, which is that to perturbations.

        Where a clusterer's output is no number its value is infinite, the highest, and its gradient zero: a sample stays there.
        """
        with torch.enable_grad():
            variables = tuple(view.detach().requires_grad_() for view in attacked)
            values = self._values(target, views, variables)
            gradients = torch.autograd.grad(values.sum(), variables)
        return with_broken_highest(values.detach()), tuple(gradient.nan_to_num(nan=0.0) for gradient in gradients)

    def _values(self, target: Target, views: Views, attacked: Views) -> Tensor:
        """The objective, its mean over passes and over clusterers where there are several."""
        terms = []
        for one in target.each():
            clean = one.clean(views) if self.objective.compares else None
            for _ in range(self.expectation):
                output = one(attacked)
                terms.append(self._terms(output if clean is None else clean, output))
        return terms[0] if len(terms) == 1 else torch.stack(terms).mean(0)

    def _terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        terms, count = self.objective.terms(clean, attacked), len(attacked.assignments)
        if not isinstance(terms, Tensor) or terms.shape != (count,):
            given = f"a tensor of shape {tuple(terms.shape)}" if isinstance(terms, Tensor) else f"a {type(terms).__name__}"
            raise TypeError(f"{type(self.objective).__name__}.terms: a value a sample, ({count},), is expected, got {given}")
        return terms


class Best:
    """Each sample's views of the highest value that was offered.

    Attributes:
        values: the highest so far, (N,); None before the first offer.
        views: V views (N, *shape_v) that have them.
    """

    def __init__(self) -> None:
        self.values: Tensor | None = None
        self.views: tuple[Tensor, ...] = ()

    def offer(self, values: Tensor, views: Views) -> None:
        """Take over the samples whose value (N,) is higher than before; one that is no number is the highest."""
        values = with_broken_highest(values)
        if self.values is None:
            self.values, self.views = values, tuple(view.detach() for view in views)
            return
        better = values > self.values
        self.values = torch.where(better, values, self.values)
        self.views = tuple(
            torch.where(per_sample(better, new), new.detach(), old) for new, old in zip(views, self.views, strict=True)
        )


class PGD(GradientAttack):
    """Projected gradient descent that maximises an objective within a budget.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Args:
        objective: what to maximise, a name of ``OBJECTIVES``: ``contrastive_alignment``, ``assignment_divergence``,
            ``attack_distance``, ``cross_entropy``, ``margin``, ``consistency``, ``complementarity``, ``structure``; or the
            class path of an objective of one's own.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        step_size: step along the steepest ascent, positive; None takes a quarter of the budget.
        steps: number of steps, at least one.
        restarts: number of random starts, at least one; each sample keeps the one with its highest objective.
        keep_best: keep each sample's highest point on the way rather than the last.
        expectation: passes over which values and gradients are averaged, for a clusterer whose output is random.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or an unknown objective.

    Example:
        >>> attack = PGD(objective="contrastive_alignment", epsilon=0.2, step_size=0.02, steps=10)
        >>> attacked = attack(clusterer, views)  # doctest: +SKIP
    """

    def __init__(
        self,
        objective: Objective | str = "contrastive_alignment",
        epsilon: float | None = None,
        step_size: float | None = None,
        steps: int = 10,
        restarts: int = 1,
        keep_best: bool = False,
        expectation: int = 1,
        **reach: Unpack[Reach],
    ) -> None:
        rule = SteepestStep(step_size)
        super().__init__(objective, rule, epsilon, steps, restarts, keep_best, expectation=expectation, **reach)

    @property
    def step_size(self) -> float | None:
        """Of a step; None: a quarter of the budget."""
        assert isinstance(self.rule, SteepestStep)
        return self.rule.step_size


class FGSM(GradientAttack):
    """Fast gradient sign method: one step of the whole budget.

    It starts at random (Wong et al., "Fast is better than free", ICLR 2020), or at the clean views as first published
    (Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015).

    Args:
        objective: what to maximise, as of :class:`PGD`.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        random_start: start uniform in the budget rather than at the clean views.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or an objective whose gradient vanishes at the clean views without random start.
    """

    def __init__(
        self,
        objective: Objective | str = "assignment_divergence",
        epsilon: float | None = None,
        random_start: bool = True,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(objective, SteepestStep(share=1.0), epsilon, steps=1, random_start=random_start, **reach)


class APGD(GradientAttack):
    """Projected gradient ascent with steps that adapt to each sample, the best point kept; it has no step size to choose.

    Source: Croce and Hein, ICML 2020; see :class:`AdaptiveStep`.

    Args:
        objective: what to maximise, as of :class:`PGD`.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        steps: number of steps, at least one.
        restarts: number of random starts, at least one; each sample keeps the one with its highest objective.
        expectation: passes over which values and gradients are averaged, for a clusterer whose output is random.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or an unknown objective.
    """

    def __init__(
        self,
        objective: Objective | str = "cross_entropy",
        epsilon: float | None = None,
        steps: int = 100,
        restarts: int = 1,
        expectation: int = 1,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(objective, AdaptiveStep(), epsilon, steps, restarts, True, expectation=expectation, **reach)


class MIFGSM(GradientAttack):
    """Iterated fast gradient sign method with momentum, whose perturbations transfer better.

    Source: Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018.

    Args:
        objective: what to maximise, as of :class:`PGD`.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        steps: number of steps, at least one.
        step_size: positive; None takes the budget over the number of steps.
        decay: of the gradients gathered so far, at least zero.
        random_start: start uniform in the budget rather than at the clean views.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or an objective whose gradient vanishes at the clean views without random start.
    """

    def __init__(
        self,
        objective: Objective | str = "cross_entropy",
        epsilon: float | None = None,
        steps: int = 10,
        step_size: float | None = None,
        decay: float = 1.0,
        random_start: bool = False,
        **reach: Unpack[Reach],
    ) -> None:
        rule = MomentumStep(step_size, decay)
        super().__init__(objective, rule, epsilon, steps, random_start=random_start, **reach)
