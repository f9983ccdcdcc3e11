"""That the number of devices changes no number: two processes with half of each batch against one with the whole."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch.utils.data import DataLoader

from ar_dmvc.attacks import PGD, UniformNoise
from ar_dmvc.callbacks.stability import StabilityUnderAttack
from ar_dmvc.clusterers import EAMC, SEM, AECoDDC, Clusterer, CoMVC, InfoDDC, MultiVAE, SiMVC
from ar_dmvc.data.dataset import BatchLoader, MultiViewData, MultiViewDataset
from ar_dmvc.defences import TRADES, WithinCluster
from ar_dmvc.distributed import _GlobalBatch, shares
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import blocks, kernels
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.strategy import check_strategy
from tests.modules.test_modules import FewDigits, trainer
from tests.modules.test_training import defender, small, victim
from tests.processes import together

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
EPOCHS = 2
ODD_BATCH = 13

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training"),  # an attacker's victim is
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),  # Python's word on fork
]


def attacker(kind: type[Clusterer], **settings: Any) -> GANAttacker:
    torch.manual_seed(1)
    return GANAttacker(small(kind), epsilon=0.1, late_epoch=1, **settings)


MAKE = {"victim": victim, "defender": defender, "attacker": attacker}


class Record(Callback):
    """Keeps losses and gradients of each step."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, module: ClustererModule, optimizer: torch.optim.Optimizer) -> None:
        named = {parameter: name for name, parameter in module.named_parameters()}
        own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.gradients.append({named[p]: p.grad.clone() for p in own if p.grad is not None})

    def on_train_batch_end(self, trainer: Trainer, module: ClustererModule, *_: object) -> None:
        self.losses.append(module.last_loss)


def fit(module: ClustererModule, folder: Path, data: FewDigits, **settings: Any) -> dict[str, Any]:
    record = Record()
    trained = trainer(folder, **{"max_epochs": EPOCHS, "callbacks": [record], "precision": "64-true", **settings})
    trained.fit(module, data)
    metrics = {name: value for name, value in trained.callback_metrics.items() if not name.startswith("train/")}
    return {"losses": record.losses, "gradients": record.gradients, "state": module.state_dict(), "metrics": metrics}


def two_and_one(make: Any, folder: Path, data: Any, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    def work(rank: int) -> dict[str, Any]:
        return fit(make(), folder, data(), devices=2, strategy="ddp", **settings)

    first, second = together(work, folder)
    for (name, value), other in zip(first["state"].items(), second["state"].values(), strict=True):
        assert torch.equal(value, other), f"{name} differs between processes"
    return first, fit(make(), folder, data(), **settings)


def assert_close(two: dict[str, Any], one: dict[str, Any]) -> None:
    torch.testing.assert_close(two["losses"], one["losses"], **CLOSE)
    assert len(two["gradients"]) == len(one["gradients"]) > 0
    for gradients, expected in zip(two["gradients"], one["gradients"], strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(gradients.get(name, torch.zeros_like(value)), value, **CLOSE)
    torch.testing.assert_close(two["state"], one["state"], **CLOSE)
    assert two["metrics"] == one["metrics"]


KINDS = [SiMVC, CoMVC, EAMC, MultiVAE, AECoDDC, InfoDDC, SEM]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *((kind, "victim") for kind in (EAMC, MultiVAE, SEM)),  # the losses of the others are within their defenders'
        *((kind, "defender") for kind in KINDS),
        (CoMVC, "attacker"),
        (MultiVAE, "attacker"),
    ],
)
def test_every_step_is_that_of_one_process(kind: type[Clusterer], what: str, tmp_path: Path) -> None:
    epochs = 3 if kind is SEM else EPOCHS  # each of its stages has one
    data = partial(FewDigits, batch_size=ODD_BATCH)
    assert_close(*two_and_one(lambda: MAKE[what](kind), tmp_path, data, max_epochs=epochs))


@pytest.mark.parametrize("what", MAKE)
def test_so_is_one_on_incomplete_views(what: str, tmp_path: Path) -> None:
    assert_close(*two_and_one(lambda: MAKE[what](AECoDDC), tmp_path, lambda: FewDigits(batch_size=ODD_BATCH, missing_rate=0.3)))


def test_so_is_one_whose_attacks_start_warm(tmp_path: Path) -> None:
    for couples in (True, False):
        make = partial(defender, CoMVC, warm_start=True, global_batch=couples)
        two, one = two_and_one(make, tmp_path, lambda: FewDigits(batch_size=ODD_BATCH))
        if couples:
            assert_close(two, one)


@pytest.mark.parametrize("missing_rate", [0.0, 0.3], ids=["complete", "incomplete"])
def test_so_is_a_student_s(missing_rate: float, tmp_path: Path) -> None:
    def make() -> RobustDefender:
        torch.manual_seed(1)
        teacher = SiMVC([(1, 8, 8)] * 2, 10)
        attack = PGD("cross_entropy", steps=2)
        settings = {"outer": TRADES(), "augmentation": WithinCluster(), "warm_start": True}
        growing = {"inner_budget": 2.0, "curriculum": 0.05, "warmup_epochs": 1.3}
        return RobustDefender(small(SiMVC), attack, teacher=teacher, epsilon=0.1, **settings, **growing)

    data = partial(FewDigits, batch_size=ODD_BATCH, missing_rate=missing_rate)
    with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
        assert_close(*two_and_one(make, tmp_path, data))


class ByHand(SiMVC):
    """A clusterer whose batch norm forgets nothing."""

    def __init__(self, view_shapes: Any, num_clusters: int) -> None:
        super().__init__(view_shapes, num_clusters)
        self.head.norm = torch.nn.BatchNorm1d(100, momentum=None)


def test_so_is_one_with_a_cumulative_mean_in_batch_norm(tmp_path: Path) -> None:
    def make() -> VictimClusterer:
        torch.manual_seed(0)
        return VictimClusterer(ByHand([(1, 8, 8)] * 2, 10))

    assert_close(*two_and_one(make, tmp_path, lambda: FewDigits(batch_size=ODD_BATCH)))


def test_so_is_one_where_losses_are_computed_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks, kernels):
        monkeypatch.setattr(module, "LARGEST_BLOCK", 50)
    assert_close(*two_and_one(lambda: defender(EAMC), tmp_path, lambda: FewDigits(batch_size=ODD_BATCH)))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_loaders_of_one_s_own_may_have_uneven_parts(tmp_path: Path) -> None:
    whole = next(iter(FewDigits(batch_size=20).train_dataloader()))

    def work(rank: int) -> dict[str, Any]:
        part = slice(0, 13) if rank == 0 else slice(13, 20)
        own = whole._replace(views=tuple(view[part] for view in whole.views), labels=None, index=whole.index[part])
        loader = DataLoader([own], batch_size=None)
        parallel = {"devices": 2, "strategy": "ddp", "use_distributed_sampler": False}
        return fit(victim(CoMVC), tmp_path, loader, max_epochs=1, **parallel)

    two, _ = together(work, tmp_path)
    assert_close(two, fit(victim(CoMVC), tmp_path, DataLoader([whole], batch_size=None), max_epochs=1))


@pytest.mark.parametrize("kind", [CoMVC, EAMC])
def test_local_batches_are_another_objective(kind: type[Clusterer], tmp_path: Path) -> None:
    two, one = two_and_one(lambda: defender(kind, global_batch=False), tmp_path, lambda: FewDigits(batch_size=20))
    with pytest.raises(AssertionError, match="not close"):
        assert_close(two, one)


def test_so_is_the_stability_under_attack(tmp_path: Path) -> None:
    def measure(**settings: Any) -> float:
        stability = StabilityUnderAttack(PGD("attack_distance", 0.1, steps=2))
        fitted = trainer(tmp_path, precision="64-true", callbacks=[stability], **settings)
        fitted.fit(victim(CoMVC), FewDigits(batch_size=ODD_BATCH))
        return float(fitted.callback_metrics["val/stability"])

    def work(rank: int) -> float:
        return measure(devices=2, strategy="ddp")

    assert together(work, tmp_path) == [measure()] * 2


def scores(module: ClustererModule, folder: Path, data: FewDigits, **settings: Any) -> dict[str, Any]:
    trainer(folder, precision="64-true", **settings).test(module, data, verbose=False)
    assert module.report is not None
    return module.report.scores


@pytest.mark.parametrize("batch_statistics", [False, True], ids=["deployed", "batch statistics"])
@pytest.mark.parametrize("batch_size", [11, 40], ids=["three batches", "one batch"])
def test_evaluation_is_that_of_one_process_exactly(batch_size: int, batch_statistics: bool, tmp_path: Path) -> None:
    def make() -> ClustererModule:
        attacks = {"noise": UniformNoise(), "pgd": PGD("assignment_divergence", steps=3)}
        return VictimClusterer(small(CoMVC), batch_statistics=batch_statistics, epsilon=0.2, attacks=attacks)

    def work(rank: int) -> dict[str, Any]:
        return scores(make(), tmp_path, FewDigits(batch_size=batch_size), devices=2, strategy="ddp")

    expected = scores(make(), tmp_path, FewDigits(batch_size=batch_size))
    assert together(work, tmp_path) == [expected, expected]


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_positions_cover_the_global_batch(sizes: list[int]) -> None:
    positions = [_GlobalBatch(tuple(sizes), process, True).positions(torch.device("cpu")) for process in range(len(sizes))]
    assert sorted(torch.cat(positions).tolist()) == list(range(sum(sizes)))


@given(size=st.integers(1, 50), processes=st.integers(1, 5))
def test_shares_are_those_that_the_loader_hands_out(size: int, processes: int) -> None:
    data = MultiViewData((torch.rand(size, 2),), None)
    loaders = [BatchLoader(MultiViewDataset(data), size, 0, process=rank, processes=processes) for rank in range(processes)]
    batches = [next(iter(loader)).index for loader in loaders]
    assert shares(size, processes) == tuple(map(len, batches))
    whole = torch.empty(size, dtype=torch.int64)
    for process, index in enumerate(batches):
        whole[_GlobalBatch(shares(size, processes), process, True).positions(torch.device("cpu"))] = index
    assert torch.equal(whole, next(iter(BatchLoader(MultiViewDataset(data), size, 0))).index)


class TestRefusals:
    def test_strategies_other_than_ddp(self) -> None:
        sharded = SimpleNamespace(world_size=2, strategy=FSDPStrategy())  # Lightning makes such a trainer on GPUs only
        with pytest.raises(ConfigurationError, match="ddp"):
            check_strategy(sharded)

    def test_batch_norm_synchronised_by_others(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="sync_batchnorm"):
            check_strategy(trainer(tmp_path, devices=2, strategy="ddp", sync_batchnorm=True))
