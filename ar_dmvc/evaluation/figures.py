"""Pictures of attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ar_dmvc.attacks import Views

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def attack_figure(clean: Views, attacked: Views, samples: int = 6) -> Figure:
    """Clean view, perturbation and attacked view of a few samples, three rows a view.

    Images are beside each other; of feature vectors each is a line.

    Args:
        clean: V views (N, *shape_v) in [0, 1].
        attacked: the same, attacked.
        samples: how many to show, the first.
    """
    from matplotlib.figure import Figure

    count = min(samples, len(clean[0]))
    figure = Figure(figsize=(0.9 * count + 1.2, 2.8 * len(clean)))
    axes = figure.subplots(3 * len(clean), 1, gridspec_kw={"left": 0.12, "right": 0.99, "bottom": 0.01, "top": 0.99})
    rows = iter(axes)
    for number, (before, after) in enumerate(zip(clean, attacked, strict=True)):
        before, after = (view[:count].detach().float().cpu() for view in (before, after))
        change = after - before
        reach = max(float(change.abs().max()), 1e-12)
        for name, part, low, high in (
            ("clean", before, 0.0, 1.0),
            ("perturbation", change, -reach, reach),
            ("attacked", after, 0.0, 1.0),
        ):
            axis = next(rows)
            grey = "coolwarm" if name == "perturbation" else "gray"
            picture = _beside(torch.clamp((part - low) / (high - low), 0, 1))
            axis.imshow(picture.numpy(), cmap=grey, vmin=0, vmax=1, aspect="equal" if part.dim() == 4 else "auto")
            axis.set_ylabel(f"view {number}\n{name}", fontsize=7)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def projection_figure(clean: Tensor, attacked: Tensor, clusters: Tensor, moved: Tensor, name: str) -> Figure:
    """Fused representations in the plane of most variance of the clean ones, clean and attacked.

    Args:
        clean: (N, D); what is not finite is drawn as zero.
        attacked: (N, D), the same.
        clusters: of the clean samples, (N,), which colour both.
        moved: which samples the attack moves to another cluster, (N,): circled.
        name: of the attack.
    """
    from matplotlib.figure import Figure

    clean, attacked = (_drawable(part) for part in (clean, attacked))
    clusters, moved = clusters.cpu(), moved.cpu()
    centre = clean.mean(0)
    directions = torch.linalg.svd(clean - centre, full_matrices=False).Vh[:2].T
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, part, title in zip(axes, (clean, attacked), ("clean", f"attacked: {name}"), strict=True):
        points = (part - centre) @ directions
        axis.scatter(*points.T.numpy(), c=clusters.numpy(), cmap="tab10" if int(clusters.max()) < 10 else "turbo", s=9)
        axis.set(title=title, xticks=[], yticks=[])
    there = ((attacked - centre) @ directions)[moved]
    axes[1].scatter(*there.T.numpy(), s=40, facecolors="none", edgecolors="black", linewidths=0.6)
    axes[1].set_xlabel("circled: moved to another cluster; colours: clean clusters", fontsize=7)
    return figure


def _drawable(part: Tensor) -> Tensor:
    """Points (N, D) as finite numbers, D at least two."""
    finite = torch.nan_to_num(part.detach().float().cpu(), posinf=0.0, neginf=0.0)
    return torch.nn.functional.pad(finite, (0, max(0, 2 - finite.shape[1])))


def _beside(part: Tensor) -> Tensor:
    """Images (N, C, H, W) in a row, (H, N * (W + 1) - 1, C) or without C where that is one; vectors (N, D) as they are."""
    if part.dim() == 2:
        return part
    between = torch.nan if part.shape[1] == 1 else 1.0  # which stays blank
    framed = torch.nn.functional.pad(part, (0, 1), value=between)
    return framed.permute(2, 0, 3, 1).flatten(1, 2)[:, :-1].squeeze(-1)
