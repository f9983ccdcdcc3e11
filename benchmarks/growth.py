"""``python -m benchmarks.growth``: time and memory of a step as batch, views and clusters grow, with fitted exponents."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from ar_dmvc.clusterers import CoMVC
from ar_dmvc.clusterers.base import ClustererOutput
from benchmarks.feeding import _peak

FEATURES = 64
BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
VIEWS = (2, 4, 8, 12)
CLUSTERS = (10, 50, 100, 206)


def main() -> None:
    """Print how a CoMVC step on feature vectors, and its losses alone, grow."""
    print(f"CoMVC on views of {FEATURES} features: milliseconds and MB beyond start-up of a step; of its losses alone")
    for name, values, at in (
        ("batch size", BATCHES, lambda value: (value, 2, 10)),
        ("views", VIEWS, lambda value: (256, value, 10)),
        ("clusters", CLUSTERS, lambda value: (256, 2, value)),
    ):
        rows = [_measure(*at(value)) for value in values]
        for value, row in zip(values, rows, strict=True):
            print(f"  {name} {value}: step {row[0]:.1f} ms, {row[1]:.0f} MB; losses {row[2]:.2f} ms")
        exponents = [_exponent(values, [row[column] for row in rows]) for column in (0, 2)]
        print(f"  {name}: the upper half grows with exponent {exponents[0]:.2f}, losses alone {exponents[1]:.2f}")
    size = 16_384
    seconds, memory, _ = _measure(size, 2, 10, "losses")
    print(f"  losses of a batch of {size}, in blocks: {seconds / 1e3:.1f} s, {memory:.0f} MB beyond start-up")


def _exponent(values: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of the costs' logarithm over that of the values, upper half."""
    half = len(values) // 2
    return float(np.polyfit([math.log(v) for v in values[half:]], [math.log(c) for c in costs[half:]], 1)[0])


def _measure(batch: int, views: int, clusters: int, what: str = "step") -> tuple[float, float, float]:
    """Milliseconds and MB of a step or of the losses, and milliseconds of the losses, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", what, str(batch), str(views), str(clusters)]
    first, second, third = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return first, second, third


def _child(what: str, batch: int, views: int, clusters: int) -> None:
    torch.manual_seed(0)
    clusterer = CoMVC([(FEATURES,)] * views, clusters)
    optimizer = torch.optim.Adam(clusterer.parameters())
    batch_views = [torch.rand(batch, FEATURES) for _ in range(views)]
    latents = tuple(torch.rand(batch, 256, requires_grad=True) for _ in range(views))
    hidden = torch.rand(batch, 100, requires_grad=True)
    output = ClustererOutput(latents, hidden, hidden, torch.rand(batch, clusters, requires_grad=True).softmax(1).detach())
    before = _peak()

    def losses() -> None:
        sum(clusterer.losses(batch_views, output).values()).backward()

    def step() -> None:
        optimizer.zero_grad()
        sum(clusterer.losses(batch_views, clusterer(batch_views)).values()).backward()
        optimizer.step()

    repeats = 1 if what == "losses" else 7
    if what == "losses":
        seconds, memory = _best(losses, repeats), _peak() - before
        print(seconds * 1e3, memory / 1e6, seconds * 1e3)
        return
    seconds, memory = _best(step, repeats), _peak() - before
    print(seconds * 1e3, memory / 1e6, _best(losses, repeats) * 1e3)


def _best(action: object, repeats: int) -> float:
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
