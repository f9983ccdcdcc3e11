"""Scaling of views, fitted on the training part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ar_dmvc.errors import DataError

ScalingName = Literal["min_max", "standardise", "unit_length", "none"]


class Scaling(NamedTuple):
    """``(x - offset) * factor``, then rows to length one or values into [0, 1], where asked.

    Attributes:
        offset: a number or one for each feature, of the view's shape.
        factor: the same.
        unit_length: divide each sample by its Euclidean length.
        clip: into [0, 1]: what lies beyond the training part's range.
    """

    offset: Tensor
    factor: Tensor
    unit_length: bool = False
    clip: bool = False

    def __call__(self, view: Tensor) -> Tensor:
        """Scale samples (N, *shape) of any number type to float32."""
        scaled = (view.to(torch.float32) - self.offset.to(view.device)) * self.factor.to(view.device)
        if self.unit_length:
            lengths = torch.linalg.vector_norm(scaled.flatten(1), dim=1).clamp(min=torch.finfo(torch.float32).tiny)
            scaled = scaled / lengths.view(-1, *[1] * (scaled.dim() - 1))
        return scaled.clamp(0, 1) if self.clip else scaled

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return self._asdict()


def pixels() -> Scaling:
    """Bytes to [0, 1]."""
    return Scaling(torch.zeros(()), torch.tensor(1 / 255), clip=True)


def fit_scaling(name: ScalingName, pieces: Iterable[Tensor], source: str, keep_constant: bool = False) -> Scaling:
    """Fit a scaling on one view of the training part.

    Args:
        name: ``min_max`` brings each feature to [0, 1], ``standardise`` to mean zero and variance one, ``unit_length`` each
            sample to length one; ``none`` leaves all as it is.
        pieces: the view's samples (N_i, *shape), piece by piece; at least one.
        source: of the view, for messages.
        keep_constant: take features that are constant on the training part to zero.

    Raises:
        DataError: features are constant, and were not to be kept.
    """
    if name in ("none", "unit_length"):
        return Scaling(torch.zeros(()), torch.ones(()), unit_length=name == "unit_length")
    range_, moments = _statistics(pieces)
    constant = range_.low == range_.high
    if constant.any() and not keep_constant:
        raise DataError(
            f"{source}: {int(constant.sum())} of {constant.numel()} features are constant on the training part, the first is "
            f"number {int(constant.flatten().nonzero()[0])}; drop them, change data.scaling, or set data.keep_constant=true"
        )
    if name == "min_max":
        offset, spread = range_.low, range_.high - range_.low
    else:
        offset, spread = moments.mean, moments.variance.sqrt()
    factor = torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, spread))
    return Scaling(offset.float(), factor.float(), clip=name == "min_max")


class _Range(NamedTuple):
    low: Tensor
    high: Tensor


class _Moments(NamedTuple):
    mean: Tensor
    variance: Tensor


def _statistics(pieces: Iterable[Tensor]) -> tuple[_Range, _Moments]:
    """Range, mean and variance of each feature, in float64, with the moments of pieces combined (Chan et al., 1979)."""
    count, low, high, mean, deviation = 0, None, None, torch.zeros(()), torch.zeros(())
    for piece in pieces:
        values = piece.double()
        low = values.amin(0) if low is None else torch.minimum(low, values.amin(0))
        high = values.amax(0) if high is None else torch.maximum(high, values.amax(0))
        here, own = len(values), values.mean(0)
        shift = own - mean
        deviation = deviation + (values - own).square().sum(0) + shift.square() * count * here / (count + here)
        mean = mean + shift * here / (count + here)
        count += here
    assert low is not None
    assert high is not None
    return _Range(low, high), _Moments(mean, deviation / count)
