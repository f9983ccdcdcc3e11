"""What data modules hand out and everything else takes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class MultiViewBatch(NamedTuple):
    """A batch of samples, each seen in V views.

    Attributes:
        views: V tensors, (N, *shape_v), float32, in [0, 1].
        labels: (N,) int64, or None where there are none; only metrics may read them.
        index: (N,) int64, position in the data set.
        mask: (N, V) bool, which views are present; None: all.
    """

    views: tuple[Tensor, ...]
    labels: Tensor | None
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a batch
    mask: Tensor | None = None
