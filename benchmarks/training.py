"""Training steps: this package's, through a real trainer, against the plain way and against what the machine can do."""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import Clusterer, CoMVC
from ar_dmvc.data import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.pairing import pair_with_noisy
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.modules.base import ClustererModule
from benchmarks.plain import PlainAttacker, PlainDefender, PlainVictim
from benchmarks.timing import matrix_multiply_rate

EPSILON, STEP_SIZE = 0.2, 0.02
SHAPES = [(1, 28, 28)] * 2
PLAIN = {"victim": PlainVictim, "defender": PlainDefender, "attacker": PlainAttacker}


class RandomImages(MultiViewDataModule):
    """Two views of 28x28 images of noise: their content costs no time."""

    view_shapes = ((1, 28, 28),) * 2
    num_classes = 10

    def __init__(self, samples: int, **settings: Any) -> None:
        super().__init__(**{"partition": "all", **settings})
        self.samples = samples

    def load(self) -> MultiViewData:
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (self.samples, 28, 28), dtype=np.uint8)
        return pair_with_noisy(images, np.arange(self.samples, dtype=np.uint8) % 10, seed=7, largest=255)


class StepTimes(Callback):
    """Seconds from the end of a step to that of the next: loading, step, logging."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: ClustererModule, *_: object) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def seconds(self) -> list[float]:
        return [after - before for before, after in pairwise(self.ends)]


def clusterer() -> Clusterer:
    torch.manual_seed(0)
    return CoMVC(SHAPES, num_clusters=10)


def modules(steps: int, settings: Mapping[str, Any], defenders: Mapping[str, Any]) -> dict[str, ClustererModule]:
    attack = PGD("contrastive_alignment", EPSILON, STEP_SIZE, steps)
    return {
        "victim": VictimClusterer(clusterer(), **settings),
        "defender": RobustDefender(clusterer(), attack, **settings, **defenders),
        "attacker": GANAttacker(clusterer(), EPSILON, **settings),
    }


def ours(module: ClustererModule, data: LightningDataModule, count: int, **settings: Any) -> list[float]:
    """Seconds of each of ``count`` steps after the first."""
    times = StepTimes()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(
            max_steps=(count + 1) * (2 if isinstance(module, GANAttacker) else 1),
            max_epochs=-1,
            limit_val_batches=0,
            callbacks=[times],
            **{"accelerator": "cpu", **quiet, **settings},
        ).fit(module, data)
    return times.seconds()


def plainly(step: Any, data: RandomImages, count: int) -> list[float]:
    """The same for the plain way: a sample at a time from a ``DataLoader``, every gradient, no other thought."""
    loader = DataLoader(TensorDataset(*data.data.views), data.batch_size, shuffle=True, drop_last=True)
    batches: Iterator[list[torch.Tensor]] = iter(loader)
    ends = []
    for _ in range(count + 1):
        step([view.to(step.device) for view in next(batches)])
        if step.device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
    return [after - before for before, after in pairwise(ends)]


def operations(batch_size: int, steps: int) -> dict[str, float]:
    """Floating-point operations that a step needs: gradients of views cost what the forward pass does, so do parameters'."""
    views = [torch.rand(batch_size, *shape) for shape in SHAPES]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        clusterer()(views)
    forward = counter.get_total_flops()
    return {"victim": 3 * forward, "defender": (2 * 3 + 2 * steps) * forward}


def compare(
    batch_size: int,
    steps: int,
    count: int,
    rounds: int,
    device: str = "cpu",
    module_settings: Mapping[str, Any] = MappingProxyType({}),
    defender_settings: Mapping[str, Any] = MappingProxyType({}),
    kinds: Sequence[str] = tuple(PLAIN),
    **settings: Any,
) -> None:
    """Print ratios of these kinds of training."""
    data = RandomImages(max(batch_size * (count + 1), 2000), batch_size=batch_size, on_device=device == "cuda")
    needed = operations(batch_size, steps)
    print(f"Training steps, CoMVC, cnn_small, two 28x28 views, batch {batch_size}, PGD of {steps} steps, {device}, {settings}")
    for name in kinds:
        slow, fast, ratios = [], [], []
        for _ in range(rounds):
            reference = PLAIN[name](clusterer(), EPSILON, STEP_SIZE, steps, torch.device(device))
            one = plainly(reference, data, count)
            module = modules(steps, module_settings, defender_settings)[name]
            other = ours(module, data, count, accelerator=device if device == "cpu" else "gpu", devices=1, **settings)
            slow += one
            fast += other
            ratios.append(sum(one) / sum(other))
        ratios.sort()
        print(
            f"  {name}: {ratios[len(ratios) // 2]:.2f} times as fast as the plain way ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{min(fast) * 1e3:.0f} ms at best"
        )
        if name in needed and device == "cpu":
            rate = matrix_multiply_rate()
            print(
                f"    {needed[name] / 1e9:.1f} GFLOP, {needed[name] / min(fast) / rate:.0%} of the machine's matrix-multiply "
                f"rate ({rate / 1e9:.0f} GFLOP/s)"
            )


def main() -> None:
    """Compare on a device of choice."""
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=PLAIN, default=list(PLAIN))
    parser.add_argument("--crafting-precision", choices=["training", "bf16"], default="training")
    given = parser.parse_args()
    compare(
        given.batch_size,
        given.steps,
        given.count,
        given.rounds,
        given.device,
        {"compile": given.compile},
        {"crafting_precision": given.crafting_precision},
        given.kinds,
        precision=given.precision,
    )


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
