"""Steps of one process alone, and of several at once on one device, each with a clusterer of its own.

python -m benchmarks.several --device cuda --processes 9
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
from typing import Any

import torch

from benchmarks.training import RandomImages, modules, ours

BATCH_SIZE, STEPS = 100, 10


def measure(kind: str, count: int, settings: dict[str, Any], start: Any, results: Any) -> None:
    """Put the median seconds of a step into ``results``, of ``count`` steps after all have come to ``start``."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    data = RandomImages(BATCH_SIZE * (count + 1), batch_size=BATCH_SIZE, on_device=True)
    ours(modules(STEPS, {}, {})[kind], data, 1, **settings)
    start.wait()
    results.put(statistics.median(ours(modules(STEPS, {}, {})[kind], data, count, **settings)))


def at_once(processes: int, kind: str, count: int, settings: dict[str, Any]) -> float:
    """Median seconds of a step where so many run at once."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    several = [context.Process(target=measure, args=(kind, count, settings, start, results)) for _ in range(processes)]
    for process in several:
        process.start()
    times = [results.get() for _ in several]
    for process in several:
        process.join()
    return statistics.median(times)


def main() -> None:
    """Compare on a device of choice."""
    parser = argparse.ArgumentParser(prog="benchmarks.several", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    settings = {"accelerator": "gpu" if given.device == "cuda" else "cpu", "devices": 1}
    for kind in ("defender", "attacker"):
        alone, shared = (at_once(number, kind, given.count, settings) for number in (1, given.processes))
        print(
            f"{kind}: {alone * 1e3:.0f} ms a step alone, {shared * 1e3:.0f} ms where {given.processes} run at once, "
            f"which together get {given.processes * alone / shared:.1f} times as much done"
        )


if __name__ == "__main__":
    main()
