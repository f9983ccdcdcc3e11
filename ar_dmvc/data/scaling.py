"""Scaling of views, fitted on the training part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ar_dmvc.errors import DataError

ScalingName = Literal["min_max", "standardise", "unit_length", "none"]

_ROUGH = 1e-4
"""Of a feature's spread, what rounding to single precision may change unnoticed."""
_TOO_ROUGH = 1e-2
"""What it changes for certain to be noticed."""
_FAR = 10.0
"""Standard deviations from the mean that most values of a standardised view cannot be at."""
_SLACK = 1e-3
"""Of a range, what rounding may lead beyond it."""
_ALIKE = 1e-3
"""Of a feature's range, by which two scalings that are the same may differ."""
_FEW = 50
"""Fewer samples do not show how widely a view's features spread."""


class Scaling(NamedTuple):
    """``(x - offset) * factor``, then rows to length one or values into [0, 1], where asked.

    It computes in the precision of its constants: what is fitted is float64, so that features that vary little around a large
    number, as time stamps do, keep their digits.

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
        precision = torch.float32 if view.device.type == "mps" else self.offset.dtype  # which has no other
        offset, factor = (constant.to(view.device, precision) for constant in (self.offset, self.factor))
        scaled = ((view.to(precision) - offset) * factor).to(torch.float32)
        if self.unit_length:
            lengths = torch.linalg.vector_norm(scaled.flatten(1), dim=1).clamp(min=torch.finfo(torch.float32).tiny)
            scaled = scaled / lengths.view(-1, *[1] * (scaled.dim() - 1))
        return scaled.clamp(0, 1) if self.clip else scaled

    @property
    def name(self) -> ScalingName:
        """What it is called in settings."""
        if self.unit_length:
            return "unit_length"
        if self.offset.dim() == 0:
            return "none"
        return "min_max" if self.clip else "standardise"

    def is_like(self, other: Scaling | None) -> bool:
        """Whether another scaling, or None, scales alike: to a thousandth of what features span."""
        if other is None or self.name != other.name:
            return self.name == "none" and other is None
        scales = self.factor.where(self.factor != 0, 1.0)
        near = ((self.offset - other.offset).abs() * scales.abs()).max() < _ALIKE
        return bool(near and ((self.factor - other.factor).abs() < _ALIKE * scales.abs()).all())

    @property
    def needs_double(self) -> bool:
        """Whether raw values in single precision are too rough for it."""
        return self._roughness() > _ROUGH

    def _roughness(self) -> float:
        """What rounding raw values to single precision changes of the scaled ones, at most."""
        return float((self.offset.abs() * self.factor.abs()).max()) * torch.finfo(torch.float32).eps

    def doubt(self, view: Tensor) -> str | None:
        """Why samples (N, *shape) do not look like raw ones of the data that it was fitted on; None: they may be.

        Nothing can be said of those whose raw and scaled values are alike.
        """
        used = self.factor != 0
        if self.name in ("none", "unit_length") or len(view) == 0 or not used.any():
            return None
        if view.dtype == torch.float32 and self._roughness() > _TOO_ROUGH:
            return "it is in single precision, in which its values are too rough for how it was scaled in training"
        raw, scaled = view[:, used], self._replace(clip=False)(view)[:, used]
        if self.clip:
            outside, close, looks_scaled = (
                (scaled < -_SLACK) | (scaled > 1 + _SLACK),
                0.1,
                (raw >= 0).all() and (raw <= 1).all(),
            )
        else:
            outside, close, looks_scaled = scaled.abs() > _FAR, 0.5, (raw.abs() < _FAR).all()
        if outside.sum() * 2 > outside.numel():
            return "most of its values lie outside of the range of those that it was scaled for in training"
        if len(view) >= _FEW and looks_scaled and (scaled.amax(0) - scaled.amin(0)).max() < close:
            return "its samples differ by next to nothing of the range that it was scaled for in training"
        return None

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
        DataError: features are constant, and were not to be kept; or there are no samples.
    """
    if name in ("none", "unit_length"):
        return Scaling(torch.zeros(()), torch.ones(()), unit_length=name == "unit_length")
    range_, moments = _statistics(pieces, source)
    constant = range_.high - range_.low < torch.finfo(torch.float64).tiny
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
    return Scaling(offset, factor, clip=name == "min_max")


def first_doubt(scalings: Iterable[Scaling] | None, views: Sequence[Tensor]) -> str | None:
    """What makes the first views (N, *shape_v) doubtful that do not look raw, see :meth:`Scaling.doubt`; None: nothing.

    Without scalings: that do not look as if they needed none.
    """
    if scalings is None:
        outside = [number for number, view in enumerate(views) if ((view < -_SLACK) | (view > 1 + _SLACK)).any()]
        return (
            f"view {outside[0]} has values outside of [0, 1], which views that are trained on unscaled keep to"
            if outside
            else None
        )
    for number, (scaling, view) in enumerate(zip(scalings, views, strict=True)):
        if doubt := scaling.doubt(view):
            return f"view {number}: {doubt}; is it raw?"
    return None


def far_from_standardised(view: Tensor) -> bool:
    """Whether most values of a view (N, *shape) cannot be those of a standardised one."""
    return bool((view.abs() > _FAR).sum() * 2 > view.numel())


def as_numbers(view: Any) -> Tensor:
    """A tensor of an array, data frame or tensor, on the same memory where torch has its type, wide enough for its values.

    Raises:
        TypeError: it holds no real numbers.
    """
    if isinstance(view, Tensor):
        return view
    array = np.asarray(view)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"views hold real numbers, got an array of {array.dtype}")
    if array.dtype == np.uint8 or (array.dtype.isnative and array.dtype.kind == "f" and array.dtype.itemsize in (4, 8)):
        return torch.from_numpy(array)
    return torch.from_numpy(array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64))


class _Range(NamedTuple):
    low: Tensor
    high: Tensor


class _Moments(NamedTuple):
    mean: Tensor
    variance: Tensor


def _statistics(pieces: Iterable[Tensor], source: str) -> tuple[_Range, _Moments]:
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
    if low is None or high is None:
        raise DataError(f"{source}: no sample of the training part has it")
    return _Range(low, high), _Moments(mean, deviation / count)
