"""One command of ``fit``, ``validate``, ``test`` and ``predict``: classes wired from a configuration, checked, and run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import or_
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info  # type: ignore[attr-defined]
from numpy.typing import NDArray

from ar_dmvc.arguments import check_devices, checkpoint_named, clusterers_named, complete, last_checkpoint, runs_folder
from ar_dmvc.callbacks import (
    EpochLines,
    InterruptBetweenSteps,
    PredictionWriter,
    RunCheckpoint,
    RunRecord,
    StabilityUnderAttack,
)
from ar_dmvc.callbacks.prediction import Columns
from ar_dmvc.checkpoint import load_state, read_checkpoint, submodule_state
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.clusterers.loading import check_allowed
from ar_dmvc.data import MultiViewDataModule
from ar_dmvc.errors import CheckpointError, ConfigurationError, DataError, TrainingError, is_out_of_memory, message_of
from ar_dmvc.evaluation import CertifiedReport, CurveReport, RobustnessReport
from ar_dmvc.files import write_whole
from ar_dmvc.imports import bound_imports
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.strategy import check_cores
from ar_dmvc.plain_words import put_plainly
from ar_dmvc.recorded import check_resumed, training_facts
from ar_dmvc.runs.checkpoints import check_trainer_state, epochs_begun
from ar_dmvc.runs.folder import (
    check_still_there,
    claimed,
    concerns_folder,
    folder_of,
    give_own_folder,
    has_named_folder,
    is_first_process,
    run_folder,
)
from ar_dmvc.runs.ids import keep_earlier_metrics, name_folder_by_id
from ar_dmvc.runs.job import Job, fingerprint_of
from ar_dmvc.runs.machine import machine
from ar_dmvc.runs.online import reach_wandb
from ar_dmvc.settings import Source, as_arguments, load_yaml
from ar_dmvc.starts import Start, best_start, check_starts, list_starts
from ar_dmvc.suggestions import with_suggestion

_ONE_PROCESS = "lightning.pytorch.plugins.environments.LightningEnvironment"
"""What lets a trainer be on its own, whatever launched the process."""


@dataclass(frozen=True)
class Run:
    """What a call made.

    Attributes:
        folder: of its files; None in processes that write none.
        checkpoint: that it wrote or used; None where there is none.
        module: as it is now.
        data: what was used.
        metrics: the last value of each that was logged.
        report: of a test.
        curve: of a test over several budgets.
        certified: of a test that certified radii.
        predictions: of a prediction, by name, in the order of the data.
        starts: of several, that which was kept first.
        asked_to_end: whether SIGTERM came while it ran, too late to stop it.
        machine: versions, device and machine, in words.
    """

    folder: Path | None
    checkpoint: Path | None
    module: ClustererModule
    data: MultiViewDataModule
    metrics: dict[str, float] = field(default_factory=dict)
    report: RobustnessReport | None = None
    curve: CurveReport | None = None
    certified: CertifiedReport | None = None
    predictions: Columns | None = None
    starts: Sequence[Start] = ()
    asked_to_end: bool = False
    machine: Mapping[str, str] = field(default_factory=dict)


def _integers_first() -> None:
    """Let a trainer's ``limit_test_batches=1`` be a batch rather than all of them, whatever was imported before.

    ``Optional[Union[int, float]]`` is the object that the first ``Optional[Union[float, int]]`` of the process made, if there
    was one, and a parser tries its types in their order.
    """
    function: Any = Trainer.__init__
    while function is not None:
        for name, kind in function.__annotations__.items():
            kinds = get_args(kind)
            if {int, float} <= set(kinds):
                function.__annotations__[name] = reduce(or_, [int, *(one for one in kinds if one is not int)])
        function = getattr(function, "__wrapped__", None)


_COMMANDS = ("fit", "validate", "test", "predict")


class Session(LightningCLI):
    """One command: Lightning's command line with a model and data from ``ar_dmvc``.

    Args:
        command: one of ``fit``, ``validate``, ``test``, ``predict``.
        args: what follows the command.
        alone: whether it is one of several that this process runs, so that Lightning must not start the process again.
    """

    def __init__(self, command: str, args: Sequence[str], alone: bool = False) -> None:
        if command not in _COMMANDS:
            raise ConfigurationError(f"command: {command!r} is not one of {', '.join(_COMMANDS)}")
        if isinstance(args, str):
            raise ConfigurationError(f"arguments: a list of them is expected, not the text {args!r}")
        self._command = command
        self._args = list(args)
        self._alone = alone
        self._chosen: Run | None = None
        _integers_first()
        bound_imports()
        super().__init__(
            ClustererModule,
            MultiViewDataModule,
            save_config_callback=RunRecord,
            trainer_defaults={"callbacks": [InterruptBetweenSteps(), EpochLines()]},
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "prog": "ardmvc", command: {"exit_on_error": False}},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=[command, *complete(command, args)],
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the command at hand: building the settings of all four would quadruple the start."""
        return {self._command: super().subcommands()[self._command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let view shapes, number of clusters and budget flow from the data to the model; set defaults."""
        for name in ("view_shapes", "num_clusters"):
            parser.link_arguments(f"data.{name}", f"model.init_args.clusterer.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("data.epsilon", "model.init_args.epsilon", apply_on="instantiate")
        parser.add_argument(
            "--allow",
            type=str | list[str],
            default=[],
            help="classes from outside ar_dmvc that checkpoints may name, by class path: --allow mine.Mine",
        )
        parser.link_arguments("allow", "model.init_args.allowed", compute_fn=clusterers_named)
        parser.add_argument(
            "--oversubscribe", type=bool, default=False, help="let several processes (trainer.devices) share a processor core"
        )
        if self._command == "test":
            parser.add_argument(
                "--epsilons", type=list[float], default=[], help="draw a curve over these budgets as well: '[0, 0.05, 0.1]'"
            )
            parser.add_argument(
                "--resolution",
                type=float | None,
                default=1 / 256,
                help="with epsilons: resolution of the search for the smallest budget that moves each sample; null: no search",
            )
            parser.add_argument(
                "--card",
                type=bool,
                nargs="?",
                const=True,
                default=False,
                help="leave a model card, MODEL_CARD.md, beside the checkpoint NAME.md, in the form that model hubs read",
            )
            parser.add_argument(
                "--alone",
                type=bool,
                default=False,
                help="put each attacked sample among clean ones: with model.batch_statistics its cluster depends on the others",
            )
            parser.add_argument(
                "--sigma",
                type=float | None,
                default=None,
                help="test the clusterer smoothed with Gaussian noise of this standard deviation, and certify radii as well",
            )
            parser.add_argument("--draws", type=int, default=1000, help="with sigma: noisy copies to certify each sample")
            parser.add_argument(
                "--attack_draws", type=int, default=16, help="with sigma: noisy copies of each sample in each pass of an attack"
            )
        logger = {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": "runs", "name": self._command},
        }
        defaults: dict[str, Any] = {
            "trainer.logger": logger,
            "trainer.devices": 1,
            "trainer.log_every_n_steps": 1,
            "trainer.num_sanity_val_steps": 0,
        }
        if self._command == "fit":
            parser.add_argument(
                "--init_from",
                type=str | None,
                default=None,
                help="begin with the weights of another run's clusterer, of the same settings, and with what these have seen",
            )
            parser.add_argument(
                "--starts",
                type=int,
                default=1,
                help="train so often, from seeds that follow from seed_everything, and keep one run by the loss of its last "
                "epoch and by how far the others agree with it; no label takes part. Not of a run that is gone on with "
                "(ckpt_path)",
            )
            parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
            defaults["data"] = {"class_path": "ar_dmvc.data.Digits"}  # after training, the data is the checkpoint's
        if self._command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "output")
        parser.set_defaults(defaults)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; checkpoints are read as weights and plain values only."""
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]  # always a list here
        except ArgumentError as error:
            path = checkpoint_named(args)  # type: ignore[arg-type]  # always a list here
            if re.search(r"required: .*model", str(error)) and path in (None, "last", "best"):
                own = "model: one is expected, as in --config victims/comvc.yaml; ardmvc configs lists more"
                other = "ckpt_path" + ("" if path is None else f" = {path}") + ": the file of a checkpoint is expected"
                raise ArgumentError(None, own if self._command == "fit" else other) from error
            options = self._subcommand_parsers[self._command]._option_string_actions
            raise ArgumentError(None, with_suggestion(put_plainly(str(error)), options)) from error
        settings = self.config[self._command]
        if settings["model"].get("init_args", {}).get("epsilon") is not None:
            raise ConfigurationError("model.epsilon: the budget is the data's; set data.epsilon")
        check_devices(settings["trainer"]["devices"])
        if "weights_only" in settings:
            settings["weights_only"] = True
        if "verbose" in settings:
            settings["verbose"] = self._command == "validate"  # a test prints a table of its own
        if "return_predictions" in settings:
            settings["return_predictions"] = False  # the writer keeps them, in less memory
        run_id = name_folder_by_id(settings["trainer"]) if self._command == "fit" else None
        if settings.get("ckpt_path") == "last":
            settings["ckpt_path"] = last_checkpoint(settings, run_id)

    def instantiate_classes(self) -> None:
        """Make the classes; before, fit a teacher that is given by settings. What uses a student's checkpoint does without."""
        own = self.config[self._command]
        arguments = own["model"].get("init_args", {})
        with TemporaryDirectory() if own["trainer"]["fast_dev_run"] else nullcontext("") as scratch:
            if isinstance(settings := arguments.get("teacher"), list):
                if not settings:
                    raise ConfigurationError("model.teacher: no settings; give a checkpoint, configuration files, or null")
                fits = self._command == "fit"
                arguments["teacher"] = str(self._fitted(settings, Path(scratch))) if fits else None
                self._set_seed()
            super().instantiate_classes()

    def _fitted(self, settings: Sequence[Source], scratch: Path) -> Path:
        """The checkpoint of what is fitted first, on the same data, unless it has been before.

        On several devices the first process fits it, on one of them, and the others wait.
        """
        own = self.config[self._command]
        alone = {"accelerator": own["trainer"]["accelerator"], "plugins": [_ONE_PROCESS]}
        shared = {"data": own["data"].as_dict(), "trainer": alone}
        parts = [part if isinstance(part, str) else as_arguments([part])[0] for part in (shared, *settings)]
        place = runs_folder(own["trainer"])[0] / "teachers"
        if own["trainer"]["fast_dev_run"]:
            parts += ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--starts=1"]
            place = scratch
        job = Job("fit a teacher", "fit", (*parts, f"--seed_everything={own['seed_everything']}"), place)
        first = settings[0]
        stem = Path(first).stem if isinstance(first, str) and not first.startswith("-") else "teacher"
        shown = own["trainer"]["enable_progress_bar"] is not False
        job = replace(job, folder=place / f"{stem}_{job.fingerprint[:8]}", announced=shown)
        if not job.is_done:
            Rehearsal()(self._command, self._args)  # what is wrong with the student is said before its teacher is fitted
        if is_first_process():
            job.run(_run)
        else:
            job.wait()
        return job.checkpoint

    def after_instantiate_classes(self) -> None:
        """Refuse what does not fit before anything is written."""
        if self._alone and self.trainer.world_size > 1:
            raise ConfigurationError("trainer.devices: a benchmark trains on one device; run its commands one by one for more")
        if not self.config[self._command]["oversubscribe"]:
            check_cores(self.trainer)
        if self._command == "fit":
            self._check_starts()
        if self._command == "test":
            self._set_evaluation()
        self.model.check_trainer(self.trainer, self._command)
        self.model.check_data(self.datamodule, self._command)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StabilityUnderAttack):
                callback.check(self.model, self.datamodule)
        self._check_checkpoint()
        give_own_folder(self.trainer)
        if self._command == "test" and self.trainer.world_size == 1 and has_named_folder(self.trainer):
            settings = self.config["test"].as_dict()
            self.model.identity = fingerprint_of(json.dumps(settings, default=str), settings)

    def _set_evaluation(self) -> None:
        """Tell the model what a test is asked for beside its attacks."""
        own = self.config["test"]
        self._check_only_with(own)
        self.model.epsilons = own["epsilons"]
        self.model.resolution = own["resolution"]
        self.model.card = own["card"]
        self.model.alone = own["alone"]
        self.model.prints = not self._alone
        self.model.sigma = own["sigma"]
        self.model.draws = own["draws"]
        self.model.attack_draws = own["attack_draws"]
        self.model.check_evaluation()

    def _check_starts(self) -> None:
        own = self.config["fit"]
        if own["starts"] < 1:
            raise ConfigurationError(f"starts = {own['starts']}: at least one")
        if self._starts > 1:
            check_starts(self._starts, self.model, self.trainer, own["seed_everything"])
        elif own["starts"] > 1 and own["ckpt_path"] is not None:
            rank_zero_info(f"ardmvc: goes on with {own['ckpt_path']}; starts = {own['starts']} counts for a new run")

    @staticmethod
    def _check_only_with(settings: Namespace) -> None:
        """Refuse what would be ignored.

        Raises:
            ConfigurationError: something is given that counts only with a setting that is not.
        """
        needed = {"resolution": ("epsilons", 1 / 256), "draws": ("sigma", 1000), "attack_draws": ("sigma", 16)}
        for name, (other, default) in needed.items():
            if settings[name] != default and not settings[other]:
                raise ConfigurationError(f"{name} = {settings[name]}: counts only with {other}")
        other = settings["sigma"] or settings["model"].get("init_args", {}).get("batch_statistics")
        if settings["card"] and other:
            raise ConfigurationError(
                "card: it is of what load_clusterer gives, without noise, in evaluation mode; leave out sigma and "
                "model.batch_statistics"
            )

    def _check_checkpoint(self) -> None:
        """Of what is gone on from, or begun with."""
        path, start = (self.config[self._command].get(name) for name in ("ckpt_path", "init_from"))
        if start is not None:
            if path is not None:
                raise ConfigurationError("init_from begins a new run, ckpt_path goes on with one: give one of them")
            self.model.begin_with(read_checkpoint(start), start)
        if path is not None:
            content = read_checkpoint(path)
            self.model.check_checkpoint(content, path)
            self.model.training_facts = training_facts(content)
            check_trainer_state(content, path, resumes=self._command == "fit")
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # it is this run's
            if self._command != "fit":
                return
            check_resumed(content, self.config["fit"]["model"]["init_args"].as_dict(), path)
            begun, epochs = epochs_begun(content), self.trainer.max_epochs
            if epochs is not None and 0 <= epochs < begun:
                raise ConfigurationError(f"trainer.max_epochs = {epochs}: {path} has {begun} epochs behind it already")

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            with claimed(self.trainer):
                keep_earlier_metrics(self.trainer)
                reach_wandb(self.trainer)
                run = self._keep_best_start if self._starts > 1 else partial(super()._run_subcommand, subcommand)
                run()
        except SystemExit:
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError, MemoryError, OSError) as error:
            self._say_why(error)
            raise
        finally:
            for logger in self.trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish()  # else a later run in this process would go on in the same one

    def _say_why(self, error: Exception) -> None:
        """Raise what a user can do something about, where that is what an error comes from."""
        if is_out_of_memory(error):
            size = self.datamodule.batch_size
            raise TrainingError(f"out of memory; a data.batch_size below {size} needs less ({message_of(error)})") from error
        if isinstance(error, FileNotFoundError) and concerns_folder(self.trainer, error):
            check_still_there(self.trainer)
        loaded = self.trainer._checkpoint_connector._loaded_checkpoint  # there while states are restored, no longer
        if loaded and not isinstance(error, OSError):
            path = self.config[self._command].get("ckpt_path")
            raise CheckpointError(f"{path}: holds what cannot be restored ({type(error).__name__}: {error})") from error

    @property
    def _starts(self) -> int:
        """How often to train; what is gone on with has been chosen already."""
        own = self.config[self._command]
        once = self._command != "fit" or own["ckpt_path"] is not None or own["trainer"]["fast_dev_run"]
        return 1 if once else int(own["starts"])

    def _keep_best_start(self) -> None:
        """Train from several seeds, and make the best run this one."""
        own = self.config["fit"]
        text = self._parser("fit").dump(own, skip_unset=False)
        settings = load_yaml(text)
        place, name = runs_folder(own["trainer"])
        starts = best_start(self._starts, settings, place / "starts", name, _run, self._clusters_of)
        best = starts[0]
        best.log(self.trainer.loggers, settings)
        folder = folder_of(self.trainer)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.yaml", text)
        list_starts(starts, folder / "starts.csv")
        self.model.begin_with(read_checkpoint(best.job.checkpoint), best.job.checkpoint)
        made_on = machine(self.trainer.strategy.root_device)
        kept = best.give(folder)
        self._chosen = Run(folder, kept, self.model, self.datamodule, best.metrics, starts=starts, machine=made_on)

    def _clusters_of(self, checkpoint: Path) -> NDArray[np.int64]:
        """The clusters of the training part, (N,), by another run's checkpoint, of which the clusterer takes the weights."""
        clusterer = self.model.clusterer
        load_state(clusterer, submodule_state(read_checkpoint(checkpoint), "clusterer"), checkpoint)
        clusterer.eval()
        with torch.no_grad():
            parts = [self.model(batch.views, batch.mask).argmax(1) for batch in self.datamodule.training_part()]
        clusterer.train()
        return torch.cat(parts).numpy()

    def _add_instantiators(self) -> None:
        """Lightning would have arguments kept for ``load_from_checkpoint``; checkpoints here describe themselves."""

    def _parse_ckpt_path(self) -> None:
        """Lightning would take hyperparameters from the checkpoint here; :func:`complete` has done so."""

    def made(self) -> Run:
        """What the command made."""
        if self._chosen is not None:
            return self._chosen
        trainer, settings = self.trainer, self.config[self._command]
        checkpoint = settings.get("ckpt_path")
        if self._command == "fit":
            kept = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)), None)
            checkpoint = kept and (kept.last_model_path or kept.best_model_path or kept._last_checkpoint_saved)
        writers = [callback for callback in trainer.callbacks if isinstance(callback, PredictionWriter)]  # type: ignore[attr-defined]
        return Run(
            run_folder(trainer),
            Path(checkpoint) if checkpoint else None,
            self.model,
            self.datamodule,
            {name: float(value) for name, value in trainer.callback_metrics.items()},
            self.model.report,
            self.model.curve,
            self.model.certified,
            writers[0].columns if writers else None,
            asked_to_end=trainer.received_sigterm,
            machine=machine(trainer.strategy.root_device),
        )


class Rehearsal:
    """Commands tried one after another, so that what is wrong with any is known before the first runs.

    Their settings are parsed, and model and data made of them, which checks every value; nothing is read of the data but what
    its views are, and nothing is trained or written. Where a command needs the checkpoint of another, the untrained clusterer
    of that one stands in for it.
    """

    def __init__(self) -> None:
        self._data: dict[str, MultiViewDataModule] = {}
        self._left: dict[Path, Clusterer] = {}

    def __call__(
        self, command: str, args: Sequence[str], promised: Collection[Path] = (), leaves: Path | None = None
    ) -> Clusterer | None:
        """Try a command.

        Args:
            command: one of ``fit``, ``validate``, ``test``, ``predict``.
            args: what follows the command.
            promised: checkpoints that will be there by then.
            leaves: the checkpoint that it will leave, for commands that are tried later.

        Returns:
            Its clusterer, untrained; None where it cannot be made yet, for a promised checkpoint of a command that was not
            tried, or data that is not there.

        Raises:
            ArgumentError: a file, a class or an option is not there.
            ConfigurationError: a file that holds no settings, or a checkpoint that is not there.
            ValueError: a value out of range; a class may raise any other error.
        """
        with torch.random.fork_rng(devices=[]):
            clusterer = _Tried(command, args, self, promised, leaves).clusterer
        if leaves is not None and clusterer is not None:
            self._left[leaves] = clusterer
        return clusterer

    def stand_in(self, checkpoint: Path, promised: Collection[Path]) -> Clusterer | Path | None:
        """What to give a class for a checkpoint; None where it is promised, by a command that was not tried.

        Raises:
            ConfigurationError: nobody promised it, and it is not there.
        """
        if checkpoint in self._left:
            return self._left[checkpoint]
        if checkpoint.is_file():
            return checkpoint
        if checkpoint not in promised:
            raise ConfigurationError(f"{checkpoint}: no such checkpoint file")
        return None

    def known_data(self, settings: Namespace, made: MultiViewDataModule | None = None) -> MultiViewDataModule | None:
        """The data of earlier commands with the same settings, of which files need not be read again; keeps new data."""
        key = json.dumps(settings.as_dict(), default=str)
        if made is not None:
            self._data[key] = made
        return self._data.get(key)


class _Tried(Session):
    """A command that ends before there is a trainer.

    Attributes:
        clusterer: that it made, if it could.
    """

    clusterer: Clusterer | None = None

    def __init__(
        self, command: str, args: Sequence[str], rehearsal: Rehearsal, promised: Collection[Path], leaves: Path | None
    ) -> None:
        self._rehearsal = rehearsal
        self._promised = promised
        self._leaves = leaves
        super().__init__(command, args)

    def _set_seed(self) -> None:
        """Leave global random state alone."""

    def instantiate_classes(self) -> None:
        """Make model and data, with a stand-in for a clusterer that is not there yet."""
        own = self.config[self._command]
        arguments = own["model"].get("init_args", {})
        settings = own["data"].clone()
        if self._leaves is not None and self._command == "fit":
            _check_leaves(self._leaves, own["checkpoint"])
        for name in ("teacher", "victim"):
            if (given := arguments.get(name)) is None:
                continue
            arguments[name] = self._stand_in(given, settings)
            if isinstance(given, list) and isinstance(made := arguments[name], Clusterer):
                check_allowed(made, f"model.{name}", clusterers_named(own["allow"]))
            if arguments[name] is None:
                return
        own["data"] = self._rehearsal.known_data(settings) or own["data"]
        own["trainer"]["logger"] = False
        try:
            super().instantiate_classes()
        except DataError:
            return
        self._rehearsal.known_data(settings, self.datamodule)
        self.clusterer = self.model.clusterer

    def _stand_in(self, given: Any, data: Namespace) -> Any:
        """What to give the model for another clusterer, by its settings or its checkpoint; None where it cannot be had yet."""
        if isinstance(given, list) and given:
            return self._rehearsal("fit", as_arguments([{"data": data.as_dict()}, *given]))
        return self._rehearsal.stand_in(Path(given), self._promised) if isinstance(given, str | Path) else given

    def instantiate_trainer(self, **_: Any) -> None:  # type: ignore[override]
        """Make none."""

    def after_instantiate_classes(self) -> None:
        """Check what a test is asked for, and what a training begins with."""
        if self.clusterer is not None and self._command == "test":
            self._set_evaluation()
        start = self.config["fit"]["init_from"] if self._command == "fit" else None
        if self.clusterer is not None and start is not None:
            there = self._rehearsal.stand_in(Path(start), self._promised)
            if isinstance(there, Path):
                self.model.begin_with(read_checkpoint(there), there)

    def _run_subcommand(self, subcommand: str) -> None:
        """End."""


def _check_leaves(promised: Path, settings: Namespace) -> None:
    """Check that a training leaves its checkpoint where others will look for it."""
    if settings["dirpath"] is not None or not (settings["save_last"] or settings["filename"] == promised.stem):
        raise ConfigurationError(
            f"checkpoint: {promised.name} in {promised.parent} is what others go on from; leave checkpoint.dirpath and "
            "checkpoint.filename out"
        )


def _run(command: str, configuration: Sequence[str], folder: Path, checkpoint: Path | None, alone: bool) -> Run:
    return Session(command, as_arguments(configuration, folder, checkpoint), alone).made()
