"""Training does what clusterers declare: stages, alternating optimisers, steps counted, weights measured, clusters found."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from sklearn.cluster import KMeans

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import PGD, GeneratorAttack
from ar_dmvc.callbacks import RunCheckpoint
from ar_dmvc.clusterers import EAMC, SEM, AECoDDC, Clusterer, CoMVC, InfoDDC, MultiVAE, OptimizerSettings, SiMVC, Stage
from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.training import Schedule
from tests.modules.test_modules import FewDigits, OtherLabels, assert_equal_states, trainer

SHAPES = [(1, 8, 8)] * 2
SMALL: dict[type[Clusterer], dict[str, object]] = {
    SiMVC: {},
    CoMVC: {},
    EAMC: {},
    MultiVAE: {"capacity_steps": 6, "starts": 2},
    AECoDDC: {"pretraining_epochs": 1},
    InfoDDC: {"pretraining_epochs": 1},
    SEM: {"pretraining_epochs": 1, "rounds": 2, "round_epochs": 1, "starts": 2, "features": 16, "noise": "gaussian"},
}
EPOCHS = 3
STEPS_PER_EPOCH = 3
STAGED = (AECoDDC, InfoDDC, SEM)

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is


def small(kind: type[Clusterer], **settings: object) -> Clusterer:
    torch.manual_seed(0)
    return kind(SHAPES, num_clusters=10, **{**SMALL[kind], **settings})


def victim(kind: type[Clusterer], **settings: object) -> VictimClusterer:
    return VictimClusterer(small(kind, **settings), learning_rate=1e-3)


def defender(kind: type[Clusterer], **settings: object) -> RobustDefender:
    return RobustDefender(small(kind), PGD("attack_distance", 0.1, steps=2), learning_rate=1e-3, **settings)


class Keep(Callback):
    """Keeps the clusterer as it is after each step, and where asked a checkpoint."""

    def __init__(self, checkpoint: Path | None = None, at: int = 0) -> None:
        self.checkpoint, self.at = checkpoint, at
        self.states: list[Clusterer] = []
        self.optimizer_steps: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, module: ClustererModule, *_: object) -> None:
        self.states.append(copy.deepcopy(module.clusterer))
        self.optimizer_steps.append(max(int(state["step"]) for state in trainer.optimizers[0].state.values()))
        if len(self.states) == self.at:
            trainer.save_checkpoint(self.checkpoint)


def fit(module: ClustererModule, folder: Path, **settings: object) -> Keep:
    keep = Keep()
    trainer(folder, max_epochs=EPOCHS, callbacks=[keep], **settings).fit(module, FewDigits())
    return keep


def changed(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return any(not torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


class TestEveryClusterer:
    @pytest.mark.parametrize("kind", [MultiVAE, EAMC, AECoDDC, SEM])
    @pytest.mark.parametrize(
        ("make", "stop"),
        [(victim, 2), (victim, 3), (victim, 4), (victim, 8), (defender, 3), (defender, 9)],
        ids=["victim-2", "victim-3", "victim-4", "victim-8", "defender-3", "defender-9"],
    )
    def test_interrupted_anywhere_and_resumed_ends_with_the_same_parameters(
        self, make: Callable[[type[Clusterer]], ClustererModule], kind: type[Clusterer], stop: int, tmp_path: Path
    ) -> None:
        """Within the first stage, at its end, at the first step of the next, within the last, after its last step."""
        whole, resumed = make(kind), make(kind)
        keep = Keep(tmp_path / "stop.ckpt", at=stop)
        trainer(tmp_path, max_epochs=EPOCHS, callbacks=[keep]).fit(whole, FewDigits())
        assert len(keep.states) == EPOCHS * STEPS_PER_EPOCH
        trainer(tmp_path, max_epochs=EPOCHS).fit(resumed, FewDigits(), ckpt_path=tmp_path / "stop.ckpt", weights_only=True)
        assert_equal_states(resumed, whole)

    @pytest.mark.parametrize("kind", SMALL)
    def test_labels_do_not_reach_training(self, kind: type[Clusterer], tmp_path: Path) -> None:
        modules = [victim(kind), victim(kind)]
        for module, data in zip(modules, (FewDigits(), OtherLabels()), strict=True):
            trainer(tmp_path, max_epochs=EPOCHS).fit(module, data)
        assert_equal_states(*modules)

    @pytest.mark.parametrize(("kind", "mitigator_weight"), [*((kind, 0.5) for kind in SMALL), (CoMVC, 0.0)])
    def test_is_defended(self, kind: type[Clusterer], mitigator_weight: float, tmp_path: Path) -> None:
        module = defender(kind, mitigator_weight=mitigator_weight)
        run = trainer(tmp_path, max_epochs=EPOCHS)
        run.fit(module, FewDigits())
        assert run.callback_metrics["train/attacked"] != 0
        assert (run.callback_metrics["train/mitigator"] > 0) == (mitigator_weight > 0)
        plain = victim(kind)
        trainer(tmp_path, max_epochs=EPOCHS).fit(plain, FewDigits())
        assert changed(module.clusterer, plain.clusterer)

    @pytest.mark.parametrize("kind", SMALL)
    def test_is_attacked(self, kind: type[Clusterer], tmp_path: Path) -> None:
        module = victim(kind)
        trainer(tmp_path, max_epochs=EPOCHS).fit(module, FewDigits())
        clusterer = module.clusterer.eval()
        before = copy.deepcopy(clusterer)
        attacker = GANAttacker(clusterer, epsilon=0.1)
        untrained = copy.deepcopy(attacker.generator)
        trainer(tmp_path, max_epochs=1).fit(attacker, FewDigits(partition="attacker"))
        assert_equal_states(clusterer, before)
        assert changed(attacker.generator, untrained)
        views = next(iter(FewDigits().test_dataloader())).views
        for attack in (PGD("assignment_divergence", 0.1), GeneratorAttack(attacker.generator, 0.1)):
            attacked = attack(clusterer, views)
            assert any(not torch.equal(*pair) for pair in zip(attacked, views, strict=True))

    @pytest.mark.parametrize("kind", SMALL)
    def test_a_checkpoint_alone_clusters_alike(self, kind: type[Clusterer], tmp_path: Path) -> None:
        module = victim(kind)
        run = trainer(tmp_path, max_epochs=EPOCHS)
        run.fit(module, FewDigits())
        run.save_checkpoint(tmp_path / "last.ckpt")
        loaded = load_clusterer(tmp_path / "last.ckpt")
        views = next(iter(FewDigits().test_dataloader())).views
        with torch.no_grad():
            assert torch.equal(loaded(views).assignments, module.clusterer.eval()(views).assignments)

    @pytest.mark.parametrize("kind", SMALL)
    def test_its_usual_learning_rate_is_the_default(self, kind: type[Clusterer]) -> None:
        assert VictimClusterer(small(kind)).learning_rate == kind.usual_learning_rate
        expected = {EAMC: 1e-5, MultiVAE: 5e-4, SEM: 3e-4}.get(kind, 1e-3)
        assert kind.usual_learning_rate == expected


class TestStages:
    @pytest.mark.parametrize("kind", [AECoDDC, InfoDDC])
    def test_head_and_fusion_rest_until_the_second_stage(self, kind: type[Clusterer], tmp_path: Path) -> None:
        module = victim(kind)
        before = copy.deepcopy(module.clusterer)
        states = fit(module, tmp_path).states
        pretrained, last = states[STEPS_PER_EPOCH - 1], states[-1]
        assert changed(before.encoders, pretrained.encoders)
        for part in ("head", "fusion"):
            assert not changed(getattr(before, part), getattr(pretrained, part)), part
            assert changed(getattr(before, part), getattr(last, part)), part

    def test_heads_of_sem_rest_while_its_autoencoders_pretrain(self, tmp_path: Path) -> None:
        module = victim(SEM)
        before = copy.deepcopy(module.clusterer)
        states = fit(module, tmp_path).states
        assert changed(before.decoders, states[2].decoders)
        assert not changed(before.heads, states[2].heads)
        assert changed(states[2].heads, states[3].heads)

    def test_each_stage_starts_with_fresh_optimisers_and_sem_s_rounds_every_epoch(self, tmp_path: Path) -> None:
        assert fit(victim(AECoDDC), tmp_path).optimizer_steps == [1, 2, 3, 1, 2, 3, 4, 5, 6]
        assert fit(victim(SEM, pretraining_epochs=0, rounds=1), tmp_path).optimizer_steps == [1, 2, 3] * 3
        assert fit(victim(SEM, pretraining_epochs=2, rounds=1), tmp_path).optimizer_steps == [1, 2, 3, 4, 5, 6, 1, 2, 3]

    def test_weights_between_views_are_measured_before_each_round_and_rest_within_it(self, tmp_path: Path) -> None:
        module = victim(SEM, rounds=2, round_epochs=1, agreement="mean_discrepancy")
        trainer_epochs = 5
        keep = Keep()
        trainer(tmp_path, max_epochs=trainer_epochs, callbacks=[keep]).fit(module, FewDigits())
        weights = [state.weights for state in keep.states]
        assert all(torch.equal(weight, torch.ones(2, 2)) for weight in weights[:3])
        for first, last in ((3, 5), (6, 14)):
            assert torch.equal(weights[first], weights[last])
            assert not torch.equal(weights[first - 1], weights[first])

    def test_they_are_measured_on_the_training_part_in_evaluation_mode(self, tmp_path: Path) -> None:
        seen: list[torch.Tensor] = []

        class Watched(AECoDDC):
            def stages(self) -> tuple[Stage, ...]:
                return (Stage("all", self.losses, prepare=self.look),)

            def look(self, training_views: object) -> None:
                assert not self.training
                assert not torch.is_grad_enabled()
                assert not torch.is_inference_mode_enabled()
                for _ in range(2):
                    seen.append(torch.cat([views[1] for views in training_views]))

        torch.manual_seed(0)
        module, data = VictimClusterer(Watched(SHAPES, 10)), FewDigits()
        trainer(tmp_path).fit(module, data)
        assert len(seen) == 2
        part = data.subset("victim").indices
        assert all(torch.equal(views, data.data.views[1][part]) for views in seen)

    def test_schedule(self) -> None:
        one, two, three = (Stage(name, dict, epochs) for name, epochs in (("one", 2), ("two", 0), ("three", None)))
        schedule = Schedule([one, two, three])
        assert [schedule.at(epoch).name for epoch in range(4)] == ["one", "one", "three", "three"]
        assert [epoch for epoch in range(6) if schedule.starts_at(epoch)] == [0, 2]
        for stages in ([], [two], [three, one]):
            with pytest.raises(ValueError, match="at least one stage of training"):
                Schedule(stages)

    @pytest.mark.parametrize("kind", STAGED)
    def test_pretraining_of_a_defender_is_on_clean_samples(self, kind: type[Clusterer], tmp_path: Path) -> None:
        settings = {"pretraining_epochs": 2, "rounds": 1} if kind is SEM else {"pretraining_epochs": 2}
        plain, defended = victim(kind, **settings), defender(kind)
        defended = RobustDefender(
            small(kind, **settings), PGD("attack_distance", 0.1, steps=2), learning_rate=1e-3, warmup_epochs=1
        )
        first, second = fit(plain, tmp_path), fit(defended, tmp_path)
        for step in range(6):
            assert_equal_states(first.states[step], second.states[step])
        assert changed(first.states[6], second.states[6])

    def test_a_defender_s_warmup_begins_where_there_are_clusters(self, tmp_path: Path) -> None:
        shares = []

        class Watch(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: RobustDefender, *_: object) -> None:
                if module.stage.has_clusters:
                    shares.append(module.warmup())

        trainer(tmp_path, max_epochs=EPOCHS, callbacks=[Watch()]).fit(defender(AECoDDC, warmup_epochs=1), FewDigits())
        assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


class TestOptimisers:
    def test_they_take_turns_as_if_by_hand(self, tmp_path: Path) -> None:
        by_hand, module = small(EAMC), victim(EAMC)
        batches = []

        class Watch(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: ClustererModule, batch: object, *_: object) -> None:
                batches.append(batch.views)

        trainer(tmp_path, max_epochs=1, callbacks=[Watch()]).fit(module, FewDigits())
        discriminators = torch.optim.Adam(by_hand.discriminators.parameters(), lr=1e-3, betas=(0.5, 0.999))
        rest = torch.optim.Adam(
            [
                {"params": [*by_hand.encoders.parameters(), *by_hand.head.parameters()], "lr": 1e-3},
                {"params": by_hand.attention.parameters(), "lr": 1e-4},
            ],
            betas=(0.95, 0.999),
        )
        for views in batches:
            output = by_hand(views)
            discriminators.zero_grad()
            by_hand.discriminator_losses(views, output)["discriminator"].backward()
            discriminators.step()
            rest.zero_grad()
            sum(by_hand.losses(views, output).values()).backward()
            rest.step()
        for (name, value), other in zip(by_hand.named_parameters(), module.clusterer.parameters(), strict=True):
            torch.testing.assert_close(value, other, msg=name)

    def test_gradient_accumulation_is_refused_where_they_do(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="the optimisers of EAMC alternate"):
            victim(EAMC).check_trainer(trainer(tmp_path, accumulate_grad_batches=2), "fit")
        with pytest.raises(MisconfigurationException, match="manual optimization"):
            trainer(tmp_path, accumulate_grad_batches=2).fit(victim(EAMC), FewDigits())
        victim(CoMVC).check_trainer(trainer(tmp_path, accumulate_grad_batches=2), "fit")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ((), "exactly one of its optimisers"),
            ((OptimizerSettings("some", {"head": None}),), "each parameter belongs to one optimiser, which .*fusion"),
            ((OptimizerSettings("twice", {"": None, "head": None}),), "each parameter belongs to one optimiser, which .*head"),
        ],
    )
    def test_every_parameter_belongs_to_one(self, settings: tuple[OptimizerSettings, ...], message: str) -> None:
        class Odd(SiMVC):
            def optimizers(self) -> tuple[OptimizerSettings, ...]:
                return settings

        with pytest.raises(ValueError, match=message):
            VictimClusterer(Odd(SHAPES, 10))


class TestClusters:
    @pytest.mark.parametrize("kind", [MultiVAE, SEM])
    def test_are_found_on_the_training_part_after_the_last_step(self, kind: type[Clusterer], tmp_path: Path) -> None:
        module, data = victim(kind), FewDigits()
        trainer(tmp_path, max_epochs=EPOCHS).fit(module, data)
        clusterer = module.clusterer.eval()
        with torch.no_grad():
            fused = torch.cat([clusterer(batch.views).fused for batch in data.val_dataloader()])
        k_means = KMeans(10, n_init=2, random_state=0).fit(fused.numpy())
        torch.testing.assert_close(clusterer.clusters.centres, torch.from_numpy(k_means.cluster_centers_))

    @pytest.mark.parametrize("settings", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 2}, {"max_steps": 4}])
    def test_are_found_however_training_is_set_up(self, settings: dict[str, int], tmp_path: Path) -> None:
        looks = []

        class Watched(MultiVAE):
            def fit_clusters(self, training_views: object, final: bool) -> None:
                assert not self.training
                looks.append(final)
                super().fit_clusters(training_views, final)

        torch.manual_seed(0)
        module = VictimClusterer(Watched(SHAPES, 10))
        trainer(tmp_path, max_epochs=EPOCHS, **settings).fit(module, FewDigits())
        assert looks == ([False, True] if "max_steps" in settings else [False, False, True])
        assert module.clusterer.clusters.centres.any()

    @pytest.mark.parametrize("monitor", ["train/loss", "val/nmi"])
    def test_are_found_thoroughly_and_kept_when_training_stops_early(self, monitor: str, tmp_path: Path) -> None:
        module = victim(MultiVAE, starts=20)
        callbacks = [
            EarlyStopping(monitor, patience=0, mode="max", min_delta=1e9),
            ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False),
        ]
        data = FewDigits()
        trainer(tmp_path, max_epochs=9, callbacks=callbacks, enable_checkpointing=True).fit(module, data)
        clusterer = load_clusterer(tmp_path / "last.ckpt")
        with torch.no_grad():
            fused = torch.cat([clusterer(batch.views).fused for batch in data.val_dataloader()])
        k_means = KMeans(10, n_init=20, random_state=0).fit(fused.numpy())
        torch.testing.assert_close(clusterer.clusters.centres, torch.from_numpy(k_means.cluster_centers_))

    def test_what_is_not_finite_stops_training(self) -> None:
        with pytest.raises(TrainingError, match="not finite any more"):
            small(SEM).clusters.fit(torch.full((20, 256), float("nan")))

    @pytest.mark.parametrize("kind", [MultiVAE, EAMC])
    def test_a_breakdown_is_said_and_not_written_over_the_checkpoint(self, kind: type[Clusterer], tmp_path: Path) -> None:
        class Explode(Callback):
            def on_train_epoch_start(self, trainer: Trainer, module: ClustererModule) -> None:
                if trainer.current_epoch == 1:
                    for optimizer in trainer.optimizers:
                        optimizer.param_groups[0]["lr"] = float("inf")

        checkpoint = RunCheckpoint(tmp_path)
        run = trainer(tmp_path, max_epochs=3, callbacks=[Explode(), checkpoint], enable_checkpointing=True)
        with pytest.raises(TrainingError, match="the loss is nan after epoch 1"):
            run.fit(victim(kind), FewDigits())
        assert all(torch.isfinite(parameter).all() for parameter in load_clusterer(tmp_path / "last.ckpt").parameters())

    @pytest.mark.filterwarnings("ignore")  # Lightning on loaders and workers
    def test_a_plain_loader_feeds_every_batch_and_k_means_every_sample(self, tmp_path: Path) -> None:
        data = FewDigits()
        batches = [data.subset("victim").batch(torch.arange(start, start + 10)) for start in (0, 10, 20)]
        loader = torch.utils.data.DataLoader(batches, batch_size=None, shuffle=True, num_workers=1, persistent_workers=True)
        seen = []

        class Watched(SEM):
            def fit_clusters(self, training_views: object, final: bool) -> None:
                seen.append(torch.cat([views[0] for views in training_views]))
                super().fit_clusters(training_views, final)

        torch.manual_seed(0)
        module, keep = VictimClusterer(Watched(SHAPES, 10, **SMALL[SEM])), Keep()
        trainer(tmp_path, max_epochs=EPOCHS, callbacks=[keep]).fit(module, train_dataloaders=loader)
        assert len(keep.states) == EPOCHS * 3
        whole = torch.cat([batch.views[0] for batch in batches])
        assert all(torch.equal(views, whole) for views in seen)

    @pytest.mark.parametrize("kind", [MultiVAE, SEM])
    def test_are_found_in_the_precision_of_training(self, kind: type[Clusterer], tmp_path: Path) -> None:
        module = victim(kind)
        trainer(tmp_path, max_epochs=EPOCHS, precision="64-true").fit(module, FewDigits())
        assert module.clusterer.clusters.centres.any()

    @pytest.mark.parametrize("kind", [MultiVAE, SEM])
    def test_steps_are_counted(self, kind: type[Clusterer], tmp_path: Path) -> None:
        assert [state.noise.step for state in fit(victim(kind), tmp_path).states] == list(range(1, 10))


class TestRefusals:
    @pytest.mark.parametrize("kind", STAGED)
    def test_training_that_would_end_before_the_last_stage(self, kind: type[Clusterer], tmp_path: Path) -> None:
        first = {SEM: 2}.get(kind, 1)
        module = victim(kind)
        with pytest.raises(ConfigurationError, match=f"max_epochs = {first} ends before the last stage of {kind.__name__}"):
            trainer(tmp_path, max_epochs=first).fit(module, FewDigits())
        module.check_trainer(trainer(tmp_path, max_epochs=first + 1), "fit")
        module.check_trainer(trainer(tmp_path, max_epochs=-1), "fit")
        module.check_trainer(trainer(tmp_path, fast_dev_run=True), "fit")
        module.check_trainer(trainer(tmp_path, max_epochs=first), "test")
        with pytest.raises(ConfigurationError, match=f"max_steps = {3 * first} ends before the last stage of {kind.__name__}"):
            trainer(tmp_path, max_epochs=EPOCHS, max_steps=3 * first).fit(victim(kind), FewDigits())

    def test_learning_rates_that_are_not_positive(self) -> None:
        for rate in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="learning_rate must be positive"):
                VictimClusterer(small(SiMVC), learning_rate=rate)

    def test_clipping_where_optimisers_take_turns(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"trainer.gradient_clip_val: the optimisers of EAMC alternate"):
            victim(EAMC).check_trainer(trainer(tmp_path, gradient_clip_val=1.0), "fit")

    @pytest.mark.parametrize("kind", SMALL)
    def test_batches_smaller_than_the_number_of_clusters(self, kind: type[Clusterer], tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="batch_size = 9 is smaller than the number of clusters, 10"):
            trainer(tmp_path, max_epochs=EPOCHS).fit(victim(kind), FewDigits(batch_size=9))

    @pytest.mark.parametrize("kind", SMALL)
    def test_inner_attacks_on_what_the_clusterer_has_not(self, kind: type[Clusterer]) -> None:
        make = lambda: RobustDefender(small(kind), PGD("contrastive_alignment", 0.1))  # noqa: E731
        if kind in (CoMVC, AECoDDC, SEM):
            make()
            return
        with pytest.raises(
            ConfigurationError,
            match=f"a contrastive loss.*{kind.__name__} has not; to it apply assignment_divergence, attack_distance",
        ):
            make()

    def test_in_a_suite_they_are_left_out_and_said(self, tmp_path: Path) -> None:
        module = VictimClusterer(small(SiMVC), epsilon=0.1)
        trainer(tmp_path).test(module, FewDigits(), verbose=False)
        assert list(module.report.scores) == ["clean", "noise", "apgd_cross_entropy", "apgd_distance"]
        assert any(note.startswith("apgd_contrastive is left out: contrastive_alignment") for note in module.report.notes)
