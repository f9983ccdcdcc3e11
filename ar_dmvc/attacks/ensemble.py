"""Several attacks as one, the cheapest first, each on the samples that those before it have not moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.gradient import APGD
from ar_dmvc.attacks.square import Square
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.targeted import TargetedAPGD
from ar_dmvc.attacks.threat import NORMS, Norm, ThreatModel, Views, per_sample
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.errors import ConfigurationError


class Ensemble(Attack):
    """Attacks in turn, each on the samples whose cluster has not moved yet: each sample meets the worst of all.

    By default, in the spirit of AutoAttack (Croce and Hein, ICML 2020): adaptive ascent on margin and cross-entropy, towards
    the nine likeliest other clusters, and Square, which takes no gradient; nothing is left to choose.

    A clusterer in training mode, whose batch norm depends on the batch at hand, meets each attack with all samples.

    Args:
        attacks: by name, the cheapest first; their budgets are the ensemble's. None: the default.
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
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        if attacks is not None and not attacks:
            raise ValueError("attacks: an ensemble needs at least one")
        for name, attack in (attacks or {}).items():
            if attack.views is not None or attack.norm not in ("linf", self.norm) or attack.share != 1 or attack.joint:
                raise ValueError(f"attacks: {name}: norm, views, joint and share are the ensemble's, for all of its attacks")
            if attack.learns:
                raise ValueError(f"attacks: {name}: {type(attack).__name__} has to learn first, which an ensemble does not do")
        self.attacks = attacks

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
        own = target.clean(views).assignments.argmax(1)
        results = tuple(view.clone() for view in views)
        left = torch.arange(len(own), device=own.device)
        target.movers = torch.full((len(own),), -1)
        for number, attack in enumerate(self.members(target.clusterer).values()):
            if len(left) == 0 and not target.clusterer.training:
                break
            with_all = target.clusterer.training or len(left) == len(own)
            samples = torch.arange(len(own), device=own.device) if with_all else left
            part = target.uncounted() if with_all else target.part(samples)
            clean = tuple(view[samples] for view in views)
            attacked = threat.project(clean, attack.run(part, clean, threat, generator), part.mask)
            with torch.no_grad():
                moved = part(attacked).assignments.argmax(1) != own[samples]
            target.add(part, samples, len(own))
            taken = torch.zeros(len(own), dtype=torch.bool, device=own.device)
            taken[left] = True
            fresh = taken[samples]  # what is lost already stays as it was lost
            for result, other in zip(results, attacked, strict=True):
                result[samples] = torch.where(per_sample(fresh, other), other, result[samples])
            target.movers[samples[moved & fresh].cpu()] = number
            taken[samples[moved]] = False
            left = taken.nonzero()[:, 0]
        return results

    def members(self, clusterer: Clusterer) -> Mapping[str, Attack]:
        """Its attacks that apply to a clusterer, in their order."""
        members = default_members(NORMS[self.norm]) if self.attacks is None else self.attacks
        return {name: attack for name, attack in members.items() if not attack.why_not(clusterer)}


def default_members(norm: Norm) -> dict[str, Attack]:
    """The attacks of an :class:`Ensemble` that names none."""
    members: dict[str, Attack] = {
        "apgd_margin": APGD("margin", steps=20),
        "apgd_ce": APGD("cross_entropy", steps=100),
        "apgd_targeted": TargetedAPGD(),
    }
    return members | ({"square": Square(queries=1000, patience=250)} if norm.takes_corners else {})
