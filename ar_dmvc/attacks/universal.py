"""One perturbation for all samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Need, Reach
from ar_dmvc.attacks.gradient import GradientAttack
from ar_dmvc.attacks.objectives import Objective
from ar_dmvc.attacks.rules import SteepestStep
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views, present_only
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import Shape


class Universal(GradientAttack):
    """One perturbation of each view, learned without labels on some samples, that is added to all others.

    Ascends the mean of an objective over batches, from no perturbation, with steps that shrink from a quarter of the budget
    to none.

    Source: the attack of Shafahi et al., "Universal adversarial training", AAAI 2020; after Moosavi-Dezfooli et al., CVPR 2017.

    Args:
        objective: what to maximise, as of :class:`PGD`; one whose gradient does not vanish at the clean views.
        epsilon: budget, positive; None leaves it to whoever runs the attack.
        epochs: passes over the samples that it learns on, at least one.
        reach: seed, norm, views, joint, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or an objective whose gradient vanishes at the clean views.
    """

    needs: ClassVar[Need] = "gradients"
    has_start: ClassVar[bool] = False

    def __init__(
        self,
        objective: Objective | str = "cross_entropy",
        epsilon: float | None = None,
        epochs: int = 10,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(objective, SteepestStep(), epsilon, epochs, random_start=False, **reach)
        self.epochs = epochs
        self.learned: tuple[Tensor, ...] | None = None

    def fit(self, target: Target, batches: Iterable[tuple[Views, Tensor | None]], threat: ThreatModel) -> None:
        """Learn the perturbations; see :class:`Attack`."""
        known = [(views, Target(target.clusterer, mask)) for views, mask in batches]
        self.learned = tuple(torch.zeros_like(view[:1]) for view in known[0][0])
        gathered = self.learned
        for epoch in range(self.epochs):
            size = threat.budget * 0.25 * (1 - epoch / self.epochs)
            for views, batch in known:
                attacked = present_only(views, threat.move(views, self.learned), batch.mask)
                _, gradients = self.gradients(batch, views, attacked)
                gathered = tuple(
                    old + gradient.mean(0, keepdim=True) for old, gradient in zip(gathered, gradients, strict=True)
                )
                moved = [change + size * way for change, way in zip(self.learned, threat.steepest(gathered), strict=True)]
                self.learned = threat.clip(moved)

    def check_views(self, view_shapes: Sequence[Shape]) -> None:
        """Check that what was learned, if anything, was of such views.

        Raises:
            ConfigurationError: it was not.
        """
        super().check_views(view_shapes)
        if self.learned is not None and [tuple(change.shape[1:]) for change in self.learned] != list(view_shapes):
            raise ConfigurationError(f"Universal: what it learned is not of views {tuple(view_shapes)}")

    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`.

        Raises:
            ConfigurationError: it has learned nothing yet.
        """
        if self.learned is None:
            raise ConfigurationError("Universal has learned nothing yet: fit it first, which a test does by itself")
        return threat.move(views, [change.to(view.device) for change, view in zip(self.learned, views, strict=True)])
