"""What of a clustering survives an attack, watched in validation."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from sklearn.metrics import mutual_info_score

from ar_dmvc.attacks import PGD, Attack, UniformNoise
from ar_dmvc.callbacks import StabilityUnderAttack
from ar_dmvc.data import MultiViewData
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.metrics import ClusteringStability
from ar_dmvc.modules.base import ClustererModule
from tests.modules.test_modules import FewDigits, attacker_module, defender_module, victim_module

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # the attacker's victim
REFERENCE = PGD("assignment_divergence", steps=3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where pictures go


class Unlabelled(FewDigits):
    def load(self) -> MultiViewData:
        return MultiViewData(super().load().views, None)


class Recorder(Callback):
    """Keeps what is logged, validation by validation."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seen.append({name: float(value) for name, value in trainer.logged_metrics.items()})


def fit(module: ClustererModule, *callbacks: Callback, data: FewDigits | None = None, epochs: int = 2) -> None:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    torch.manual_seed(3)
    trainer.fit(module, FewDigits() if data is None else data)


def by_hand(module: ClustererModule, attack: Attack, data: FewDigits) -> float:
    metric = ClusteringStability(10)
    for number, batch in enumerate(data.val_dataloader()):
        attack.reseed(number)
        attacked = attack(module.clusterer, batch.views)
        with torch.no_grad():
            metric.update(module(attacked).argmax(1), module(batch.views).argmax(1))
    return float(metric.compute())


@pytest.mark.parametrize("make", [victim_module, defender_module])
def test_logged_without_labels_and_equal_to_what_it_says(make: Any) -> None:
    module, recorder, data = make(), Recorder(), Unlabelled(num_clusters=10, epsilon=0.05)
    module.epsilon = data.epsilon
    fit(module, StabilityUnderAttack(REFERENCE), recorder, data=data)
    assert not any(name in recorder.seen[-1] for name in ("val/acc", "val/nmi"))
    expected = by_hand(module.eval(), REFERENCE.with_budget(0.05), data)
    assert recorder.seen[-1]["val/stability"] == pytest.approx(expected, abs=1e-6)


def test_an_attacker_is_measured_by_its_own_generator() -> None:
    module, recorder, data = attacker_module(), Recorder(), Unlabelled(num_clusters=10, partition="attacker")
    fit(module, StabilityUnderAttack(), recorder, data=data)
    assert recorder.seen[-1]["val/stability"] == pytest.approx(by_hand(module.eval(), module.gan, data), abs=1e-6)


def test_the_defender_s_own_budget_does_not_matter() -> None:
    watch = StabilityUnderAttack(REFERENCE)
    module = defender_module()
    module.epsilon = 0.03
    assert module.budget == 0.1
    fit(module, watch, epochs=1)
    assert watch._reference.budget == 0.03


@pytest.mark.parametrize("make", [victim_module, defender_module, attacker_module])
def test_training_goes_on_as_without(make: Any) -> None:
    alone, watched = make(), make()
    fit(alone)
    fit(watched, StabilityUnderAttack(UniformNoise(0.2)))
    state = watched.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())


def test_measured_in_every_nth_epoch_and_in_the_last() -> None:
    measured = []

    class Watched(StabilityUnderAttack):
        def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            measured.append(self._metric.update_called)
            super().on_validation_epoch_end(trainer, pl_module)

    fit(victim_module(), Watched(UniformNoise(0.1), every_n_epochs=3), epochs=5)
    assert measured == [False, False, False, True, False, True]  # the first is the check before training


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1, got 0"):
        StabilityUnderAttack(REFERENCE, every_n_epochs=0)
    with pytest.raises(ConfigurationError, match="VictimClusterer has no attack of its own"):
        fit(victim_module(), StabilityUnderAttack())
    with pytest.raises(ConfigurationError, match="no budget"):
        fit(victim_module(), StabilityUnderAttack(REFERENCE))


class TestMetric:
    def test_agreement_under_any_names_of_clusters(self) -> None:
        clean = torch.arange(40) % 4
        assert ClusteringStability(4)(3 - clean, clean) == 1

    def test_one_cluster_for_all_is_worth_nothing_however_stable(self) -> None:
        assert ClusteringStability(4)(torch.ones(9, dtype=torch.int64), torch.ones(9, dtype=torch.int64)) == 0

    def test_clusters_left_unused_cost(self) -> None:
        half = torch.arange(40) % 2
        assert float(ClusteringStability(4)(half, half)) == pytest.approx(0.5)

    def test_equal_to_scikit_learn_s_mutual_information(self) -> None:
        generator = torch.Generator().manual_seed(0)
        clean = torch.randint(5, (200,), generator=generator)
        attacked = torch.where(torch.rand(200, generator=generator) < 0.7, clean, torch.randint(5, (200,), generator=generator))
        expected = mutual_info_score(clean.numpy(), attacked.numpy()) / math.log(5)
        assert float(ClusteringStability(5)(attacked, clean)) == pytest.approx(expected, abs=1e-6)

    def test_refuses_fewer_than_two_clusters(self) -> None:
        with pytest.raises(ValueError, match="two clusters at least, got num_clusters = 1"):
            ClusteringStability(1)
