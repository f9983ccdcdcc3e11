import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.data import Digits, MultiViewBatch, MultiViewData
from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.modules.base import ClustererModule, total
from tests.conftest import load_parts

Arrays = dict[str, torch.Tensor]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class FewDigits(Digits):
    """60 of the digits, for runs of a few steps."""

    relabel = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"batch_size": 10, **settings})

    def load(self) -> MultiViewData:
        views, labels, *_ = super().load()
        assert labels is not None
        labels = labels[:60]
        return MultiViewData(tuple(view[:60] for view in views), labels.flip(0) * 3 - 7 if self.relabel else labels)


class OtherLabels(FewDigits):
    relabel = True


def clusterer() -> CoMVC:
    torch.manual_seed(0)
    return CoMVC([(1, 8, 8)] * 2, num_clusters=10, hidden_features=16)


def victim_module() -> VictimClusterer:
    return VictimClusterer(clusterer())


def defender_module(**settings: Any) -> RobustDefender:
    return RobustDefender(clusterer(), PGD("assignment_divergence", 0.1, steps=2), **settings)


def attacker_module(**settings: Any) -> GANAttacker:
    module = clusterer()
    torch.manual_seed(1)
    return GANAttacker(module, epsilon=0.1, **settings)


def defended_terms(module: RobustDefender, clean: Any, attacked: Any) -> dict[str, torch.Tensor]:
    passes = [(views, module.clusterer(views)) for views in (clean, attacked)]
    return module.terms(passes, module.clusterer.losses, main=True)


MODULES = {"victim": victim_module, "defender": defender_module, "attacker": attacker_module}


def trainer(folder: Path, **settings: Any) -> Trainer:
    torch.manual_seed(5)
    return Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "default_root_dir": folder,
            **settings,
        }
    )


def assert_equal_states(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, value), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is
@pytest.mark.parametrize("kind", MODULES)
class TestEveryModule:
    def test_labels_do_not_reach_training(self, kind: str, tmp_path: Path) -> None:
        states = []
        for data in (FewDigits(), OtherLabels()):
            module = MODULES[kind]()
            trainer(tmp_path).fit(module, data)
            states.append(module)
        assert_equal_states(*states)

    def test_same_seed_same_numbers(self, kind: str, tmp_path: Path) -> None:
        one, other = MODULES[kind](), MODULES[kind]()
        trainer(tmp_path).fit(one, FewDigits())
        trainer(tmp_path).fit(other, FewDigits())
        assert_equal_states(one, other)

    @pytest.mark.parametrize("feeding", [{"on_device": True}, {"num_workers": 2}], ids=["on the device", "by workers"])
    def test_how_data_is_fed_changes_no_number(self, kind: str, feeding: dict[str, Any], tmp_path: Path) -> None:
        one, other = MODULES[kind](), MODULES[kind]()
        trainer(tmp_path).fit(one, FewDigits())
        trainer(tmp_path).fit(other, FewDigits(**feeding))
        assert_equal_states(one, other)

    @pytest.mark.parametrize("stop", [2, 3, 4], ids=["within an epoch", "between epochs", "within the next"])
    def test_interrupted_and_resumed_ends_with_the_same_parameters(self, kind: str, stop: int, tmp_path: Path) -> None:
        class Stop(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
                self.count = getattr(self, "count", 0) + 1
                if self.count == stop:
                    trainer.save_checkpoint(tmp_path / "stop.ckpt")

        whole = MODULES[kind]()
        trainer(tmp_path, callbacks=[Stop()]).fit(whole, FewDigits())
        resumed = MODULES[kind]()
        trainer(tmp_path).fit(resumed, FewDigits(), ckpt_path=tmp_path / "stop.ckpt", weights_only=True)
        assert_equal_states(resumed, whole)

    def test_loss_terms_and_metrics_are_logged(self, kind: str, tmp_path: Path) -> None:
        run = trainer(tmp_path)
        run.fit(MODULES[kind](), FewDigits())
        logged = set(run.callback_metrics)
        assert {"val/acc", "val/nmi", "val/ari", "val/purity", "train/loss"} <= logged
        terms = {
            "victim": {"train/ddc_separation", "train/contrastive"},
            "defender": {"train/clean", "train/attacked", "train/mitigator"},
            "attacker": {"train/discriminator", "train/perturbation", "train/attack", "val/attacked/nmi"},
        }
        assert terms[kind] <= logged

    @pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
    def test_mixed_precision_trains(self, kind: str, precision: str, tmp_path: Path) -> None:
        module = MODULES[kind]()
        before = copy.deepcopy(module)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0) if precision == "16-mixed" else None
        run = trainer(tmp_path, max_epochs=1, plugins=[MixedPrecision(precision, "cpu", scaler)])
        run.fit(module, FewDigits())
        assert torch.isfinite(run.callback_metrics["train/loss"])
        trained = module.generator if isinstance(module, GANAttacker) else module.clusterer
        untrained = before.generator if isinstance(before, GANAttacker) else before.clusterer
        changed = [not torch.equal(*pair) for pair in zip(trained.parameters(), untrained.parameters(), strict=True)]
        assert all(changed)

    def test_a_loss_that_is_not_finite_stops_training(self, kind: str, tmp_path: Path) -> None:
        module = MODULES[kind]()
        module.learning_rate = float("inf")
        run = trainer(tmp_path, max_epochs=5)
        with pytest.raises(TrainingError, match="the loss is nan after epoch 0"):
            run.fit(module, FewDigits())

    def test_other_views_are_refused(self, kind: str, tmp_path: Path) -> None:
        class Larger(FewDigits):
            view_shapes = ((1, 9, 9), (1, 9, 9))

        with pytest.raises(ConfigurationError, match=r"takes views of shapes .*8, 8.*Larger has .*9, 9"):
            trainer(tmp_path).fit(MODULES[kind](), Larger())


class TestTesting:
    def test_scores_clean_and_every_attack(self, tmp_path: Path) -> None:
        module = VictimClusterer(clusterer(), attacks={"pgd": PGD("attack_distance", steps=2)}, epsilon=0.1)
        run = trainer(tmp_path, inference_mode=True)
        run.test(module, FewDigits(), verbose=False)
        assert module.report is not None
        assert list(module.report.scores) == ["clean", "pgd"]
        assert float(run.callback_metrics["test/pgd/nmi"]) == pytest.approx(module.report.scores["pgd"]["nmi"])

    def test_batch_statistics_are_an_option_that_leaves_buffers_alone(self, tmp_path: Path) -> None:
        reports = []
        for batch_statistics in (False, True):
            module = VictimClusterer(clusterer(), epsilon=0.1, batch_statistics=batch_statistics)
            before = copy.deepcopy(module.clusterer)
            trainer(tmp_path).test(module, FewDigits(batch_size=30), verbose=False)
            assert_equal_states(module.clusterer, before)
            reports.append(module.report)
        assert reports[0].scores != reports[1].scores

    def test_without_suite_the_standard_one_is_taken(self) -> None:
        assert list(victim_module().attacks) == ["noise", "apgd_contrastive", "apgd_cross_entropy", "apgd_distance"]

    @pytest.mark.parametrize("sigma", [None, 0.1])
    def test_without_labels_what_is_kept_is_the_same(self, sigma: float | None, tmp_path: Path) -> None:
        class Unlabelled(FewDigits):
            def load(self) -> MultiViewData:
                return MultiViewData(super().load().views, None)

        module, reports, certified = VictimClusterer(clusterer(), epsilon=0.1), [], []
        module.sigma, module.draws, module.attack_draws = sigma, 20, 2
        for data in (FewDigits(), Unlabelled()):
            trainer(tmp_path).test(module, data, verbose=False)
            reports.append(module.report)
            certified.append(module.certified)
        with_labels, without = reports
        assert {name: {"kept": row["kept"]} for name, row in with_labels.rows().items()} == without.rows()
        assert any("no labels" in note for note in without.notes)
        with pytest.raises(ValueError, match="not known without labels"):
            _ = without.record.survives
        if sigma is not None:
            assert certified[1].certified_acc(0.01) >= certified[0].certified_acc(0.01) > 0
            assert torch.equal(certified[0].record.norm, certified[1].record.norm)


class TestAttacker:
    @pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
    @pytest.mark.parametrize("batch_statistics", [False, True])
    def test_victim_is_bit_for_bit_the_same(self, batch_statistics: bool, tmp_path: Path) -> None:
        module = attacker_module(batch_statistics=batch_statistics)
        before = copy.deepcopy(module.clusterer)
        trainer(tmp_path).fit(module, FewDigits(partition="attacker"))
        assert_equal_states(module.clusterer, before)
        assert module.clusterer.training == batch_statistics
        assert all(parameter.grad is None for parameter in module.clusterer.parameters())

    @pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
    def test_late_learning_rate_and_fresh_optimiser_state(self, tmp_path: Path) -> None:
        seen = []

        class Watch(Callback):
            def on_train_batch_end(self, trainer: Trainer, module: ClustererModule, *_: object) -> None:
                optimizer = trainer.optimizers[0]
                state = next(iter(optimizer.state.values()))
                seen.append((optimizer.param_groups[0]["lr"], int(state["step"])))

        module = attacker_module(late_epoch=1, learning_rate=1e-2, late_learning_rate=1e-3)
        trainer(tmp_path, callbacks=[Watch()]).fit(module, FewDigits())
        assert seen == [(1e-2, 1), (1e-2, 2), (1e-2, 3), (1e-3, 1), (1e-3, 2), (1e-3, 3)]

    @pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
    def test_a_victim_that_has_seen_the_samples_is_said(self, victim: Path, tmp_path: Path) -> None:
        module = GANAttacker(victim, epsilon=0.1)
        for settings in ({"seed": 3, "partition": "attacker"}, {"partition": "victim"}):
            with pytest.warns(
                UserWarning,
                match=r"trained on \w+, partition \w+ of \d+ samples: it may have seen samples that it is attacked on here",
            ):
                trainer(tmp_path, max_steps=1).fit(module, Digits(**settings))
            assert module.trained_on["partition"] == "victim"

    def test_gradient_accumulation_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot accumulate gradients"):
            attacker_module().check_trainer(trainer(tmp_path, accumulate_grad_batches=2), "fit")
        with pytest.raises(MisconfigurationException, match="manual optimization"):
            trainer(tmp_path, accumulate_grad_batches=2).fit(attacker_module(), FewDigits())

    def test_needs_a_budget(self) -> None:
        with pytest.raises(ConfigurationError, match="no budget"):
            GANAttacker(clusterer())

    @pytest.mark.filterwarnings("ignore")  # one step without data module
    def test_golden_step(self, golden_step: Arrays, golden_comvc: CoMVC, tmp_path: Path) -> None:
        """Published settings: batch statistics, attack distance summed over the batch with weight 5."""
        samples = len(golden_step["view0"])
        module = GANAttacker(golden_comvc, epsilon=0.3, attack_weight=5.0 * samples, batch_statistics=True)
        load_parts(module.generator, golden_step, "generator.view")
        load_parts(module.discriminator, golden_step, "discriminator.view")
        batch = MultiViewBatch((golden_step["view0"], golden_step["view1"]), None, torch.arange(samples))
        run = trainer(tmp_path, max_epochs=1)
        run.fit(module, train_dataloaders=torch.utils.data.DataLoader([batch], batch_size=None))
        logged = run.callback_metrics
        close = {"rtol": 1e-4, "atol": 0}
        assert float(logged["train/discriminator"]) == pytest.approx(float(golden_step["gan.loss_discriminator"]), rel=1e-4)
        perturbation, attack = logged["train/perturbation"].double(), logged["train/attack"].double()
        torch.testing.assert_close(perturbation, golden_step["gan.loss_perturbation"], **close)
        torch.testing.assert_close(-attack * samples, golden_step["gan.loss_attack_sum"], **close)
        without_gan = perturbation - 5 * samples * attack
        torch.testing.assert_close(without_gan, golden_step["gan.loss_generator_without_gan_term"], **close)
        for network in ("generator", "discriminator"):
            for name, value in getattr(module, network).named_parameters():
                if name.endswith(("conv2.bias", "conv3.bias")) or (network == "generator" and name.endswith("bias")):
                    continue  # normalised away: its gradient is rounding, whose sign Adam's first step follows
                expected = golden_step[f"gan.after_step.{network}.view{name}"]
                # Of a gradient far below the others' the sign, which is all that Adam's first step takes, differs among CPUs.
                steady = value.grad.abs() > 0.03 * value.grad.square().mean().sqrt()
                assert steady.float().mean() > 0.8
                torch.testing.assert_close(value.detach()[steady], expected[steady], **CLOSE, msg=f"{network}.{name}")


class TestDefender:
    def test_golden_losses_and_gradients(self, golden_step: Arrays, golden_comvc: CoMVC) -> None:
        module = RobustDefender(golden_comvc, PGD(epsilon=0.2), adversarial_weight=0.1, mitigator_weight=0.1)
        clean = [golden_step["view0"], golden_step["view1"]]
        attacked = [golden_step[f"pgd.adversarial_view{view}_3steps"] for view in range(2)]
        terms = defended_terms(module, clean, attacked)
        torch.testing.assert_close(terms["clean"], golden_step["defender.loss_clean"], **CLOSE)
        torch.testing.assert_close(terms["attacked"], 0.1 * golden_step["defender.loss_adversarial"], **CLOSE)
        torch.testing.assert_close(terms["mitigator"], 0.1 * golden_step["defender.loss_mitigator"], **CLOSE)
        loss = total(terms)
        torch.testing.assert_close(loss, golden_step["defender.loss_total_adv0.1_am0.1"], **CLOSE)
        loss.backward()
        for name, parameter in golden_comvc.named_parameters():
            expected = golden_step["grad_norm." + name.replace("encoders.", "encoder")]
            torch.testing.assert_close(parameter.grad.norm(), expected, rtol=1e-4, atol=1e-5, msg=name)

    def test_inner_budget_grows_to_the_full_one(self, tmp_path: Path) -> None:
        shares = []

        class Watch(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: RobustDefender, *_: object) -> None:
                shares.append(module.warmup())

        trainer(tmp_path, callbacks=[Watch()]).fit(defender_module(warmup_epochs=1), FewDigits())
        assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])

    def test_without_mitigator_it_is_ar_dmvc(self, small_clusterer: CoMVC, small_views: tuple[torch.Tensor, ...]) -> None:
        module = RobustDefender(small_clusterer, PGD(epsilon=0.1), mitigator_weight=0.0)
        assert defended_terms(module, small_views, [view.flip(0) for view in small_views])["mitigator"] == 0

    def test_negative_weights_are_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 0"):
            defender_module(mitigator_weight=-1.0)

    def test_needs_a_budget(self) -> None:
        with pytest.raises(ConfigurationError, match="no budget"):
            RobustDefender(clusterer(), PGD())
        assert RobustDefender(clusterer(), PGD(), epsilon=0.2).budget == 0.2
