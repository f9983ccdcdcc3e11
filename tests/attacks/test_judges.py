"""This package's attacks against those of independent ones, on the same clusterer, samples, budget and steps."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import APGD, FGSM, MIFGSM, PGD, Attack, Ensemble, Square
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import Digits
from benchmarks.judges import Classifier

judges = pytest.importorskip("torchattacks", reason="pip install ar-dmvc[judges]")

EPSILON = 0.05
POINT = 0.01


@pytest.fixture(scope="module")
def clusterer(victim: Path) -> Clusterer:
    return load_clusterer(victim)


ATTACKS = {
    "FGSM": (FGSM("cross_entropy", EPSILON, random_start=False), lambda model: judges.FGSM(model, eps=EPSILON)),
    "PGD": (
        PGD("cross_entropy", EPSILON, EPSILON / 4, steps=10),
        lambda model: judges.PGD(model, eps=EPSILON, alpha=EPSILON / 4, steps=10),
    ),
    "MI-FGSM": (
        MIFGSM(epsilon=EPSILON, step_size=EPSILON / 10),
        lambda model: judges.MIFGSM(model, eps=EPSILON, alpha=EPSILON / 10, steps=10),
    ),
    "APGD-CE": (APGD("cross_entropy", EPSILON, 50), lambda model: judges.APGD(model, eps=EPSILON, steps=50, n_restarts=1)),
    "APGD-DLR": (
        APGD("margin", EPSILON, 50),
        lambda model: judges.APGD(model, eps=EPSILON, steps=50, n_restarts=1, loss="dlr"),
    ),
    "Square": (Square(EPSILON, 300), lambda model: judges.Square(model, eps=EPSILON, n_queries=300, n_restarts=1)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_no_weaker_than_its_judge(name: str, clusterer: Clusterer) -> None:
    attack, judge = ATTACKS[name]
    ours, theirs = kept_by_both(clusterer, attack, [judge(Classifier(clusterer).eval())])
    assert ours <= theirs + POINT
    if name in ("FGSM", "MI-FGSM"):  # nothing random in them
        assert ours == theirs


def test_the_ensemble_is_no_weaker_than_all_judges_together(clusterer: Clusterer) -> None:
    model = Classifier(clusterer).eval()
    all_of_them = [judge(model) for _, judge in ATTACKS.values()]
    all_of_them.append(judges.APGDT(model, eps=EPSILON, steps=20, n_restarts=1, n_classes=clusterer.num_clusters))
    ours, theirs = kept_by_both(clusterer, Ensemble(epsilon=EPSILON), all_of_them)
    assert ours <= theirs + POINT


def kept_by_both(clusterer: Clusterer, attack: Attack, others: list[nn.Module]) -> tuple[float, float]:
    """The share of 150 samples that keep their cluster under an attack, and under all of others, sample by sample."""
    batch = next(iter(Digits(batch_size=150).test_dataloader()))
    images = torch.cat(batch.views, 1)
    own = clusterer(batch.views).assignments.argmax(1)
    kept = clusterer(attack(clusterer, batch.views)).assignments.argmax(1) == own
    model = Classifier(clusterer)
    judged = torch.stack([model(other(images, own)).argmax(1) == own for other in others]).all(0)
    return float(kept.double().mean()), float(judged.double().mean())
