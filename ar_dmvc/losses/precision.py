"""Losses in full precision, whatever the precision of training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_full_precision(loss: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function compute in float32 at least, under mixed precision too: distances, logarithms and sums need it."""

    @functools.wraps(loss)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        device = next((tensor.device.type for tensor in _tensors([*args, *kwargs.values()])), "cpu")
        with torch.autocast(device, enabled=False):
            return loss(*map(full_precision, args), **{name: full_precision(value) for name, value in kwargs.items()})

    return wrapper


def full_precision(value: Any) -> Any:
    """A tensor, or any sequence of some, in float32 where it was in half precision."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(full_precision, value))
    return [full_precision(item) for item in value] if isinstance(value, (list, tuple)) else value


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
