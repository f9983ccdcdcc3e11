"""What the three modules share: a clusterer, its metrics, its evaluation under attack, and what a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.rank_zero import rank_zero_info  # type: ignore[attr-defined]
from torch import Tensor, nn

from ar_dmvc.attacks import Attack, Views, standard_suite, undisturbed
from ar_dmvc.checkpoint import current_name, load_state, name_of, submodule_state
from ar_dmvc.clusterers import Clusterer, Smoothed
from ar_dmvc.clusterers.base import check_positive
from ar_dmvc.clusterers.loading import BUILT_IN
from ar_dmvc.data import MultiViewBatch, MultiViewDataModule, describe_part, may_overlap
from ar_dmvc.data.part import joined
from ar_dmvc.distributed import exchange_sizes, global_batch, shares
from ar_dmvc.errors import CheckpointError, ConfigurationError, DivergedError
from ar_dmvc.evaluation import (
    CertifiedReport,
    CurveEvaluator,
    CurveReport,
    RobustnessEvaluator,
    RobustnessReport,
    SmoothingEvaluator,
    attack_figure,
    certified_figure,
    curve_figure,
    model_card,
    print_certified,
    print_curve,
    print_report,
    projection_figure,
)
from ar_dmvc.evaluation.sanity import CLEAN
from ar_dmvc.evaluation.so_far import SoFar
from ar_dmvc.files import write_whole
from ar_dmvc.losses import full_precision
from ar_dmvc.metrics import clustering_metrics, compute_metrics
from ar_dmvc.modules.strategy import OF_ALL_PROCESSES, batch_number, check_amount, check_strategy, data_of, prepare_strategy
from ar_dmvc.networks import synchronise_batch_norm
from ar_dmvc.runs.checkpoints import WholeCheckpointIO, keep_final, own_state
from ar_dmvc.runs.folder import keep_picture, run_folder
from ar_dmvc.runs.machine import machine
from ar_dmvc.signatures import TypesChecked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENOUGH_TO_PROJECT = 20


class Prediction(NamedTuple):
    """Of each sample of a batch: position in the data set, cluster, and the assignment's confidence in [1/K, 1]; (N,)."""

    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a batch
    cluster: Tensor
    confidence: Tensor


class ClustererModule(TypesChecked, LightningModule):
    """Base of the three modules: validates, tests and predicts with its clusterer.

    Attributes:
        report: of the last test.
        epsilons: budgets of the curve that a test draws; none by default.
        resolution: to which it searches the smallest budget that moves each sample; None: not at all.
        curve: of the last test, where one was drawn.
        card: whether a test leaves a model card as well, beside its other files and the checkpoint.
        training_facts: how the clusterer was trained, in words by name, for the card.
        identity: of the test at hand, with which one that was interrupted goes on in the same folder; empty: it begins again.
        alone: whether a test puts each attacked sample among clean ones, for ``batch_statistics``.
        prints: whether a test prints what it finds; it is kept in any case.
        sigma: of the noise with which a test smooths the clusterer, to attack it and to certify radii; None: it does not.
        draws: of that noise, for each sample whose radius is certified.
        attack_draws: of that noise, for each sample in each pass of an attack.
        certified: of the last test, where radii were certified.
        can_go_on_from_here: whether a run that is interrupted now can go on from the state at hand.

    Args:
        clusterer: what is trained or attacked.
        attacks: the suite to test under, by name; None: the standard one.
        epsilon: L-infinity budget of attacks that name none of their own; from the command line, that of the data.
        batch_statistics: test in training mode, so that batch norm uses the statistics of the batch at hand, as published
            settings do; a deployed clusterer does not.
        global_batch: on several devices, whether losses are those of the global batch, so that their number does not matter.
            With False each device has a loss of its own part of the batch, averaged over devices: less to exchange, but another
            objective, because these losses couple all samples of a batch. Batch norm is synchronised either way.
        compile: compile the networks with ``torch.compile``, which takes a while at first; on CPUs it brought no speed-up.
    """

    held_in_checkpoint: ClassVar[tuple[str, ...]] = ()
    """Arguments that name a checkpoint for which this module's own can stand in."""
    only_for_training: ClassVar[tuple[str, ...]] = ()
    """Arguments that a trained module does without."""

    def __init__(
        self,
        clusterer: Clusterer,
        attacks: Mapping[str, Attack] | None = None,
        epsilon: float | None = None,
        batch_statistics: bool = False,
        global_batch: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(clusterer, Clusterer):
            raise TypeError(f"clusterer: a Clusterer is trained or attacked, not a {type(clusterer).__name__}")
        if epsilon is not None:
            check_positive(epsilon=epsilon)
        clusterer.description()  # said now rather than when the first checkpoint is due
        self.clusterer = clusterer
        self.epsilon = epsilon
        self.batch_statistics = batch_statistics
        self.global_batch = global_batch
        self.compiles = compile
        self.attacks = standard_suite() if attacks is None else dict(attacks)
        for name in self.attacks:
            if not (isinstance(name, str) and name.isprintable() and name.strip() and "/" not in name):
                raise ConfigurationError(f"attacks: {name!r} cannot be an attack's name; printable characters without '/' can")
        self.metrics = clustering_metrics()
        self.report: RobustnessReport | None = None
        self.epsilons: Sequence[float] = ()
        self.resolution: float | None = None
        self.curve: CurveReport | None = None
        self.card = False
        self.training_facts: Mapping[str, str] = {}
        self.identity = ""
        self.alone = False
        self.prints = True
        self.sigma: float | None = None
        self.draws = 1000
        self.attack_draws = 16
        self.certified: CertifiedReport | None = None
        self.trained_on: object = None
        self.can_go_on_from_here = False

    def forward(self, views: Views, mask: Tensor | None = None) -> Tensor:
        """Soft assignments (N, K) of V views (N, *shape_v), of which ``mask`` (N, V) says which are there; None: all."""
        assignments: Tensor = full_precision(self.clusterer.cluster(views, mask).assignments)
        return assignments

    def setup(self, stage: str) -> None:
        """Check that trainer, data and clusterer fit."""
        self.check_trainer(self.trainer, stage)
        self.can_go_on_from_here = False
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = WholeCheckpointIO()
        data = data_of(self.trainer)
        if data is not None:
            self.check_data(data, stage)
        if self.compiles and stage == "fit":
            # Crafting, training and validation have variants of their own; torch gives up beyond a limit that they would reach.
            torch._dynamo.config.recompile_limit = max(32, torch._dynamo.config.recompile_limit)
            for network in self.networks():
                network.compile(dynamic=False)
        if stage == "fit" and self.trainer.world_size > 1:
            synchronise_batch_norm(self)
            prepare_strategy(self.trainer.strategy, self.leaves_parameters_out)

    def networks(self) -> Sequence[nn.Module]:
        """The networks that most of the time is spent in."""
        return [self.clusterer]

    @property
    def leaves_parameters_out(self) -> bool:
        """Whether there are steps in which some parameters get no gradient."""
        return not self.automatic_optimization

    def in_global_batch(self, batch: MultiViewBatch) -> AbstractContextManager[None]:
        """The context of a training step: on several devices, the global batch."""
        if self.trainer.world_size == 1:
            return nullcontext()
        data = data_of(self.trainer)
        if data is not None:  # which leaves out the incomplete last batch: there is nothing to exchange
            return global_batch(shares(data.batch_size, self.trainer.world_size), self.global_batch)
        return global_batch(exchange_sizes(len(batch.index), self.device), self.global_batch)

    def check_data(self, data: MultiViewDataModule, stage: str) -> None:
        """Check that data and clusterer fit.

        Args:
            data: what is used.
            stage: what for: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            ConfigurationError: the data has other views, or views outside the box that attacks keep to.
        """
        expected = tuple(map(tuple, data.view_shapes))
        if self.clusterer.view_shapes != expected:
            raise ConfigurationError(
                f"the clusterer takes views of shapes {self.clusterer.view_shapes}, {data.name} has {expected}"
            )
        if data.is_incomplete and not self.clusterer.takes_incomplete:
            able = ", ".join(kind.__name__ for kind in BUILT_IN if kind.takes_incomplete)
            raise ConfigurationError(
                f"{data.name} has samples without some views, which {type(self.clusterer).__name__} does not take; {able} do"
            )
        for attack in self.attacks.values():
            attack.check_views(expected)
        if stage == "test" and self.attacks:
            self.check_range(data, "attacks keep views in [0, 1]")
        if stage == "test" and self.sigma is not None:
            self.check_range(data, "sigma: noisy views are clipped to [0, 1]")

    def check_range(self, data: MultiViewDataModule, why: str) -> None:
        """Check that views are in [0, 1].

        Raises:
            ConfigurationError: they are not.
        """
        if not data.in_unit_range:
            raise ConfigurationError(f"{why}, and the views of {data.name} are not; scale them with data.scaling = min_max")

    def check_evaluation(self) -> None:
        """Check what a test is asked for beside its attacks.

        Raises:
            ConfigurationError: a value out of range, or two settings that contradict each other.
        """
        if self.sigma is not None:
            check_smoothing(self.sigma, draws=self.draws, attack_draws=self.attack_draws)
            if self.batch_statistics:
                raise ConfigurationError(
                    "sigma: nothing can be certified with model.batch_statistics, where clusters depend on the batch"
                )
        if self.alone and not self.batch_statistics:
            raise ConfigurationError("alone: without model.batch_statistics no sample's cluster depends on the others")
        if self.alone and self.epsilons:
            raise ConfigurationError("alone: curves are of samples attacked together; leave out epsilons")
        if self.epsilons:
            try:
                CurveEvaluator(self._divided_suite()[0], self.epsilons, self.resolution)
            except ValueError as error:
                raise ConfigurationError(str(error)) from error

    def on_fit_start(self) -> None:
        """Remember what the clusterer is trained on."""
        data = data_of(self.trainer)
        if data is not None:
            self.trained_on = describe_part(data, self.trained_on)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.metrics.reset()

    def validation_step(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """Count a clean batch."""
        if batch.labels is not None and len(batch.labels):
            self.metrics.update(self(batch.views, batch.mask).argmax(1), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log the clean metrics."""
        for name, value in compute_metrics(self.metrics).items():
            self.log(f"val/{name}", value, prog_bar=name in ("acc", "nmi"), **OF_ALL_PROCESSES)

    def on_test_start(self) -> None:
        """Set up the suite."""
        self.check_evaluation()
        applicable, self.left_out = self._divided_suite()
        self.evaluator = RobustnessEvaluator(applicable, self.alone)
        self.clusterer.train(self.batch_statistics)
        self.growing = CurveEvaluator(applicable, self.epsilons, self.resolution) if self.epsilons else None
        self.smoothing = SmoothingEvaluator(self.sigma, self.draws) if self.sigma is not None else None
        data = data_of(self.trainer)
        if data is not None and any(attack.learns for attack in applicable.values()):
            batches = [self.transfer_batch_to_device(batch, self.device, 0) for batch in data.test_part()]
            self.evaluator.fit(self.tested(), [(batch.views, batch.mask, batch.index) for batch in batches])
        self.so_far = self._taken_up()

    def _taken_up(self) -> SoFar:
        """What an earlier process has behind it of the same test."""
        folder = run_folder(self.trainer) if self.identity else None
        evaluators = [one for one in (self.evaluator, self.growing, self.smoothing) if one is not None]
        so_far = SoFar(folder, self.identity, {name: metric for one in evaluators for name, metric in one.metrics.items()})
        so_far.restore()
        if so_far.batches:
            self.evaluator.meet(self.tested())
            rank_zero_info(f"ardmvc: goes on after batch {so_far.batches} of this test")
        return so_far

    def tested(self, position: int = 0) -> Clusterer:
        """What is attacked in a test: the clusterer, smoothed with noise where ``sigma`` is set.

        Args:
            position: of the batch, which with a seed names the noise.
        """
        if self.sigma is None:
            return self.clusterer
        smoothed = Smoothed(self.clusterer, self.sigma, self.attack_draws)
        smoothed.reseed(position)
        return smoothed

    def test_suite(self) -> dict[str, Attack]:
        """The attacks to test under, each with a budget."""
        return {name: attack.with_default_budget(self.epsilon) for name, attack in self.attacks.items()}

    def _divided_suite(self) -> tuple[dict[str, Attack], dict[str, str]]:
        """The attacks that apply to the clusterer, and why the others do not."""
        suite = self.test_suite()
        left_out = {name: reason for name, attack in suite.items() if (reason := attack.why_not(self.clusterer))}
        return {name: attack for name, attack in suite.items() if name not in left_out}, left_out

    def test_step(self, batch: MultiViewBatch, batch_idx: int) -> None:
        """Attack a batch and count, unless an earlier process did."""
        if batch_idx < self.so_far.batches:
            return
        number = batch_number(self.trainer, batch_idx)
        attacked = self.evaluator.update(self.tested(number), batch.views, batch.labels, number, batch.mask, batch.index)
        if self.growing is not None:
            self.growing.update(self.tested(number), batch.views, batch.labels, number, batch.mask, batch.index)
        if self.smoothing is not None:
            self.smoothing.update(self.clusterer, batch.views, batch.labels, number, batch.mask, batch.index)
        if batch_idx == 0:
            for name, views in attacked.items():
                clusters = self.evaluator.latest[CLEAN], self.evaluator.latest[name]
                keep_picture(self.trainer, f"test/{name}", partial(attack_figure, batch.views, views, clusters=clusters))
            if attacked and len(batch.index) >= _ENOUGH_TO_PROJECT:
                clean, latest = self.evaluator.latest[CLEAN], self.evaluator.latest
                strongest = max(attacked, key=lambda name: int((latest[name] != clean).sum()))
                keep_picture(self.trainer, "test/projection", partial(self._projection, batch, strongest, attacked[strongest]))
        self.so_far.add_batch()

    @torch.no_grad()
    def _projection(self, batch: MultiViewBatch, name: str, views: Views) -> Figure:
        """The representations of a batch, clean and under one attack."""
        with undisturbed(self.clusterer):
            before, after = (self.tested().cluster(part, batch.mask) for part in (batch.views, views))
        clusters = before.assignments.argmax(1)
        return projection_figure(before.fused, after.fused, clusters, after.assignments.argmax(1) != clusters, name)

    def on_test_epoch_end(self) -> None:
        """Log, print and keep the scores."""
        self.report = self.evaluator.compute()
        self.report.notes.extend(f"{name} is left out: {reason}." for name, reason in self.left_out.items())
        data = data_of(self.trainer)
        if data is not None and may_overlap(self.trained_on, data, data.test_partition):
            self.report.notes.append("the clusterer may have been trained on some of these samples.")
        self.report.about.update(self._about(len(self.report.record.clean)))
        curve = None if self.growing is None else self.growing.compute()
        self.report.notes.extend([] if curve is None else self._notes_on(curve))
        for attack, scores in self.report.rows().items():
            self.log_dict({f"test/{attack}/{metric}": value for metric, value in scores.items()}, **OF_ALL_PROCESSES)
        if self.trainer.is_global_zero:
            self._keep_report(self.report)
        if curve is not None:
            self._keep_curve(curve)
        if self.smoothing is not None:
            self._keep_certified(self.smoothing.compute())
        self.so_far.forget()
        del self.evaluator, self.growing, self.smoothing, self.so_far

    def _keep_report(self, report: RobustnessReport) -> None:
        if self.prints:
            print_report(report, f"{self._title} under attack")
        if (folder := run_folder(self.trainer)) is not None:
            report.write(folder)
            if self.card:
                self._keep_card(report, folder)

    def _keep_card(self, report: RobustnessReport, folder: Path) -> None:
        data = data_of(self.trainer)
        part = "" if data is None else f", partition {data.test_partition}"
        shapes = ", ".join(" x ".join(map(str, shape)) for shape in self.clusterer.view_shapes)
        facts = {"views": shapes, "clusters": str(self.clusterer.num_clusters), **self.training_facts}
        checkpoint = Path(self.trainer.ckpt_path or "last.ckpt")
        kind = name_of(type(self.clusterer))
        card = model_card(report, self.tested_name, f"{len(report.record.clean)} samples{part}", facts, checkpoint.name, kind)
        write_whole(folder / "MODEL_CARD.md", card)
        if self.trainer.ckpt_path is not None:
            with suppress(OSError):  # a folder that others may only read
                write_whole(checkpoint.with_suffix(".md"), card)

    def _about(self, samples: int) -> dict[str, str]:
        """What is tested, on what, with which versions."""
        data = data_of(self.trainer)
        return {
            "data": "" if data is None else _data_name(data),
            "licence of the data": "" if data is None else data.licence,
            "samples": str(samples),
            "clusterer": type(self.clusterer).__name__,
            "module": type(self).__name__,
            "smoothed with noise of": "" if self.sigma is None else f"{self.sigma:g}",
            "batch statistics": "of the batch at hand" if self.batch_statistics else "of training",
            "attacked samples": "each among clean ones" if self.alone else "all together",
            **machine(self.device),
        }

    @property
    def tested_name(self) -> str:
        """What is tested, as tables call it."""
        return type(self.clusterer).__name__

    @property
    def _title(self) -> str:
        name = self.tested_name
        return name if self.sigma is None else f"{name}, smoothed with noise of {self.sigma:g},"

    def _keep_curve(self, curve: CurveReport) -> None:
        self.curve = curve
        keep_picture(self.trainer, "test/curve", partial(curve_figure, curve))
        if self.trainer.is_global_zero:
            if self.prints:
                print_curve(curve, self._title.rstrip(","))
            if (folder := run_folder(self.trainer)) is not None:
                curve.write(folder)

    def _notes_on(self, curve: CurveReport) -> list[str]:
        notes = [f"over budgets: {note}" for note in curve.notes]
        if self.smoothing is not None and not self._is_certified_of:
            notes.append(
                "the curve is not drawn beside the certificates, which are of perturbations in L2 of all views as one: "
                "norm: l2 and joint: true of every attack."
            )
        return notes

    @property
    def _is_certified_of(self) -> bool:
        """Whether all attacks of the suite perturb in the way that certificates are of."""
        return {(attack.norm, attack.views, attack.joint) for attack in self.test_suite().values()} == {("l2", None, True)}

    def _keep_certified(self, certified: CertifiedReport) -> None:
        self.certified = certified
        beside = self.curve if self.growing is not None and self._is_certified_of else None
        keep_picture(self.trainer, "test/certified", partial(certified_figure, certified, beside))
        if self.trainer.is_global_zero:
            if self.prints:
                print_certified(certified)
            if (folder := run_folder(self.trainer)) is not None:
                certified.write(folder)

    def predict_step(self, batch: MultiViewBatch, batch_idx: int) -> Prediction:
        """Cluster a batch."""
        confidence, cluster = self(batch.views, batch.mask).max(1)
        return Prediction(batch.index, cluster, confidence)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is needed to make the clusterer again."""
        checkpoint["module"] = type(self).__name__
        checkpoint["clusterer"] = self.clusterer.description()
        checkpoint["trained_on"] = self.trained_on

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this module and clusterer, and what it has for callbacks that keep checkpoints.

        Remembers what the clusterer was trained on.
        """
        self.check_checkpoint(checkpoint)
        self.trained_on = checkpoint.get("trained_on")
        states = checkpoint.get("callbacks", {})
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
                states[callback.state_key] = own_state(callback, states[callback.state_key])

    def check_checkpoint(self, checkpoint: Mapping[str, Any], source: str | Path = "the checkpoint") -> None:
        """Check that a checkpoint is one of this module and clusterer.

        Raises:
            CheckpointError: it is of another kind, or its clusterer is another.
        """
        kind, own_kind = checkpoint.get("module"), type(self).__name__
        if kind != own_kind:
            raise CheckpointError(f"{source}: is of a {kind or 'module of unknown kind'}, not of a {own_kind}")
        self._check_clusterer_of(checkpoint, source)

    def begin_with(self, checkpoint: Mapping[str, Any], source: str | Path) -> None:
        """Take the clusterer's weights and buffers from another run's checkpoint, a victim's or a defender's.

        Raises:
            CheckpointError: its clusterer is another, or was made with other settings.
            ConfigurationError: this module does not train its clusterer.
        """
        self._check_clusterer_of(checkpoint, source)
        load_state(self.clusterer, submodule_state(checkpoint, "clusterer"), source)
        self.trained_on = joined(checkpoint.get("trained_on"), self.trained_on)

    def _check_clusterer_of(self, checkpoint: Mapping[str, Any], source: str | Path) -> None:
        theirs, own = checkpoint.get("clusterer"), self.clusterer.description()
        class_path, arguments = map(theirs.get, ("class_path", "init_args")) if isinstance(theirs, Mapping) else (None, None)
        if current_name(str(class_path)) != own["class_path"] or not isinstance(arguments, Mapping):
            raise CheckpointError(f"{source}: its clusterer is a {class_path!r}, not a {own['class_path']}")
        for name, value in own["init_args"].items():
            kept = arguments.get(name)
            if kept != value:
                raise CheckpointError(f"{source}: its clusterer was made with {name} = {kept!r}, this one with {value!r}")

    def check_trainer(self, trainer: Trainer, stage: str) -> None:
        """Check that the trainer does what this module needs, for ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            ConfigurationError: settings under which nothing is trained; on several devices, another strategy than ``ddp`` or
                Lightning's own synchronised batch norm.
        """
        check_strategy(trainer)
        if stage == "fit":
            check_amount(trainer)

    def on_train_batch_end(self, outputs: object, batch: MultiViewBatch, batch_idx: int) -> None:
        """Stop at the end of an epoch where training has broken down; the checkpoint of the epoch before is kept.

        Raises:
            DivergedError: the loss is not finite.
        """
        if not self.trainer.is_last_batch:
            return
        if not self.trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(self.last_loss))):
            self.keep_earlier_checkpoint()
            raise DivergedError(
                f"the loss is {float(self.last_loss)} after epoch {self.current_epoch}; a smaller learning rate may help"
            )

    def about_to_stop(self) -> None:
        """All processes are between two steps and about to stop: a checkpoint, if asked for, is whole.

        One within a step, where an error or ``SystemExit`` may come from, would not be: nothing could go on from it exactly.
        """
        self.can_go_on_from_here = True

    def keep_earlier_checkpoint(self) -> None:
        """Let what has broken down not be written over the checkpoint of the epoch before."""
        self.can_go_on_from_here = False

    def on_fit_end(self) -> None:
        """Leave a checkpoint of the end, also where training had ended before."""
        self.keep_final(changed=False)

    def keep_final(self, changed: bool) -> None:
        """Leave a checkpoint of the state in which training ended.

        Args:
            changed: whether that is another than after the last step.
        """
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                keep_final(callback, self.trainer, changed)

    def log_losses(self, terms: Mapping[str, Tensor], batch_size: int) -> None:
        """Log loss terms of a training step, their mean over an epoch."""
        self.last_loss = terms["loss"].detach()
        values = {f"train/{name}": term.detach() for name, term in terms.items()}
        self.log_dict(values, on_step=False, on_epoch=True, sync_dist=True, batch_size=batch_size)


def check_smoothing(sigma: float, **draws: int) -> None:
    """Check the deviation of smoothing noise, and numbers of draws, by name.

    Raises:
        ConfigurationError: one is out of range.
    """
    if not 0 < sigma < math.inf:
        raise ConfigurationError(f"sigma = {sigma}: a positive, finite number is expected")
    for name, count in draws.items():
        if count < 1:
            raise ConfigurationError(f"{name} = {count}: at least one")


def restart(optimizer: LightningOptimizer) -> None:
    """Forget what an optimiser has gathered, as if it were new."""
    optimizer.optimizer.state.clear()


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of loss terms."""
    return torch.stack(list(terms.values())).sum()


def _data_name(data: MultiViewDataModule) -> str:
    return data.name if data.classes is None else f"{data.name} (classes {', '.join(map(str, data.classes))})"
