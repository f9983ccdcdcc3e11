"""Pictures of attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ar_dmvc.attacks import Views

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EMBEDDED = 200
"""Samples in a t-SNE, the first, each clean and attacked: about a second."""
_ITERATIONS = 500


def attack_figure(clean: Views, attacked: Views, samples: int = 6, clusters: tuple[Tensor, Tensor] | None = None) -> Figure:
    """Clean view, perturbation and attacked view of a few samples, three rows a view.

    Images are beside each other; of feature vectors each is a line. Perturbations go from blue (lowest) to red (highest), as
    strong as the largest of them, which is said. Beside each sample stands its cluster, and where to it is moved.

    Args:
        clean: V views (N, *shape_v) in [0, 1].
        attacked: the same, attacked.
        samples: how many to show, the first.
        clusters: (N,) integers each, of the clean and of the attacked samples; None: they are not shown.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    count = min(samples, len(clean[0]))
    figure = Figure(figsize=(0.9 * count + 1.2, 2.8 * len(clean)))
    room = {"right": 0.99, "top": 0.99} if clusters is None else {"right": 0.91, "top": 1 - 0.1 / len(clean)}
    axes = figure.subplots(len(clean), 1, squeeze=False, gridspec_kw={"left": 0.15, "bottom": 0.01, **room})
    for number, (axis, before, after) in enumerate(zip(axes[:, 0], clean, attacked, strict=True)):
        before, after = (view[:count].detach().float().cpu() for view in (before, after))
        change = after - before
        reach = float(change.abs().max())
        strength = change / max(reach, 1e-12) / 2 + 0.5
        shades = torch.from_numpy(
            colormaps["coolwarm"](strength.mean(1).numpy() if change.dim() == 4 else strength.numpy())
        ).float()
        shown = shades[..., :3].permute(0, 3, 1, 2) if change.dim() == 4 else shades[..., :3]
        rows = [_beside(part) for part in (before.clamp(0, 1), shown, after.clamp(0, 1))]
        height = len(rows[0])
        gap = max(1, height // 20)
        picture = torch.cat([torch.nn.functional.pad(row, (0, 0, 0, 0, 0, gap), value=1.0) for row in rows])[:-gap]
        axis.imshow(picture.numpy(), aspect="equal" if before.dim() == 4 else "auto", interpolation="nearest")
        names = ("clean", f"perturbation\n(to {reach:.2g})", "attacked")
        axis.set_yticks([row * (height + gap) + height / 2 - 0.5 for row in range(3)], names, fontsize=7)
        axis.set_ylabel(f"view {number}", fontsize=8)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        if clusters is not None and not (before.dim() == 4 and number):
            words = [_moves(*pair) for pair in zip(*(part[:count].tolist() for part in clusters), strict=True)]
            _name_clusters(axis, words, before.shape[-1] + 1 if before.dim() == 4 else 0, 2 * (height + gap))
    return figure


def _moves(before: int, after: int) -> str:
    """A sample's cluster, and where to it was moved; what no attack can name, a broken output, is a dash."""
    first, then = ("–" if cluster < 0 else str(cluster) for cluster in (before, after))
    return first if first == then else f"{first} → {then}"


def _name_clusters(axis: Axes, words: Sequence[str], step: int, line: int) -> None:
    """Words above images that are so many pixels apart; with none, beside lines, which begin at that of the given number."""
    for number, word in enumerate(words):
        style: dict[str, Any] = {"fontsize": 7, "color": "firebrick" if "→" in word else "black", "clip_on": False}
        if step:
            axis.text((number + 0.5) * step - 1, -1.5, word, ha="center", va="bottom", **style)
        else:
            axis.text(1.01, line + number, word, va="center", transform=axis.get_yaxis_transform(), **style)


def projection_figure(clean: Tensor, attacked: Tensor, clusters: Tensor, moved: Tensor, name: str) -> Figure:
    """Fused representations in a plane, clean and attacked: by PCA of the clean ones, and by t-SNE of both together.

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
    colours = {"c": clusters.numpy(), "cmap": "tab10" if int(clusters.max()) < 10 else "turbo"}
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharex="row", sharey="row")
    for row, method, (before, after) in zip(
        axes, ("PCA", "t-SNE"), (_pca(clean, attacked), _tsne(clean, attacked)), strict=True
    ):
        for axis, points, title in zip(row, (before, after), ("clean", f"attacked: {name}"), strict=True):
            axis.scatter(*points.T, s=9, **{**colours, "c": colours["c"][: len(points)]})
            axis.set(title=f"{title} ({method})", xticks=[], yticks=[])
        row[1].scatter(*after[moved[: len(after)].numpy()].T, s=40, facecolors="none", edgecolors="black", linewidths=0.6)
    axes[1, 1].set_xlabel("circled: moved to another cluster; colours: clean clusters", fontsize=7)
    return figure


def _pca(clean: Tensor, attacked: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, D) in the plane of most variance of the clean ones, (N, 2) each."""
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(clean.numpy())
    return pca.transform(clean.numpy()), pca.transform(attacked.numpy())


def _tsne(clean: Tensor, attacked: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The first points (N, D), both kinds in one embedding, (n, 2) each."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    both = torch.cat([clean[:_EMBEDDED], attacked[:_EMBEDDED]]).numpy()
    start = PCA(2, svd_solver="full").fit_transform(both)  # as init="pca", but for points that are all the same
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(both) - 1) / 3)
    embedded = TSNE(perplexity=perplexity, init=start, random_state=0, max_iter=_ITERATIONS).fit_transform(both)
    return embedded[: len(both) // 2], embedded[len(both) // 2 :]


def _drawable(part: Tensor) -> Tensor:
    """Points (N, D) as finite numbers, D at least two."""
    finite = torch.nan_to_num(part.detach().float().cpu(), posinf=0.0, neginf=0.0)
    return torch.nn.functional.pad(finite, (0, max(0, 2 - finite.shape[1])))


def _beside(part: Tensor) -> Tensor:
    """Images (N, C, H, W) in a row, (H, N * (W + 1) - 1, 3); vectors (N, D) or (N, D, 3) below each other, (N, D, 3)."""
    if part.dim() < 4:
        return part if part.dim() == 3 else part[..., None].expand(-1, -1, 3)
    coloured = part if part.shape[1] == 3 else part.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    framed = torch.nn.functional.pad(coloured, (0, 1), value=1.0)
    return framed.permute(2, 0, 3, 1).flatten(1, 2)[:, :-1]
