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


class TargetedAPGD(Attack):
    """APGD on the margin towards each of a sample's likeliest other clusters.

    Short ascents go towards all of them; longer ones go on from the ends of those that came closest, sample by sample, which
    takes fewer steps than long ascents towards all.

    Source: Croce and Hein, ICML 2020 (APGD-T); which targets go on is decided by successive halving, after Jamieson and
    Talwalkar, AISTATS 2016.

    Args:
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        targets: how many clusters at most, the likeliest on the clean sample, at least one.
        short: steps towards each of them, at least one.
        promising: how many of them are gone on towards, at least one.
        steps: further steps towards each of those, at least one.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range.
    """

    needs: ClassVar[Need] = "gradients"
    compares = True

    def __init__(
        self,
        epsilon: float | None = None,
        targets: int = 9,
        short: int = 20,
        promising: int = 3,
        steps: int = 30,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        if min(targets, short, promising, steps) < 1:
            raise ValueError(
                f"targets, short, promising and steps must be at least 1, got {targets}, {short}, {promising} and {steps}"
            )
        self.targets = targets
        self.short = short
        self.promising = promising
        self.steps = steps

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        clean, best = target.clean(views), Best()
        values, ends = [], []
        for rank in range(1, min(self.targets, clean.assignments.shape[1] - 1) + 1):
            objective = Margin(rank)
            attacked = APGD(objective, steps=self.short).run(target, views, threat, generator)
            values.append(self._offer(target, clean, attacked, objective, best))
            ends.append(attacked)
        order = torch.stack(values, 1).argsort(dim=1, descending=True, stable=True)
        for place in range(min(self.promising, order.shape[1])):
            chosen = order[:, place]
            changes = tuple(_of_each(chosen, [end[number] for end in ends]) - view for number, view in enumerate(views))
            objective = _Ranks(chosen + 1)
            attacked = APGD(objective, steps=self.steps).run(target, views, threat, generator, changes)
            self._offer(target, clean, attacked, objective, best)
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


def _of_each(chosen: Tensor, views: Views) -> Tensor:
    """Of several views (N, ...) the one that is chosen for each sample, by position (N,)."""
    result = views[0]
    for number, view in enumerate(views[1:], 1):
        result = torch.where(per_sample(chosen == number, view), view, result)
    return result
