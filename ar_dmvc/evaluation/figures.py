"""Pictures of attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ar_dmvc.attacks import Views

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def attack_figure(clean: Views, attacked: Views, samples: int = 6) -> Figure:
    """Clean view, perturbation and attacked view of a few samples; a block of three rows a view, a column a sample.

    Args:
        clean: V views (N, *shape_v) in [0, 1].
        attacked: the same, attacked.
        samples: how many to show, the first.
    """
    from matplotlib.figure import Figure

    count = min(samples, len(clean[0]))
    figure = Figure(figsize=(0.9 * count + 1.2, 2.8 * len(clean)), layout="constrained")
    axes = figure.subplots(3 * len(clean), count, squeeze=False)
    for view, (before, after) in enumerate(zip(clean, attacked, strict=True)):
        change = after - before
        reach = max(float(change.abs().max()), 1e-12)
        rows = (("clean", before, 0.0), ("perturbation", change, -reach), ("attacked", after, 0.0))
        for offset, (name, images, low) in enumerate(rows):
            high = reach if name == "perturbation" else 1.0
            for column in range(count):
                axis = axes[3 * view + offset, column]
                _draw(axis, images[column], low, high)
                if column == 0:
                    axis.set_ylabel(f"view {view}\n{name}", fontsize=7)
    return figure


def _draw(axis: object, sample: Tensor, low: float, high: float) -> None:
    """Draw an image, or a feature vector as a strip."""
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    sample = sample.detach().float().cpu()
    image = sample.movedim(0, -1).squeeze(-1) if sample.dim() == 3 else sample[None]
    if image.dim() == 3:
        image = torch.clamp((image - low) / (high - low), 0, 1)
        axis.imshow(image.numpy(), aspect="equal")
    else:
        diverging = low < 0
        axis.imshow(image.numpy(), cmap="coolwarm" if diverging else "gray", vmin=low, vmax=high, aspect="auto")
    axis.set_xticks([])
    axis.set_yticks([])
