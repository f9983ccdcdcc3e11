"""Clusterers that are simple enough to know what is right."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ar_dmvc.clusterers import ClustererOutput, SiMVC

Views = Sequence[Tensor]


class Mine(SiMVC):
    """A class of one's own."""


class Linear(SiMVC):
    """Four clusters of feature vectors, by random sums of all values."""

    scale = 5.0

    def see(self, view: Tensor) -> Tensor:
        """What it makes of a view before it sums."""
        return view - 0.5

    def forward(self, views: Views, mask: Tensor | None = None) -> ClustererOutput:
        latents = tuple(map(self.see, views))
        features = latents[0].shape[1]
        weights = torch.randn(features, 4, generator=torch.Generator().manual_seed(0)).to(latents[0]) / features**0.5
        hidden = torch.stack(latents).sum(0) @ weights
        return ClustererOutput(latents, hidden, hidden, (self.scale * hidden).softmax(1))


class Quantised(Linear):
    """The same of views in eight steps: gradients are zero everywhere."""

    def see(self, view: Tensor) -> Tensor:
        return (8 * view).round() / 8 - 0.5


class Misleading(Linear):
    """The same with a gradient that points the other way."""

    def see(self, view: Tensor) -> Tensor:
        return 2 * view.detach() - view - 0.5


class Unmoved(Linear):
    """The same by what hardly depends on the views' values: it holds at any budget."""

    def see(self, view: Tensor) -> Tensor:
        return torch.linspace(-0.5, 0.5, view.shape[1]).expand_as(view) + 1e-4 * view


class Fragile(SiMVC):
    """A SiMVC that diverges from seed 0."""

    def losses(self, views: Views, output: ClustererOutput) -> dict[str, Tensor]:
        factor = float("nan") if torch.initial_seed() == 0 else 1.0
        return {name: factor * loss for name, loss in super().losses(views, output).items()}


class Random(Linear):
    """The same with noise that is another at each call."""

    calls = 0

    def see(self, view: Tensor) -> Tensor:
        self.calls += 1
        noise = torch.randn(view.shape, generator=torch.Generator().manual_seed(self.calls))
        return view - 0.5 + 0.1 * noise
