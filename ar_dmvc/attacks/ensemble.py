"""Several attacks as one, the cheapest first, each on the samples that those before it have not moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.gradient import APGD
from ar_dmvc.attacks.objectives import OBJECTIVES
from ar_dmvc.attacks.square import Square
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.targeted import TargetedAPGD
from ar_dmvc.attacks.threat import NORMS, Norm, ThreatModel, Views, per_sample
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import full_precision

_CLOSEST = 0.1


class Ensemble(Attack):
    """Attacks in turn, each on the samples whose cluster has not moved yet: each sample meets the worst of all.

    By default, in the spirit of AutoAttack (Croce and Hein, ICML 2020): adaptive ascent on margin and cross-entropy, towards
    the nine likeliest other clusters, and Square, which takes no gradient; nothing is left to choose. In the end the tenth of
    the samples that came closest to another cluster meets those with gradients again, from other random starts.

    Of a stochastic clusterer, several passes decide whether a sample has moved: in one, luck would.

    A clusterer in training mode, whose batch norm depends on the batch at hand, meets each attack with all samples, once.

    Args:
        attacks: by name, the cheapest first; their budgets are the ensemble's. None: the default.
        repeats: how often the closest meet them again, at least zero.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or no attack.
    """

    needs: ClassVar[Need] = "gradients"
    compares = True

    def __init__(
        self,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        repeats: int = 2,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        if attacks is not None and not attacks:
            raise ValueError("attacks: an ensemble needs at least one")
        for name, attack in (attacks or {}).items():
            if attack.views is not None or attack.norm not in ("linf", self.norm) or attack.share != 1 or attack.joint:
                raise ValueError(f"attacks: {name}: norm, views, joint and share are the ensemble's, for all of its attacks")
            if attack.searches_corners and not NORMS[self.norm].takes_corners:
                raise ValueError(f"attacks: {name}: {type(attack).__name__} searches the corners of an L-infinity budget")
            if attack.learns:
                raise ValueError(f"attacks: {name}: {type(attack).__name__} has to learn first, which an ensemble does not do")
        if repeats < 0:
            raise ValueError(f"repeats must be at least 0, got {repeats}")
        self.attacks = attacks
        self.couples_samples = any(attack.couples_samples for attack in (attacks or {}).values())
        self.repeats = repeats

    def with_budget(self, epsilon: float) -> Self:
        """The same attacks with another budget; explicit step sizes grow and shrink with it."""
        changed = super().with_budget(epsilon)
        if self.attacks is not None:
            changed.attacks = {name: attack.within(self.epsilon, epsilon) for name, attack in self.attacks.items()}
        return changed

    def check_clusterer(self, clusterer: Clusterer) -> None:
        """Check that at least one of its attacks applies.

        Raises:
            ConfigurationError: none does.
        """
        reasons = [attack.why_not(clusterer) for attack in (self.attacks or {}).values()]
        if reasons and all(reasons):
            raise ConfigurationError(f"none of the ensemble's attacks applies: {reasons[0]}")

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        battle = _Battle(target, views, threat, generator)
        members = list(enumerate(self.members(target.clusterer).values()))
        for number, attack in members:
            battle.meet(number, attack, battle.left)
        for number, attack in members * self.repeats:
            if attack.needs == "gradients" and not target.clusterer.training:
                battle.meet(number, attack, battle.closest(_CLOSEST))
        return battle.results

    def members(self, clusterer: Clusterer) -> Mapping[str, Attack]:
        """Its attacks that apply to a clusterer, in their order."""
        members = default_members(NORMS[self.norm]) if self.attacks is None else self.attacks
        return {name: attack for name, attack in members.items() if not attack.why_not(clusterer)}


class _Battle:
    """The state of an ensemble's run: which samples are lost (moved), by which attack, and how close the others came.

    Attributes:
        results: V views (N, *shape_v), each sample where it was lost, or else closest to it.
        left: the samples that are not lost, in ascending order.
    """

    def __init__(self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator) -> None:
        self.target, self.views, self.threat, self.generator = target, views, threat, generator
        self.clean = target.clean(views)
        self.own = self.clean.assignments.argmax(1)
        self.results = tuple(view.clone() for view in views)
        self.margins = torch.full_like(full_precision(self.clean.assignments[:, 0]), -torch.inf)
        self.left = torch.arange(len(self.own), device=self.own.device)
        target.movers = torch.full((len(self.own),), -1)

    def closest(self, share: float) -> Tensor:
        """The share of those left, rounded up, that came closest to another cluster."""
        order = self.margins[self.left].argsort(descending=True, stable=True)
        return self.left[order[: math.ceil(share * len(order))]].sort().values

    @torch.no_grad()
    def meet(self, number: int, attack: Attack, samples: Tensor) -> None:
        """Run a member on some of the samples left (n,); where samples depend on each other on all, keeping these alone."""
        target, training = self.target, self.target.clusterer.training
        if len(samples) == 0 and not training:
            return
        met = torch.arange(len(self.own), device=self.own.device) if training or attack.couples_samples else samples
        whole = len(met) == len(self.own)
        part = target.uncounted() if whole else target.part(met)
        clean = tuple(view[met] for view in self.views)
        attacked = self.threat.project(clean, attack.checked_run(part, clean, self.threat, self.generator), part.mask)
        output = part.steady(attacked)
        broken = ~output.assignments.isfinite().all(1)
        moved = broken | (output.assignments.argmax(1) != self.own[met])
        margins = OBJECTIVES["margin"].terms(part.clean(clean), output)
        target.add(part, met, len(self.own))
        fresh = torch.isin(met, samples)  # what is lost already stays as it was lost
        better = fresh & (moved | (margins > self.margins[met]))
        for result, other in zip(self.results, attacked, strict=True):
            result[met] = torch.where(per_sample(better, other), other, result[met])
        self.margins[met] = torch.where(better, margins, self.margins[met])
        lost = met[moved & fresh]
        assert target.movers is not None
        target.movers[lost.cpu()] = number
        self.left = self.left[~torch.isin(self.left, lost)]


def default_members(norm: Norm) -> dict[str, Attack]:
    """The attacks of an :class:`Ensemble` that names none."""
    members: dict[str, Attack] = {
        "apgd_margin": APGD("margin", steps=20),
        "apgd_ce": APGD("cross_entropy", steps=100),
        "apgd_targeted": TargetedAPGD(),
    }
    return members | ({"square": Square(queries=1000, patience=250)} if norm.takes_corners else {})
