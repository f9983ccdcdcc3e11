"""Perturbations that are made on other clusterers than the one under attack."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self, Unpack

import torch

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.gradient import MIFGSM, GradientAttack
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views
from ar_dmvc.clusterers import Clusterer, load_clusterer
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import Shape


class Transfer(Attack):
    """An attack on surrogates, whose result is used on a clusterer that it never queried.

    With several surrogates a gradient attack ascends the mean of its objective over them, each compared with its own clean
    clusters: numbers of clusters and their order may differ.

    Source: Liu et al., "Delving into transferable adversarial examples and black-box attacks", ICLR 2017.

    Args:
        surrogates: checkpoints of ``ardmvc fit``, of any class, or clusterers.
        attack: on them; None: MI-FGSM, 10 steps. Its budget and reach are this attack's.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        allowed: classes from outside ``ar_dmvc`` that the checkpoints may name.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        CheckpointError: a checkpoint is missing, damaged, hostile or of another kind.
        ValueError: no surrogate, or several for an attack that takes no gradient.
    """

    needs: ClassVar[Need] = "surrogate"
    names_checkpoints = True
    compares = True

    def __init__(
        self,
        surrogates: str | Path | Clusterer | Sequence[str | Path | Clusterer],
        attack: Attack | None = None,
        epsilon: float | None = None,
        allowed: type[Clusterer] | Sequence[type[Clusterer]] = (),
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        named = [surrogates] if isinstance(surrogates, str | Path | Clusterer) else list(surrogates)
        known = [allowed] if isinstance(allowed, type) else allowed
        self.attack = MIFGSM() if attack is None else attack
        self.couples_samples = self.attack.couples_samples
        if not named or (len(named) > 1 and not isinstance(self.attack, GradientAttack)):
            raise ValueError("surrogates: at least one, and of several an attack that ascends a gradient")
        self.surrogates = [
            copy.deepcopy(one) if isinstance(one, Clusterer) else load_clusterer(one, allowed=known) for one in named
        ]
        for surrogate in self.surrogates:
            surrogate.requires_grad_(False).eval()
            self.attack.check_clusterer(surrogate)

    def with_budget(self, epsilon: float) -> Self:
        """The same attack with another budget; an explicit step size grows and shrinks with it."""
        changed = super().with_budget(epsilon)
        changed.attack = self.attack.within(self.epsilon, epsilon)
        return changed

    def check_views(self, view_shapes: Sequence[Shape]) -> None:
        """Check that the surrogates take views of these shapes.

        Raises:
            ConfigurationError: one does not.
        """
        super().check_views(view_shapes)
        for surrogate in self.surrogates:
            if surrogate.view_shapes != tuple(view_shapes):
                raise ConfigurationError(
                    f"Transfer: the surrogate {type(surrogate).__name__} takes views of shapes {surrogate.view_shapes}, "
                    f"not {tuple(view_shapes)}"
                )

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        targets = [Target(surrogate.to(views[0].device, torch.float32), target.mask) for surrogate in self.surrogates]
        several = _Several(targets) if len(targets) > 1 else targets[0]
        return self.attack.checked_run(several, [view.float() for view in views], threat, generator, start)


class _Several(Target):
    """Several targets that are to be misled at once."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets[0].clusterer, targets[0].mask)
        self._targets = targets

    def each(self) -> Sequence[Target]:
        return self._targets
