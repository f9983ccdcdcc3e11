"""Changes of samples that keep their cluster: more of them to learn robustly from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ar_dmvc.distributed import empty_batch, gather_rows, own_rows
from ar_dmvc.signatures import TypesChecked


class Augmentation(TypesChecked, ABC):
    """Makes other samples of the same clusters. One of your own is a subclass, given by its class path.

    Attributes:
        mixes: whether a sample is changed with others, so that only its cluster stays what it was.
    """

    mixes: ClassVar[bool] = False

    @abstractmethod
    def augment(
        self, views: Sequence[Tensor], mask: Tensor | None, clusters: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Change the views of a training batch.

        Args:
            views: V views (N, *shape_v).
            mask: (N, V) bool, which views are present; None: all. It stays as it is.
            clusters: (N,), as they are taught.
            generator: of random numbers, on the views' device.

        Returns:
            V views of the same shapes, in the same box.
        """


class GaussianNoise(Augmentation):
    """Adds noise, clipped to [0, 1], so that a student stays accurate once it is smoothed with the same noise.

    Source: Cohen et al., "Certified adversarial robustness via randomized smoothing", ICML 2019.

    Args:
        sigma: standard deviation, positive.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, sigma: float = 0.25) -> None:
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    def augment(
        self, views: Sequence[Tensor], mask: Tensor | None, clusters: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Change the views of a training batch; see :class:`Augmentation`."""
        noise = (own_rows(empty_batch(view).normal_(generator=generator)) for view in views)
        return tuple(torch.clamp(view + self.sigma * change, 0, 1) for view, change in zip(views, noise, strict=True))


class WithinCluster(Augmentation):
    """Takes views from other samples of the batch that are taught the same cluster, and mixes views of such samples.

    Views of one cluster go together in more ways than the data shows, and what lies between two samples of a cluster belongs to
    it. Robust training lacks data, and mixing samples helps: Rebuffi et al., "Data augmentation can improve
    robustness", NeurIPS 2021.

    Args:
        exchange: share of the samples' views that are another sample's, in [0, 1]; the first view stays.
        mix: largest share of another sample of the cluster in a view, in [0, 1]; each share is drawn uniformly below it.

    Raises:
        ValueError: a share that is none.
    """

    mixes = True

    def __init__(self, exchange: float = 1.0, mix: float = 0.5) -> None:
        if not (0 <= exchange <= 1 and 0 <= mix <= 1):
            raise ValueError(f"exchange and mix must be in [0, 1], got {exchange} and {mix}")
        self.exchange = exchange
        self.mix = mix

    def augment(
        self, views: Sequence[Tensor], mask: Tensor | None, clusters: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Change the views of a training batch; see :class:`Augmentation`."""
        everyone = gather_rows(clusters, always=True)
        changed = []
        for number, view in enumerate(views):
            there = None if mask is None else mask[:, number]
            if number > 0 and self.exchange > 0:
                other = self._other(view, there, everyone, generator)
                view = torch.where(_wide(_drawn(view, generator) < self.exchange, view), other, view)
            if self.mix > 0:
                other = self._other(view, there, everyone, generator)
                view = torch.lerp(view, other, _wide(self.mix * _drawn(view, generator), view))
            changed.append(view)
        return tuple(changed)

    @staticmethod
    def _other(view: Tensor, there: Tensor | None, everyone: Tensor, generator: torch.Generator) -> Tensor:
        """A view (N, ...) permuted at random within the clusters of the global batch; itself where not both samples have it."""
        draws = torch.rand(len(everyone), generator=generator, device=view.device, dtype=torch.float64)
        partner = torch.empty_like(everyone)
        partner[everyone.argsort(stable=True)] = (everyone + draws).argsort()
        own = own_rows(partner)
        other = gather_rows(view, always=True)[own]
        if there is None:
            return other
        both = there & gather_rows(there.to(view.dtype), always=True)[own].bool()
        return torch.where(_wide(both, view), other, view)


def _drawn(view: Tensor, generator: torch.Generator) -> Tensor:
    """A number in [0, 1) for each sample of a view (N, ...): (N,)."""
    return own_rows(empty_batch(view.flatten(1)[:, 0]).uniform_(generator=generator))


def _wide(values: Tensor, view: Tensor) -> Tensor:
    """Values (N,) of the samples of a view (N, ...), to broadcast."""
    return values.view(-1, *[1] * (view.dim() - 1))
