"""Towards each of the likeliest other clusters: a little towards all, more towards those that come closest."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.gradient import APGD, Best
from ar_dmvc.attacks.objectives import OBJECTIVES, Margin
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views, per_sample
from ar_dmvc.clusterers import ClustererOutput

_FEWER = 3


class TargetedAPGD(Attack):
    """APGD on the margin towards each of a sample's likeliest other clusters.

    In rounds: short ascents go towards all of them; the third that came closest, sample by sample, is gone on towards for three
    times as long, until one is left. That takes fewer steps than long ascents towards all.

    Source: Croce and Hein, ICML 2020 (APGD-T); which targets go on is decided by successive halving, after Jamieson and
    Talwalkar, AISTATS 2016.

    Args:
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        targets: how many clusters at most, the likeliest on the clean sample, at least one.
        steps: towards the last of them, at least one; a third of that, rounded, in the round before, and so on.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range.
    """

    needs: ClassVar[Need] = "gradients"
    compares = True

    def __init__(self, epsilon: float | None = None, targets: int = 9, steps: int = 90, **reach: Unpack[Reach]) -> None:
        super().__init__(epsilon, **reach)
        if min(targets, steps) < 1:
            raise ValueError(f"targets and steps must be at least 1, got {targets} and {steps}")
        self.targets = targets
        self.steps = steps

    def rounds(self, targets: int) -> list[tuple[int, int]]:
        """How many targets each round has, and how many steps towards each of them."""
        left, steps = [1], [self.steps]
        while left[-1] < targets:
            left.append(min(targets, left[-1] * _FEWER))
            steps.append(max(1, round(steps[-1] / _FEWER)))
        return list(zip(left, steps, strict=True))[::-1]

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        clean, best = target.clean(views), Best()
        targets = min(self.targets, clean.assignments.shape[1] - 1)
        ranks = torch.arange(1, targets + 1, device=views[0].device).expand(len(views[0]), -1)
        ends: list[Views] = []
        for left, steps in self.rounds(targets):
            values, begun = [], ends
            ends = []
            for place in range(left):
                objective = _Ranks(ranks[:, place])
                first = [end - view for end, view in zip(begun[place], views, strict=True)] if begun else None
                attacked = APGD(objective, steps=steps).run(target, views, threat, generator, first)
                values.append(self._offer(target, clean, attacked, objective, best))
                ends.append(attacked)
            order = torch.stack(values, 1).argsort(dim=1, descending=True, stable=True)
            ranks = ranks[:, :left].gather(1, order)
            ends = [_of_each(chosen, ends) for chosen in order.unbind(1)]
        return best.views

    @torch.no_grad()
    def _offer(self, target: Target, clean: ClustererOutput, attacked: Views, objective: Margin, best: Best) -> Tensor:
        """Keep what leaves the clean cluster furthest behind; the value towards the cluster at hand, (N,)."""
        output = target(attacked)
        best.offer(OBJECTIVES["margin"].terms(clean, output), attacked)
        return objective.terms(clean, output)


class _Ranks(Margin):
    """Towards a cluster of each sample's own."""

    def __init__(self, ranks: Tensor) -> None:
        super().__init__()
        self._own = ranks

    def ranks(self, clean: ClustererOutput) -> Tensor:
        return self._own


def _of_each(chosen: Tensor, attacked: list[Views]) -> Views:
    """Of several attacked batches the one that is chosen for each sample, by position (N,)."""
    results = [view.clone() for view in attacked[0]]
    for number, views in enumerate(attacked[1:], 1):
        for result, view in zip(results, views, strict=True):
            result[:] = torch.where(per_sample(chosen == number, view), view, result)
    return results
