"""This package's attacks against those of independent ones, on the same clusterer, samples, budget and steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import APGD, FGSM, MIFGSM, PGD, Attack, Ensemble, Square, TargetedAPGD
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits
from benchmarks.judges import Classifier

EPSILON = 0.05
EUCLIDEAN = 0.25
POINT = 0.01

Rival = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def clusterer(victim: Path) -> Clusterer:
    return load_clusterer(victim)


def judges(package: str) -> Any:
    return pytest.importorskip(package, reason="pip install 'ar-dmvc[judges]'")


def torchattacks(attack: str, **options: Any) -> Callable[[nn.Module], Rival]:
    return lambda model: getattr(judges("torchattacks"), attack)(model, **options)


def adversarial_library(attack: str, **options: Any) -> Callable[[nn.Module], Rival]:
    def rival(model: nn.Module) -> Rival:
        judge = getattr(judges("adv_lib.attacks"), attack)
        return lambda images, own: judge(model, images, own, **options).detach()

    return rival


TORCHATTACKS = {
    "FGSM": (FGSM("cross_entropy", EPSILON, random_start=False), torchattacks("FGSM", eps=EPSILON)),
    "PGD": (
        PGD("cross_entropy", EPSILON, EPSILON / 4, steps=10),
        torchattacks("PGD", eps=EPSILON, alpha=EPSILON / 4, steps=10),
    ),
    "MI-FGSM": (
        MIFGSM(epsilon=EPSILON, step_size=EPSILON / 10),
        torchattacks("MIFGSM", eps=EPSILON, alpha=EPSILON / 10, steps=10),
    ),
    "APGD-CE": (APGD("cross_entropy", EPSILON, 50), torchattacks("APGD", eps=EPSILON, steps=50, n_restarts=1)),
    "APGD-DLR": (APGD("margin", EPSILON, 50), torchattacks("APGD", eps=EPSILON, steps=50, n_restarts=1, loss="dlr")),
    "Square": (Square(EPSILON, 300), torchattacks("Square", eps=EPSILON, n_queries=300, n_restarts=1)),
}

LINF: dict[str, Any] = {"eps": EPSILON, "norm": torch.inf}
L2: dict[str, Any] = {"eps": EUCLIDEAN, "norm": 2}
BOTH_VIEWS: dict[str, Any] = {"epsilon": EUCLIDEAN, "norm": "l2", "joint": True}
ADVERSARIAL_LIBRARY = {
    "PGD": (
        PGD("cross_entropy", EPSILON, EPSILON / 4, steps=10),
        adversarial_library("pgd_linf", ε=EPSILON, steps=10, absolute_step_size=EPSILON / 4),
    ),
    "APGD-CE": (APGD("cross_entropy", EPSILON, 50), adversarial_library("apgd", n_iter=50, loss_function="ce", **LINF)),
    "APGD-DLR": (APGD("margin", EPSILON, 50), adversarial_library("apgd", n_iter=50, **LINF)),
    "APGD, targeted": (TargetedAPGD(EPSILON, 20), adversarial_library("apgd_targeted", n_iter=20, **LINF)),
    "APGD-CE, L2": (
        APGD("cross_entropy", steps=50, **BOTH_VIEWS),
        adversarial_library("apgd", n_iter=50, loss_function="ce", **L2),
    ),
}


@pytest.mark.parametrize("name", TORCHATTACKS)
def test_an_attack_is_no_weaker_than_that_of_torchattacks(name: str, clusterer: Clusterer) -> None:
    attack, judge = TORCHATTACKS[name]
    ours, theirs = kept_by_both(clusterer, attack, [judge(Classifier(clusterer).eval())])
    assert ours <= theirs + POINT
    if name in ("FGSM", "MI-FGSM"):  # nothing random in them
        assert ours == theirs


@pytest.mark.parametrize("name", ADVERSARIAL_LIBRARY)
def test_an_attack_is_no_weaker_than_that_of_adversarial_library(name: str, clusterer: Clusterer) -> None:
    attack, judge = ADVERSARIAL_LIBRARY[name]
    ours, theirs = kept_by_both(clusterer, attack, [judge(Classifier(clusterer).eval())])
    assert ours <= theirs + POINT


def test_the_ensemble_is_no_weaker_than_all_judges_together(clusterer: Clusterer) -> None:
    model = Classifier(clusterer).eval()
    all_of_them = [judge(model) for _, judge in TORCHATTACKS.values()]
    all_of_them.append(torchattacks("APGDT", eps=EPSILON, steps=20, n_restarts=1, n_classes=clusterer.num_clusters)(model))
    ours, theirs = kept_by_both(clusterer, Ensemble(epsilon=EPSILON), all_of_them)
    assert ours <= theirs + POINT


def kept_by_both(clusterer: Clusterer, attack: Attack, others: list[Rival]) -> tuple[float, float]:
    """The share of 150 samples that keep their cluster under an attack, and under all of others, sample by sample."""
    batch = next(iter(Digits(batch_size=150).test_dataloader()))
    images = torch.cat(batch.views, 1)
    own = clusterer(batch.views).assignments.argmax(1)
    kept = clusterer(attack(clusterer, batch.views)).assignments.argmax(1) == own
    model = Classifier(clusterer)
    judged = torch.stack([model(other(images, own)).argmax(1) == own for other in others]).all(0)
    return float(kept.double().mean()), float(judged.double().mean())
