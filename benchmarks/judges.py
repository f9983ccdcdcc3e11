"""This package's attacks beside torchattacks' on the clusterers of a benchmark's folder: the share of samples that each keeps.

    python -m benchmarks.judges runs/demo

needs torchattacks (``pip install 'ar-dmvc[judges]'``) and clusterers of Digits. Their logits are logarithms of assignments.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import APGD, FGSM, MIFGSM, Ensemble, Square
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits

SAMPLES, EPSILON = 300, 0.1


class Classifier(nn.Module):
    """A clusterer of two grey views as a classifier of images of two channels, whose softmax are its assignments."""

    def __init__(self, clusterer: Clusterer) -> None:
        super().__init__()
        self.clusterer = clusterer

    def forward(self, images: Tensor) -> Tensor:
        assignments: Tensor = self.clusterer([images[:, :1], images[:, 1:]]).assignments
        return assignments.clamp(min=torch.finfo(assignments.dtype).tiny).log()


def compare(clusterer: Clusterer, name: str) -> None:
    """Print the share of samples that keep their cluster, under each attack of either package."""
    import torchattacks as judges

    batch = next(iter(Digits(batch_size=SAMPLES).test_dataloader()))
    model, images = Classifier(clusterer).eval(), torch.cat(batch.views, 1)
    own = clusterer(batch.views).assignments.argmax(1)
    attacks = {
        "FGSM": (FGSM("cross_entropy", EPSILON, random_start=False), [judges.FGSM(model, eps=EPSILON)]),
        "MI-FGSM": (
            MIFGSM(epsilon=EPSILON, step_size=EPSILON / 10),
            [judges.MIFGSM(model, eps=EPSILON, alpha=EPSILON / 10, steps=10)],
        ),
        "APGD-CE": (APGD("cross_entropy", EPSILON), [judges.APGD(model, eps=EPSILON, steps=100, n_restarts=1)]),
        "APGD-DLR": (APGD("margin", EPSILON), [judges.APGD(model, eps=EPSILON, steps=100, n_restarts=1, loss="dlr")]),
        "Square": (Square(EPSILON), [judges.Square(model, eps=EPSILON, n_queries=1000, n_restarts=1)]),
        "all": (
            Ensemble(epsilon=EPSILON),
            [
                judges.APGD(model, eps=EPSILON, steps=100, n_restarts=1),
                judges.APGD(model, eps=EPSILON, steps=100, n_restarts=1, loss="dlr"),
                judges.APGDT(model, eps=EPSILON, steps=50, n_restarts=1, n_classes=clusterer.num_clusters),
                judges.Square(model, eps=EPSILON, n_queries=1000, n_restarts=1),
            ],
        ),
        "AutoAttack (standard)": (
            Ensemble(epsilon=EPSILON),
            [judges.AutoAttack(model, eps=EPSILON, n_classes=clusterer.num_clusters)],
        ),
    }
    for title, (attack, others) in attacks.items():
        begun = time.perf_counter()
        kept = clusterer(attack(clusterer, batch.views)).assignments.argmax(1) == own
        between = time.perf_counter()
        judged = torch.stack([model(other(images, own)).argmax(1) == own for other in others]).all(0)
        ended = time.perf_counter()
        shares = f"kept {float(kept.float().mean()):.3f}, torchattacks {float(judged.float().mean()):.3f}"
        pace = f"{SAMPLES / (between - begun):.1f} samples a second, {(ended - between) / (between - begun):.1f} times as fast"
        print(f"{name}, {title}: {shares}; {pace}", flush=True)


if __name__ == "__main__":
    for checkpoint in sorted(Path(sys.argv[1]).glob("*/seed_0/fit/checkpoints/last.ckpt")):
        compare(load_clusterer(checkpoint), checkpoint.parents[3].name)
