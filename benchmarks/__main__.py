"""``python -m benchmarks``: crafting and feeding against the plain way, and against what the machine can do."""

from __future__ import annotations

import argparse
import logging

import torch
from torch.utils.flop_counter import FlopCounterMode

from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import CoMVC
from benchmarks import feeding, training
from benchmarks.plain import craft_plainly, plain_layers
from benchmarks.timing import alternate, matrix_multiply_rate, ratio

EPSILON, STEP_SIZE = 0.2, 0.02


def crafting(batch_size: int, steps: int, rounds: int) -> None:
    """PGD on the contrastive loss, CoMVC with cnn_small, two 28x28 views, in training mode as a defender uses it."""
    torch.manual_seed(0)
    views = [torch.rand(batch_size, 1, 28, 28) for _ in range(2)]
    clusterer = CoMVC([(1, 28, 28)] * 2, num_clusters=10).train()
    plain = plain_layers(CoMVC([(1, 28, 28)] * 2, num_clusters=10)).train()
    attack = PGD("contrastive_alignment", EPSILON, STEP_SIZE, steps)
    start = attack.random_start(views)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        clusterer(views)
    # The gradient with respect to the views costs what the forward pass does, that of the parameters is not taken.
    operations = 2 * steps * counter.get_total_flops()
    seconds = alternate(
        {
            "plain": lambda: craft_plainly(plain, views, start, EPSILON, STEP_SIZE, steps),
            "ar_dmvc": lambda: attack(clusterer, views, start),
        },
        rounds,
    )
    median, low, high = ratio(seconds, "plain", "ar_dmvc")
    rate = matrix_multiply_rate()
    share = operations / min(seconds["ar_dmvc"]) / rate
    print(f"PGD crafting step, batch {batch_size}, cnn_small, two 28x28 views, {torch.get_num_threads()} threads")
    print(f"  plain way / ar_dmvc: {median:.2f} times as fast (median of {rounds} rounds, {low:.2f} to {high:.2f})")
    print(f"  operations a step:   {operations / steps / 1e9:.1f} GFLOP")
    print(f"  share of the machine's matrix-multiply rate ({rate / 1e9:.0f} GFLOP/s): {share:.0%}")


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    settings = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    crafting(settings.batch_size, settings.steps, settings.rounds)
    training.compare(settings.batch_size, steps=10, count=6, rounds=3)
    feeding.speed(samples=10_000, rounds=settings.rounds)
    feeding.memory()


if __name__ == "__main__":
    main()
