"""Generators of random numbers: each follows from a seed and a place, and none is the global one."""

from __future__ import annotations

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
