"""A black-box attack that needs decisions alone."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views
from ar_dmvc.distributed import is_global
from ar_dmvc.errors import ConfigurationError

_TOLERANCE = 1e-3


class RayS(Attack):
    """Searches the signs of the changes along which a sample leaves its cluster soonest, by clusters alone.

    Blocks of signs, ever smaller, are flipped in turn; a flip is kept where the sample leaves its cluster within a smaller
    radius than before, which bisection then finds. A sample that leaves it within the budget is not queried again.

    Source: Chen and Gu, "RayS: a ray searching method for hard-label adversarial attack", KDD 2020.

    Args:
        epsilon: L-infinity budget, positive; None leaves it to whoever runs the attack.
        queries: of each sample at most, at least one.
        reach: seed (not used), views, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or another norm than ``linf``.
    """

    needs: ClassVar[Need] = "decisions"
    searches_corners = True
    compares = True

    def __init__(self, epsilon: float | None = None, queries: int = 1000, **reach: Unpack[Reach]) -> None:
        super().__init__(epsilon, **reach)
        if queries < 1:
            raise ValueError(f"queries must be at least 1, got {queries}")
        if self.norm != "linf":
            raise ValueError("RayS searches the corners of an L-infinity budget: norm must be linf")
        self.queries = queries

    @torch.no_grad()
    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        if is_global():
            raise ConfigurationError("RayS searches for each device by itself: it is no inner attack on several devices")
        search = _Search(target, views, threat, self.queries)
        level, block = 0, 0
        while len(rows := search.open_rows()):
            search.flip(rows, block, 2**level)
            block += 1
            if block == min(2**level, search.width):
                level, block = (0 if 2**level >= search.width else level + 1), 0
        return search.result()


class _Search:
    """Directions (N, D) of all views as one, and the radius within which each sample leaves its cluster along its own."""

    def __init__(self, target: Target, views: Views, threat: ThreatModel, queries: int) -> None:
        self.target, self.views, self.threat = target, views, threat
        self.own = target.clean(views).assignments.argmax(1)
        self.signs = torch.cat([torch.ones_like(view).flatten(1) for view in views], 1)
        self.width = self.signs.shape[1]
        self.reach = threat.high - threat.low
        self.left = torch.full((len(self.own),), queries, device=self.own.device)
        self.radius = torch.full((len(self.own),), math.inf, dtype=views[0].dtype, device=self.own.device)
        everyone = torch.arange(len(self.own), device=self.own.device)
        self._try(everyone, self.signs)

    def open_rows(self) -> Tensor:
        """The samples that have neither left their cluster within the budget nor used up their queries, (n,)."""
        return ((self.radius > self.threat.budget) & (self.left > 0)).nonzero()[:, 0]

    def flip(self, rows: Tensor, block: int, blocks: int) -> None:
        """Try the directions of some samples with one block of signs flipped."""
        size = math.ceil(self.width / blocks)
        flipped = self.signs[rows]
        flipped[:, block * size : (block + 1) * size] *= -1
        self._try(rows, flipped)

    def result(self) -> tuple[Tensor, ...]:
        """The views, moved along the directions by the radius, at most the budget."""
        everyone = torch.arange(len(self.own), device=self.own.device)
        size = self.radius.clamp(max=self.threat.budget)
        return self._moved(everyone, self.signs, size)

    def _try(self, rows: Tensor, signs: Tensor) -> None:
        """Take over directions along which samples leave within the radius so far, and find within which they do."""
        far = self.radius[rows].clamp(max=self.reach)
        leaves = self._leaves(rows, signs, far)
        rows, signs, high = rows[leaves], signs[leaves], far[leaves]
        self.signs[rows] = signs
        low = torch.zeros_like(high)
        while len(rows):
            self.radius[rows] = high
            on = (high - low > _TOLERANCE) & (high > self.threat.budget) & (self.left[rows] > 0)
            rows, signs, low, high = rows[on], signs[on], low[on], high[on]
            if len(rows):
                # Whether the budget is enough is all that matters where it lies in between.
                inside = (low < self.threat.budget) & (self.threat.budget < high)
                middle = torch.where(inside, torch.full_like(low, self.threat.budget), (low + high) / 2)
                leaves = self._leaves(rows, signs, middle)
                low, high = torch.where(leaves, low, middle), torch.where(leaves, middle, high)

    def _leaves(self, rows: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        if len(rows) == 0:
            return torch.zeros(0, dtype=torch.bool, device=rows.device)
        self.left[rows] -= 1
        everyone = len(rows) == len(self.own)
        if self.target.clusterer.training and not everyone:  # batch norm needs the rest of the batch
            attacked = [view.clone() for view in self.views]
            for view, other in zip(attacked, self._moved(rows, signs, radius), strict=True):
                view[rows] = other
            clusters = self.target.decided(attacked, self.own).argmax(1)[rows]
        else:
            moved = self._moved(rows, signs, radius)
            clusters = self.target.decided(moved, self.own[rows], None if everyone else rows).argmax(1)
        return clusters != self.own[rows]

    def _moved(self, rows: Tensor, signs: Tensor, radius: Tensor) -> tuple[Tensor, ...]:
        views = [view[rows] for view in self.views]
        parts = torch.split(signs * radius[:, None], [math.prod(view.shape[1:]) for view in views], 1)
        changes = [part.view_as(view) for part, view in zip(parts, views, strict=True)]
        return self.threat.move(views, self.threat.with_budget(self.reach).clip(changes))
