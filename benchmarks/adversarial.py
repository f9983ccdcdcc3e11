"""``python -m benchmarks.adversarial``: how soon cheaper adversarial training reaches a quality under attack, on Digits."""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.data import Digits
from ar_dmvc.evaluation import RobustnessEvaluator
from ar_dmvc.modules import RobustDefender

EPSILON = 0.1
# The ``robust`` defender as it is, and what is meant to be cheaper; steps, size of a step, and what else.
VARIANTS: dict[str, tuple[int, float, dict[str, Any]]] = {
    "5 steps": (5, EPSILON / 4, {}),
    "2 steps": (2, EPSILON / 2, {}),
    "2 steps, warm start": (2, EPSILON / 2, {"warm_start": True}),
    "1 step": (1, EPSILON, {}),
    "1 step, warm start": (1, EPSILON, {"warm_start": True}),
    "5 steps in bf16": (5, EPSILON / 4, {"crafting_precision": "bf16"}),
}


class AttackedQuality(Callback):
    """NMI under attack on samples not trained on, every so many epochs, by seconds of training until then."""

    def __init__(self, data: Digits, every: int) -> None:
        self.data, self.every = data, every
        self.curve: list[tuple[float, float]] = []
        self.seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: RobustDefender) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, module: RobustDefender) -> None:
        self.seconds += time.perf_counter() - self.started
        if (trainer.current_epoch + 1) % self.every:
            return
        attacks = {name: PGD(name, EPSILON, steps=20) for name in ("assignment_divergence", "attack_distance")}
        evaluator = RobustnessEvaluator(attacks)
        module.clusterer.eval()
        for number, batch in enumerate(self.data.test_dataloader()):
            evaluator.update(module.clusterer, batch.views, batch.labels, number)
        module.clusterer.train()
        self.curve.append((self.seconds, evaluator.compute().worst["nmi"]))


def train(variant: str, seed: int, epochs: int, every: int) -> list[tuple[float, float]]:
    """Seconds of training and worst NMI, as training goes on."""
    steps, step_size, settings = VARIANTS[variant]
    torch.manual_seed(seed)
    data = Digits()
    clusterer = CoMVC(data.view_shapes, data.num_clusters)
    attack = PGD("assignment_divergence", EPSILON, step_size, steps)
    module = RobustDefender(clusterer, attack, mitigator_weight=1.0, warmup_epochs=5, **settings)
    quality = AttackedQuality(data, every)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(accelerator="cpu", max_epochs=epochs, limit_val_batches=0, callbacks=[quality], **quiet).fit(module, data)
    return quality.curve


def main() -> None:
    """Print seconds to a worst NMI, and the worst NMI in the end, of each variant over several seeds."""
    parser = argparse.ArgumentParser(prog="benchmarks.adversarial", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--quality", type=float, default=0.7)
    settings = parser.parse_args()
    print(f"Worst NMI under PGD-20 on Digits at {EPSILON}, {settings.seeds} seeds, {settings.epochs} epochs")
    for variant in VARIANTS:
        curves = [train(variant, seed, settings.epochs, settings.every) for seed in range(settings.seeds)]
        print(f"  {variant}: {_summary(curves, settings.quality)}", flush=True)


def _summary(curves: list[list[tuple[float, float]]], quality: float) -> str:
    times = [next((seconds for seconds, nmi in curve if nmi >= quality), None) for curve in curves]
    reached = [seconds for seconds in times if seconds is not None]
    scores = [max(nmi for _, nmi in curve) for curve in curves], [curve[-1][1] for curve in curves]
    best, last = (f"{statistics.mean(values):.2f} +- {statistics.pstdev(values):.2f}" for values in scores)
    epochs = statistics.mean(curve[-1][0] for curve in curves)
    to_quality = ", ".join("never" if seconds is None else f"{seconds:.1f} s" for seconds in times)
    return f"{quality} after {to_quality} (reached by {len(reached)}); in the end {last}, at best {best}, in {epochs:.1f} s"


if __name__ == "__main__":
    main()
