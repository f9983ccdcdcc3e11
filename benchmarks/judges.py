"""This package's attacks beside independent ones on the clusterers of a benchmark's folder: which share of samples holds.

    python -m benchmarks.judges runs/digits
    python -m benchmarks.judges runs/digits --samples 899 --only strongest.yaml
    python -m benchmarks.judges runs/digits --judge adversarial-library

needs torchattacks or adversarial-library (``pip install 'ar-dmvc[judges]'``) and clusterers of Digits. Their logits are the
logarithms of assignments.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import APGD, FGSM, MIFGSM, PGD, Attack, Ensemble, Square, TargetedAPGD
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits

EPSILON = 0.1
EUCLIDEAN = 0.5
"""Budget of both views together, L2."""

Rival = Callable[[Tensor, Tensor], Tensor]
"""Images and clusters to attacked images."""

Pairs = dict[str, tuple[list[Attack], list[Rival]]]
"""By title, attacks of this package and those that they are compared with; of several, what each sample survives."""


class Classifier(nn.Module):
    """A clusterer of two grey views as a classifier of images of two channels, whose softmax are its assignments."""

    def __init__(self, clusterer: Clusterer) -> None:
        super().__init__()
        self.clusterer = clusterer

    def forward(self, images: Tensor) -> Tensor:
        assignments: Tensor = self.clusterer([images[:, :1], images[:, 1:]]).assignments
        return assignments.clamp(min=torch.finfo(assignments.dtype).tiny).log()


def torchattacks(clusterer: Clusterer) -> Pairs:
    """This package's attacks and those of torchattacks."""
    import torchattacks as judges

    model = Classifier(clusterer).eval()

    def apgd(**options: Any) -> Rival:
        return judges.APGD(model, eps=EPSILON, steps=100, n_restarts=1, **options)

    def square() -> Rival:
        return judges.Square(model, eps=EPSILON, n_queries=1000, n_restarts=1)

    def targeted() -> Rival:
        return judges.APGDT(model, eps=EPSILON, steps=50, n_restarts=1, n_classes=clusterer.num_clusters)

    def divergence(images: Tensor, own: Tensor) -> Tensor:
        attack = PGD("assignment_divergence", EPSILON, steps=50, restarts=5)
        return torch.cat(attack(clusterer, [images[:, :1], images[:, 1:]]), 1)

    step, autoattack = EPSILON / 10, judges.AutoAttack(model, eps=EPSILON, n_classes=clusterer.num_clusters)
    return {
        "FGSM": ([FGSM("cross_entropy", EPSILON, random_start=False)], [judges.FGSM(model, eps=EPSILON)]),
        "MI-FGSM": (
            [MIFGSM(epsilon=EPSILON, step_size=step)],
            [judges.MIFGSM(model, eps=EPSILON, alpha=step, steps=10)],
        ),
        "APGD-CE": ([APGD("cross_entropy", EPSILON)], [apgd()]),
        "APGD-DLR": ([APGD("margin", EPSILON)], [apgd(loss="dlr")]),
        "Square": ([Square(EPSILON)], [square()]),
        "AutoAttack": ([Ensemble(epsilon=EPSILON)], [autoattack]),
        "strongest.yaml": (strongest(), [divergence, apgd(), apgd(loss="dlr"), targeted(), square()]),
    }


def adversarial_library(clusterer: Clusterer) -> Pairs:
    """This package's attacks and those of adversarial-library; of its smallest perturbations those within the budget count."""
    from adv_lib import attacks as judges

    model = Classifier(clusterer).eval()

    def within(attack: Callable[..., Tensor], norm: float, budget: float, options: dict[str, Any]) -> Rival:
        def attacked(images: Tensor, own: Tensor) -> Tensor:
            found = attack(model, images, own, **options).detach()
            near = (found - images).flatten(1).norm(norm, dim=1) <= budget * (1 + 1e-5)
            return torch.where(near[:, None, None, None], found, images)

        return attacked

    def ascents(norm: float, budget: float) -> list[Rival]:
        options = {"norm": norm, "eps": budget}
        return [
            within(judges.apgd, norm, budget, {**options, "loss_function": "ce"}),
            within(judges.apgd, norm, budget, {**options, "loss_function": "dlr"}),
            within(judges.apgd_targeted, norm, budget, options),
        ]

    def smallest(norm: float, budget: float) -> list[Rival]:
        return [
            within(judges.fmn, norm, budget, {"norm": norm, "steps": 500}),
            within(judges.fab, norm, budget, {"norm": norm, "restarts": 1}),
        ]

    ce, dlr, targeted = ascents(torch.inf, EPSILON)
    pgd = within(judges.pgd_linf, torch.inf, EPSILON, {"ε": EPSILON})
    euclidean = [
        *ascents(2, EUCLIDEAN),
        *smallest(2, EUCLIDEAN),
        within(judges.ddn, 2, EUCLIDEAN, {"steps": 500, "levels": None}),
        within(judges.alma, 2, EUCLIDEAN, {}),
    ]
    return {
        "PGD": ([PGD("cross_entropy", EPSILON, EPSILON / 30, steps=40)], [pgd]),
        "APGD-CE": ([APGD("cross_entropy", EPSILON)], [ce]),
        "APGD-DLR": ([APGD("margin", EPSILON)], [dlr]),
        "APGD, targeted": ([TargetedAPGD(EPSILON)], [targeted]),
        "strongest.yaml": (strongest(), [pgd, ce, dlr, targeted, *smallest(torch.inf, EPSILON)]),
        "ensemble, L2": ([Ensemble(epsilon=EUCLIDEAN, norm="l2", joint=True)], euclidean),
    }


JUDGES: dict[str, Callable[[Clusterer], Pairs]] = {"torchattacks": torchattacks, "adversarial-library": adversarial_library}


def strongest() -> list[Attack]:
    """The attacks of ``strongest.yaml``, without noise."""
    objectives = ("contrastive_alignment", "cross_entropy", "attack_distance")
    return [*(APGD(objective, EPSILON, steps=19) for objective in objectives), Ensemble(epsilon=EPSILON)]


def compare(clusterer: Clusterer, name: str, judge: str, samples: int, only: Iterable[str]) -> None:
    """Print the share of samples that keep their cluster, under attacks of either package."""
    batch = next(iter(Digits(batch_size=samples).test_dataloader()))
    own = clusterer(batch.views).assignments.argmax(1)
    images = torch.cat(batch.views, 1)
    for title, (attacks, others) in JUDGES[judge](clusterer).items():
        if only and title not in only:
            continue
        begun = time.perf_counter()
        kept = [clusterer(attack(clusterer, batch.views)).assignments.argmax(1) == own for attack in attacks]
        between = time.perf_counter()
        judged = [Classifier(clusterer)(other(images, own)).argmax(1) == own for other in others]
        ended = time.perf_counter()
        shares = (float(torch.stack(each).all(0).double().mean()) for each in (kept, judged))
        pace = f"{samples / (between - begun):.1f} samples a second, {(ended - between) / (between - begun):.1f} times as fast"
        print(f"{name}, {title}: kept {next(shares):.3f}, judges {next(shares):.3f}; {pace}", flush=True)


def main() -> None:
    """Compare for each clusterer of a folder."""
    parser = argparse.ArgumentParser(description="This package's attacks beside independent ones.")
    parser.add_argument("folder", type=Path, help="of a benchmark")
    parser.add_argument("--judge", choices=JUDGES, default="torchattacks")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[], help="titles")
    options = parser.parse_args()
    for checkpoint in sorted(options.folder.glob("*/seed_0/fit/checkpoints/last.ckpt")):
        compare(load_clusterer(checkpoint), checkpoint.parents[3].name, options.judge, options.samples, options.only)


if __name__ == "__main__":
    main()
