"""A black-box attack that needs scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Need, Reach
from ar_dmvc.attacks.target import Target, with_broken_highest
from ar_dmvc.attacks.threat import ThreatModel, Views, per_sample
from ar_dmvc.distributed import is_global
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import full_precision

_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of ten thousand queries, after how many the share of values that are changed at once is halved."""


class Square(Attack):
    """Random search: squares of each view are set to a corner of the budget, and kept where that raises the margin.

    Of feature vectors random features take the place of squares. A sample that has left its cluster is not queried again.

    Source: Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack via random search",
    ECCV 2020.

    Of a stochastic clusterer, where it stands is looked at anew in each step, and several passes decide whether a sample has
    moved.

    Args:
        epsilon: L-infinity budget, positive; None leaves it to whoever runs the attack.
        queries: of each sample at most, at least one.
        patience: give up where so many queries moved no further sample of the batch, at least one; None: never.
        square: share of a view's values that are changed at once at first, in (0, 1].
        reach: seed, views, share: see :class:`Attack`.

    Raises:
        ValueError: a value out of range, or another norm than ``linf``.
    """

    needs: ClassVar[Need] = "scores"
    searches_corners = True
    compares = True

    def __init__(
        self,
        epsilon: float | None = None,
        queries: int = 1000,
        square: float = 0.8,
        patience: int | None = None,
        **reach: Unpack[Reach],
    ) -> None:
        super().__init__(epsilon, **reach)
        if queries < 1 or not 0 < square <= 1:
            raise ValueError(f"queries must be at least 1 and square in (0, 1], got {queries} and {square}")
        if self.norm != "linf":
            raise ValueError("Square searches the corners of an L-infinity budget: norm must be linf")
        self.queries = queries
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.square = square
        self.patience = patience

    @torch.no_grad()
    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> Views:
        """Perturb views; see :class:`Attack`."""
        if is_global():
            raise ConfigurationError("Square searches for each device by itself: it is no inner attack on several devices")
        own = target.clean(views).assignments.argmax(1)
        changes = list(threat.clip([_stripes(view, generator) * threat.budget for view in views]))
        values = _margin(target.decided(threat.move(views, changes), own), own)
        everyone = torch.arange(len(own), device=own.device)
        left, paid = len(own), 0

        def part(rows: Tensor) -> Tensor | None:
            return None if len(rows) == len(own) else rows

        for query in range(1, self.queries):
            rows = everyone if target.clusterer.training else (values <= 0).nonzero()[:, 0]
            still = int((values <= 0).sum())
            left, paid = (still, query) if still < left else (left, paid)
            if still == 0 or (self.patience is not None and query - paid >= self.patience):
                break
            share = self.square / 2 ** sum(query / self.queries * 10_000 > place for place in _HALVED_AFTER)
            if target.clusterer.is_stochastic:  # the luckiest pass so far would be hard to surpass
                attacked = threat.move([view[rows] for view in views], [change[rows] for change in changes])
                values[rows] = _margin(target.decided(attacked, own[rows], part(rows)), own[rows])
            tried = threat.clip([_with_square(change[rows], share, threat.budget, generator) for change in changes])
            attacked = threat.move([view[rows] for view in views], tried)
            new = _margin(target.decided(attacked, own[rows], part(rows)), own[rows])
            better = (new > values[rows]) & (values[rows] <= 0)
            values[rows] = torch.where(better, new, values[rows])
            for change, other in zip(changes, tried, strict=True):
                change[rows] = torch.where(per_sample(better, other), other, change[rows])
        return threat.move(views, changes)


def _margin(assignments: Tensor, own: Tensor) -> Tensor:
    """By how much the likeliest other cluster is ahead of a sample's own, (N,), in logarithms, as logits are apart.

    Infinite where assignments are no numbers, which counts as moved.
    """
    assignments = full_precision(assignments)
    logs = assignments.clamp_min(torch.finfo(assignments.dtype).tiny).log()  # differences go on where one is nearly certain
    mine = logs.gather(1, own[:, None])[:, 0]
    margin = logs.scatter(1, own[:, None], -torch.inf).amax(1) - mine
    return with_broken_highest(margin)


def _signs(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, tuple(shape), generator=generator, device=like.device).to(like.dtype) * 2 - 1


def _stripes(view: Tensor, generator: torch.Generator) -> Tensor:
    """Vertical stripes of signs; of vectors a sign for each feature."""
    if view.dim() == 2:
        return _signs(view.shape, view, generator)
    samples, channels, _, width = view.shape
    return _signs((samples, channels, 1, width), view, generator).expand_as(view).clone()


def _with_square(change: Tensor, share: float, budget: float, generator: torch.Generator) -> Tensor:
    """A change with a square of one sign for each channel; of vectors, with signs for random features."""
    if change.dim() == 2:
        count = max(1, round(share * change.shape[1]))
        order = torch.rand(change.shape, generator=generator, device=change.device)
        chosen = order <= order.kthvalue(count, dim=1, keepdim=True).values
        return torch.where(chosen, budget * _signs(change.shape, change, generator), change)
    samples, channels, height, width = change.shape
    side = max(1, min(round((share * height * width) ** 0.5), height, width))
    inside = []
    for size in (height, width):
        first = torch.randint(0, size - side + 1, (samples, 1), generator=generator, device=change.device)
        place = torch.arange(size, device=change.device)
        inside.append((place >= first) & (place < first + side))
    chosen = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(chosen, budget * _signs((samples, channels, 1, 1), change, generator), change)
