"""A clusterer smoothed with noise: its output for a sample is the mean of its outputs for noisy copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput
from ar_dmvc.seeding import torch_generator

_LARGEST = 4096


class Smoothed(Clusterer):
    """A trained clusterer behind Gaussian noise, new in each pass, which attacks average over as well.

    Each view of a copy gets noise and is clipped to [0, 1]. Assignments, latents, fusion and hidden representation are means
    over copies.

    Source: Cohen et al., "Certified adversarial robustness via randomized smoothing", ICML 2019; with means of assignments in
    place of votes, Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers", NeurIPS 2019.

    Args:
        clusterer: the clusterer, which stays in evaluation mode.
        sigma: standard deviation of the noise, positive.
        draws: copies of each sample in a pass, at least one.
        seed: of the noise.

    Raises:
        ValueError: a value out of range.
    """

    is_stochastic = True

    def __init__(self, clusterer: Clusterer, sigma: float, draws: int = 16, seed: int = 0) -> None:
        super().__init__(clusterer.view_shapes, clusterer.num_clusters)
        if not 0 < sigma < math.inf or draws < 1:
            raise ValueError(f"sigma must be positive and finite, and draws at least 1, got {sigma} and {draws}")
        self.clusterer = clusterer.eval()
        self.sigma = sigma
        self.draws = draws
        self.seed = seed
        self.takes_incomplete = clusterer.takes_incomplete
        self.aligns_contrastively = clusterer.aligns_contrastively
        self._place = (0, 0)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the clusterer stays in evaluation mode."""
        super().train(mode)
        self.clusterer.eval()
        return self

    def reseed(self, position: int) -> None:
        """Restart the noise at a place that seed and ``position`` (a batch, say) name."""
        self._place = (position, 0)

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster noisy copies of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all."""
        position, passes = self._place
        self._place = (position, passes + 1)
        generator = torch_generator(views[0].device, self.seed, position, passes)
        rows, total, left = len(views[0]), None, self.draws
        while left > 0:
            copies = min(left, max(1, _LARGEST // max(1, rows)))
            noisy = noisy_copies(views, copies, self.sigma, generator)
            output = self.clusterer.cluster(noisy, None if mask is None else mask.repeat(copies, 1))
            parts = [
                _sum_of_copies(part, copies) for part in (*output.latents, output.fused, output.hidden, output.assignments)
            ]
            total = parts if total is None else [one + other for one, other in zip(total, parts, strict=True)]
            left -= copies
        assert total is not None
        *latents, fused, hidden, assignments = (part / self.draws for part in total)
        return ClustererOutput(tuple(latents), fused, hidden, assignments, {} if mask is None else {"mask": (mask,)})

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The loss terms of the clusterer."""
        return self.clusterer.losses(views, output)


class FixedNoise(Smoothed):
    """A :class:`Smoothed` one with noise that is drawn once, for every sample and pass the same: its output repeats itself.

    All copies of a batch go through the clusterer at once.

    Args: see :class:`Smoothed`.
    """

    is_stochastic = False

    def __init__(self, clusterer: Clusterer, sigma: float, draws: int = 16, seed: int = 0) -> None:
        super().__init__(clusterer, sigma, draws, seed)
        generator = torch_generator(torch.device("cpu"), seed)
        for number, shape in enumerate(self.view_shapes):
            self.register_buffer(f"noise_{number}", torch.empty(draws, *shape).normal_(generator=generator))

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster noisy copies of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all."""
        noisy = [
            torch.clamp(view[:, None] + self.sigma * self.get_buffer(f"noise_{number}"), 0, 1).flatten(0, 1)
            for number, view in enumerate(views)
        ]
        output = self.clusterer.cluster(noisy, None if mask is None else mask.repeat_interleave(self.draws, 0))
        *latents, fused, hidden, assignments = (
            part.view(-1, self.draws, *part.shape[1:]).mean(1)
            for part in (*output.latents, output.fused, output.hidden, output.assignments)
        )
        return ClustererOutput(tuple(latents), fused, hidden, assignments, {} if mask is None else {"mask": (mask,)})


def noisy_copies(views: Sequence[Tensor], copies: int, sigma: float, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Copies of V views (N, *shape_v), all samples once, then again: (copies * N, *shape_v), with noise, clipped to [0, 1]."""
    noisy = []
    for view in views:
        copied = view.repeat(copies, *[1] * (view.dim() - 1))
        noise = torch.empty_like(copied).normal_(generator=generator)
        noisy.append(torch.clamp(copied + sigma * noise, 0, 1))
    return tuple(noisy)


def _sum_of_copies(part: Tensor, copies: int) -> Tensor:
    return part.view(copies, -1, *part.shape[1:]).sum(0)
