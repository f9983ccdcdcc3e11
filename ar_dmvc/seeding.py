"""Generators of random numbers, each from a seed and a place, and none the global one, which can be kept as it was."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def numpy_generator(seed: int, *place: int) -> np.random.Generator:
    """A generator fixed by a seed and, where a seed has several, by a place (an epoch, say); the same on all platforms."""
    entropy: Any = [seed, *place] if place else seed
    return np.random.default_rng(entropy)


def torch_generator(device: torch.device, seed: int, *place: int) -> torch.Generator:
    """The same for torch, on a device."""
    state = np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


@contextmanager
def single_precision() -> Iterator[None]:
    """Have tensors made in float32, which networks are in, where another default has been set for all of PyTorch."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def global_state_kept() -> Iterator[None]:
    """Training seeds the global generators, and says so in the environment; afterwards all are as they were.

    Meanwhile tensors are made in single precision, whatever the default is.
    """
    python, numpy = random.getstate(), np.random.get_state()
    variables = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), single_precision():
        try:
            yield
        finally:
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            random.setstate(python)
            np.random.set_state(numpy)
