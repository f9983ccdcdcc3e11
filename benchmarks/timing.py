"""Timing of alternatives, taken in turn so that a noisy machine treats them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Action = Callable[[], object]


def alternate(actions: Mapping[str, Action], rounds: int = 9) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one round of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for round_number in range(rounds + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> tuple[float, float, float]:
    """Median, lowest and highest ratio of two actions over the rounds."""
    ratios = [one / other for one, other in zip(seconds[slow], seconds[fast], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def matrix_multiply_rate(size: int = 2048) -> float:
    """Floating-point operations a second of this machine's own matrix multiplication, float32, the best of several."""
    matrix = torch.rand(size, size)
    seconds = alternate({"multiply": lambda: matrix @ matrix}, rounds=7)["multiply"]
    return 2 * size**3 / min(seconds)
