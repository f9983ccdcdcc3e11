"""What a data set is, at a glance: numbers and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.networks import Shape, is_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS = ("victim", "attacker", "all")
_FEW = 1000


class ViewSummary(NamedTuple):
    """One view: its shape, how it is stored, the range of its values in batches, and how many samples have it."""

    shape: Shape
    stored_as: str
    low: float
    high: float
    there: int


class DataSummary(NamedTuple):
    """A data set.

    Attributes:
        samples: how many there are.
        views: each view; ranges are of the first thousand samples.
        parts: number of samples of each partition.
        classes: samples by label; empty without labels.
        num_clusters: K; None: neither given nor known.
        epsilon: the budget of attacks.
        bytes: of all views, in memory or in the files that they are mapped from.
        mapped: whether they are.
    """

    samples: int
    views: tuple[ViewSummary, ...]
    parts: Mapping[str, int]
    classes: Mapping[int, int]
    num_clusters: int | None
    epsilon: float
    bytes: int
    mapped: bool


def summarise(data: MultiViewDataModule) -> DataSummary:
    """Load a data set and say what it is.

    Raises:
        DataError: it is missing or damaged.
    """
    whole = data.data
    samples = len(whole.views[0])
    batch = data.subset("all").batch(torch.arange(min(samples, _FEW)))
    mask = torch.ones(samples, len(whole.views), dtype=torch.bool) if whole.mask is None else whole.mask
    views = tuple(
        ViewSummary(shape, str(stored.dtype).removeprefix("torch."), float(view.min()), float(view.max()), int(there.sum()))
        for shape, stored, view, there in zip(data.view_shapes, whole.views, batch.views, mask.unbind(1), strict=True)
    )
    values, counts = np.unique([] if whole.labels is None else whole.labels.numpy(), return_counts=True)
    return DataSummary(
        samples=samples,
        views=views,
        parts={part: len(data.halves(samples, part)) for part in _PARTS},  # type: ignore[arg-type]
        classes=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        num_clusters=data.known_clusters,
        epsilon=data.epsilon,
        bytes=sum(view.nbytes for view in whole.views),
        mapped=whole.files is not None,
    )


def preview(data: MultiViewDataModule, samples: int = 8) -> Figure:
    """Draw a few samples, a row a view: images as such, features as bars.

    Raises:
        DataError: the data is missing or damaged.
    """
    from matplotlib.figure import Figure

    whole = len(data.data.views[0])
    shown = min(samples, whole)
    batch = data.subset("victim").batch(torch.arange(min(shown, len(data.subset("victim")))))
    shown = len(batch.index)
    figure = Figure(figsize=(1.3 * shown + 0.6, 1.4 * len(batch.views)), layout="constrained")
    axes = figure.subplots(len(batch.views), shown, squeeze=False)
    for row, view in enumerate(batch.views):
        for column in range(shown):
            axis = axes[row][column]
            _draw(axis, view[column])
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                label = "" if batch.labels is None else f" ({int(batch.labels[column])})"
                axis.set_title(f"{int(batch.index[column])}{label}", fontsize=8)
        axes[row][0].set_ylabel(f"view {row}", fontsize=8)
    return figure


def _draw(axis: object, view: Tensor) -> None:
    if not is_image(tuple(view.shape)):
        axis.bar(range(len(view)), view.numpy(), width=1.0)  # type: ignore[attr-defined]
        return
    picture = view.permute(1, 2, 0) if len(view) == 3 else view[0]
    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)  # type: ignore[attr-defined]
