"""Generators of random numbers: each follows from a seed and a place, and none is the global one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def numpy_generator(seed: int, *place: int) -> np.random.Generator:
    """A generator that a seed names, and where there are several of one seed a place (an epoch, say); alike everywhere."""
    entropy: Any = [seed, *place] if place else seed
    return np.random.default_rng(entropy)


def torch_generator(device: torch.device, seed: int, *place: int) -> torch.Generator:
    """The same for torch, on a device."""
    state = np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0] >> 1))
