"""Cheaper adversarial training, and compiled networks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer

from ar_dmvc.attacks import FGSM, PGD, UniformNoise
from ar_dmvc.clusterers import SiMVC
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.modules import GANAttacker, RobustDefender
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.perturbations import KeptPerturbations
from tests.modules.test_modules import FewDigits, assert_equal_states, clusterer, defender_module, trainer

BUDGET = 0.1


class TestKeptPerturbations:
    @given(data=st.data(), known=st.booleans())
    def test_are_those_of_the_samples_to_half_a_step(self, data: st.DataObject, known: bool) -> None:
        size = data.draw(st.integers(1, 9))
        index = torch.tensor(data.draw(st.lists(st.integers(0, 30), min_size=size, max_size=size, unique=True)))
        changes = [torch.empty(size, 2, 3).uniform_(-BUDGET, BUDGET), torch.empty(size, 4).uniform_(-BUDGET, BUDGET)]
        kept = KeptPerturbations(BUDGET)
        kept.keep(index, changes, 31 if known else None)
        for start, change in zip(kept.start(index, [torch.full_like(c, 9) for c in changes]), changes, strict=True):
            torch.testing.assert_close(start, change, rtol=0, atol=BUDGET / 254 * 1.001)
            assert start.abs().max() <= BUDGET * 1.000001

    def test_samples_not_seen_before_start_elsewhere(self) -> None:
        kept = KeptPerturbations(BUDGET)
        fresh = [torch.rand(3, 2)]
        assert torch.equal(kept.start(torch.tensor([0, 7, 99]), fresh)[0], fresh[0])
        kept.keep(torch.tensor([7]), [torch.zeros(1, 2)])
        started = kept.start(torch.tensor([0, 7, 99]), fresh)[0]
        assert torch.equal(started[[0, 2]], fresh[0][[0, 2]])
        assert (started[1] == 0).all()

    def test_take_a_byte_a_value(self) -> None:
        kept = KeptPerturbations(BUDGET)
        kept.keep(torch.tensor([0]), [torch.zeros(1, 1, 8, 8)], samples=100)
        assert sum(table.nbytes for table in kept.tables) == 100 * (64 + 1)


class Starts(Callback):
    """Keeps what each attack started from and ended at."""

    def __init__(self, module: RobustDefender) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        run = module.attack.run

        def watched(target: Any, views: Any, threat: Any, generator: Any, start: Any) -> Any:
            result = run(target, views, threat, generator, start)
            if start is not None:  # as it is for the picture at the end
                self.seen.append((start[0], views[0], result[0]))
            return result

        vars(module.attack)["run"] = watched


class TestWarmStart:
    def test_attacks_go_on_where_the_last_epoch_s_ended(self, tmp_path: Path) -> None:
        module = defender_module(warm_start=True)
        order: list[torch.Tensor] = []

        class Order(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: ClustererModule, batch: Any, number: int) -> None:
                order.append(batch.index)

        starts = Starts(module)
        trainer(tmp_path, max_epochs=2, callbacks=[Order(), starts]).fit(module, FewDigits())
        ends = {
            int(i): end - view
            for (_, view, e), index in zip(starts.seen[:3], order[:3], strict=True)
            for i, end, view in zip(index, e, view, strict=True)
        }
        for (start, _, _), index in zip(starts.seen[3:6], order[3:6], strict=True):
            for i, value in zip(index, start, strict=True):
                torch.testing.assert_close(value, ends[int(i)], rtol=0, atol=BUDGET / 200)

    @pytest.mark.parametrize("at", [2, 4], ids=["before any sample is seen twice", "after"])
    def test_resumes_exactly(self, at: int, tmp_path: Path) -> None:
        class Save(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
                if trainer.global_step == at:
                    trainer.save_checkpoint(tmp_path / "at.ckpt")

        whole, resumed = (defender_module(warm_start=True) for _ in range(2))
        trainer(tmp_path, max_epochs=3, callbacks=[Save()]).fit(whole, FewDigits())
        trainer(tmp_path, max_epochs=3).fit(resumed, FewDigits(), ckpt_path=tmp_path / "at.ckpt", weights_only=True)
        assert_equal_states(whole, resumed)

    @pytest.mark.parametrize(
        "state",
        [
            None,
            {},
            {"tables": "x"},
            {"tables": [torch.zeros(3)]},
            {"tables": [torch.zeros(0, dtype=torch.int8)]},
            {"tables": [torch.zeros(3, dtype=torch.int8)] * 2},
        ],
    )
    def test_a_damaged_state_is_said(self, state: Any) -> None:
        with pytest.raises(CheckpointError, match="perturbations are"):
            KeptPerturbations(BUDGET).load_state_dict(state, [(8,), (8,)])

    def test_fgsm_that_starts_at_the_clean_views_does_so_at_first(self, tmp_path: Path) -> None:
        attack = FGSM("contrastive_alignment", BUDGET, random_start=False)
        module = RobustDefender(clusterer(), attack, warm_start=True)
        starts = Starts(module)
        trainer(tmp_path, max_epochs=1).fit(module, FewDigits())
        assert all((start == 0).all() for start, _, _ in starts.seen)

    def test_needs_an_attack_that_has_a_start(self) -> None:
        with pytest.raises(ConfigurationError, match="UniformNoise has no start"):
            RobustDefender(clusterer(), UniformNoise(0.1), warm_start=True)


def test_crafting_in_half_precision_leaves_training_as_it_is(tmp_path: Path) -> None:
    single, half = defender_module(), defender_module(crafting_precision="bf16")
    for module in (single, half):
        trainer(tmp_path, max_epochs=1).fit(module, FewDigits())
    assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
    torch.testing.assert_close(half.last_loss, single.last_loss, rtol=0.1, atol=0.1)
    assert not torch.equal(half.last_loss, single.last_loss)
    with pytest.raises(ValueError, match="crafting_precision: 'fp8' is not one of"):
        defender_module(crafting_precision="fp8")


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo looks at it
@pytest.mark.parametrize("kind", ["defender", "attacker"])
def test_compiled_networks_train_as_others_do(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(**settings: Any) -> ClustererModule:
        torch.manual_seed(0)
        network = SiMVC([(1, 8, 8)] * 2, 10, hidden_features=4)
        module = {
            "defender": lambda: RobustDefender(network, PGD("attack_distance", 0.1, steps=2), **settings),
            "attacker": lambda: GANAttacker(network, 0.1, **settings),
        }[kind]()
        trainer(tmp_path, max_epochs=2, precision="64-true", limit_val_batches=0).fit(module, FewDigits(batch_size=15))
        return module

    # What is compiled is the same with every backend; that which makes machine code takes minutes.
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled(self, backend="aot_eager", **how))
    torch.testing.assert_close(fit(compile=True).state_dict(), fit().state_dict(), rtol=1e-6, atol=1e-6)
