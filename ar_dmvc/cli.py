"""The ``ardmvc`` command: it wires classes from YAML and adds nothing of its own."""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger

import ar_dmvc
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.clusterers import Clusterer
from ar_dmvc.data import MultiViewDataModule
from ar_dmvc.errors import ArDmvcError, CheckpointError, ConfigurationError
from ar_dmvc.files import remove_strays
from ar_dmvc.modules.base import ClustererModule
from ar_dmvc.modules.checkpointing import RunCheckpoint, check_trainer_state
from ar_dmvc.modules.interrupt import InterruptBetweenSteps
from ar_dmvc.modules.prediction import PredictionWriter
from ar_dmvc.modules.record import RunRecord, recorded_settings
from ar_dmvc.modules.run_folder import give_own_folder, run_folder
from ar_dmvc.modules.run_id import keep_earlier_metrics, name_folder_by_id
from ar_dmvc.modules.stability import StabilityUnderAttack
from ar_dmvc.modules.strategy import check_cores
from ar_dmvc.plugins import installed_classes
from ar_dmvc.settings_file import check_yaml

COMMANDS = {
    "fit": "train a clusterer, an attacker or a defender",
    "validate": "measure a checkpoint's clusterer on clean data",
    "test": "measure a checkpoint's clusterer under a suite of attacks",
    "predict": "write the cluster of every sample",
    "benchmark": "train, attack and compare several clusterers: one table",
    "data": "prepare a data set, say what it is, show a picture of it",
}

_HELP = """usage: ardmvc COMMAND [--config FILE ...] [--NAME VALUE ...]

Adversarially robust deep multi-view clustering.

commands:
{commands}

options:
  --help       this text; after a command, all of its settings; --model.help CLASS, those of a class
  --version    the version
  --debug      show the traceback of an error

Several --config are merged in order; every setting can be given by its dotted name. With --print_config a command prints
what it would run with. Start with:

  ardmvc fit --config configs/victims/comvc.yaml --config configs/data/digits.yaml
"""


class ArDmvcCLI(LightningCLI):
    """Lightning's command line for one command, with a model and data from ``ar_dmvc``.

    Args:
        command: one of ``fit``, ``validate``, ``test``, ``predict``.
        args: what follows the command.
        alone: whether it is one of several that this process runs, so that Lightning must not start the process again.
    """

    def __init__(self, command: str, args: Sequence[str], alone: bool = False) -> None:
        self._command = command
        self._alone = alone
        super().__init__(
            ClustererModule,
            MultiViewDataModule,
            save_config_callback=RunRecord,
            trainer_defaults={"callbacks": [InterruptBetweenSteps()]},
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "prog": "ardmvc", command: {"exit_on_error": False}},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=[command, *_recorded_config(command, args), *_with_one_allow(args)],
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
        parser.link_arguments("allow", "model.init_args.allowed", compute_fn=_clusterers_named)
        parser.add_argument(
            "--oversubscribe", type=bool, default=False, help="let several processes (trainer.devices) share a processor core"
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
            parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
            defaults["data"] = {"class_path": "ar_dmvc.data.Digits"}  # after training, the data is the checkpoint's
        if self._command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "output")
        parser.set_defaults(defaults)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; checkpoints are read as weights and plain values only."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]  # always a list here
        settings = self.config[self._command]
        if settings["model"].get("init_args", {}).get("epsilon") is not None:
            raise ConfigurationError("model.epsilon: the budget is the data's; set data.epsilon")
        if "weights_only" in settings:
            settings["weights_only"] = True
        if "verbose" in settings:
            settings["verbose"] = self._command == "validate"  # a test prints a table of its own
        run_id = name_folder_by_id(settings["trainer"]) if self._command == "fit" else None
        if settings.get("ckpt_path") == "last":
            settings["ckpt_path"] = _last_checkpoint(settings, run_id)

    def after_instantiate_classes(self) -> None:
        """Refuse what does not fit before anything is written."""
        if self._alone and self.trainer.world_size > 1:
            raise ConfigurationError("trainer.devices: a benchmark trains on one device; run its commands one by one for more")
        if not self.config[self._command]["oversubscribe"]:
            check_cores(self.trainer)
        self.model.check_trainer(self.trainer, self._command)
        self.model.check_data(self.datamodule, self._command)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StabilityUnderAttack):
                callback.check(self.model, self.datamodule)
        path = self.config[self._command].get("ckpt_path")
        if path is not None:
            content = read_checkpoint(path)
            self.model.check_checkpoint(content, path)
            check_trainer_state(content, path, resumes=self._command == "fit")
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # it is this run's
            epoch, epochs = content.get("epoch"), self.trainer.max_epochs
            if self._command == "fit" and isinstance(epoch, int) and epochs is not None and 0 <= epochs <= epoch:
                raise ConfigurationError(f"trainer.max_epochs = {epochs}: {path} has {epoch + 1} epochs behind it already")
        give_own_folder(self.trainer)
        if self._command == "fit":
            keep_earlier_metrics(self.trainer)

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
            if subcommand in ("fit", "test") and (folder := run_folder(self.trainer)) is not None:
                print(f"ardmvc: in {folder}", file=sys.stderr)
        except SystemExit:
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            if self.trainer._checkpoint_connector._loaded_checkpoint:  # which is there while states are restored, no longer
                path = self.config[subcommand].get("ckpt_path")
                raise CheckpointError(f"{path}: holds what cannot be restored ({type(error).__name__}: {error})") from error
            raise
        finally:
            for logger in self.trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish()  # else a later run in this process would go on in the same one

    def _add_instantiators(self) -> None:
        """Lightning would have arguments kept for ``load_from_checkpoint``; checkpoints here describe themselves."""

    def _parse_ckpt_path(self) -> None:
        """Lightning would take hyperparameters from the checkpoint here; :func:`_recorded_config` has done so."""


def _recorded_config(command: str, args: Sequence[str]) -> list[str]:
    """Arguments that stand for the model and data which a checkpoint was made with; those given by hand come later and win."""
    paths = _values_of("--ckpt_path", args)
    if command == "fit" or not paths or paths[-1] in ("last", "best"):
        return []
    return ["--config", json.dumps(recorded_settings(paths[-1], [_class_named(name) for name in _allowed(args)]))]


def _allowed(args: Sequence[str]) -> list[str]:
    """The class paths that ``--allow`` names, in as many places and forms as there are."""
    values = [yaml.safe_load(value) for value in _values_of("--allow", args)]
    return [str(name) for value in values for name in (value if isinstance(value, list) else [value])]


def _with_one_allow(args: Sequence[str]) -> list[str]:
    """The same arguments with a single ``--allow`` for all: of several, a parser would take the last."""
    names, rest, skip = _allowed(args), [], False
    for argument in args:
        name, equals, _ = argument.partition("=")
        if skip or name.removesuffix("+") == "--allow":
            skip = not skip and not equals
        else:
            rest.append(argument)
    return [*rest, f"--allow={json.dumps(names)}"] if names else rest


def _values_of(option: str, args: Sequence[str]) -> list[str]:
    """The values that an option has on the command line."""
    values = []
    for argument, following in zip_longest(args, args[1:]):
        name, equals, value = argument.partition("=")
        if name.removesuffix("+") == option and (equals or following is not None):
            values.append(value if equals else following)
    return values


def _clusterers_named(names: str | Sequence[str]) -> list[type[Clusterer]]:
    """The clusterers among class paths that the user gave."""
    kinds = map(_class_named, [names] if isinstance(names, str) else names)
    return [kind for kind in kinds if issubclass(kind, Clusterer)]


def _class_named(name: str) -> type:
    """The class of a class path that the user gave."""
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"allow: there is no class {name} ({error})") from error
    if not isinstance(kind, type):
        raise ConfigurationError(f"allow: {name} is no class")
    return kind


def _last_checkpoint(settings: Namespace, run_id: str | None) -> str | None:
    """The newest checkpoint of runs of the same name; of the one run that has the id, if any, which may have none yet."""
    trainer = settings["trainer"]
    folder = Path(trainer["default_root_dir"] or ".")
    logger = trainer["logger"][0] if isinstance(trainer["logger"], list) else trainer["logger"]
    if isinstance(logger, Namespace):
        init = logger["init_args"]
        named = "project" if logger["class_path"].endswith("WandbLogger") else "name"
        folder = Path(init.get("save_dir") or folder) / str(init.get(named) or "")
    if run_id is not None:
        folder /= run_id
    found = [*folder.glob("*/checkpoints/*.ckpt"), *folder.glob("checkpoints/*.ckpt")]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        remove_strays(path.parent)
        try:
            check_trainer_state(read_checkpoint(path), path, resumes=True)
        except CheckpointError as error:
            print(f"ardmvc: passed over: {error}", file=sys.stderr)
        else:
            print(f"ardmvc: going on from {path}", file=sys.stderr)
            return str(path)
    if run_id is not None and not found:
        print(f"ardmvc: run {run_id} has no checkpoint yet and starts", file=sys.stderr)
        return None
    whole = " that is whole" if found else ""
    raise ConfigurationError(f"ckpt_path: there is no last checkpoint{whole} under {folder}")


def run(args: Sequence[str], alone: bool = False) -> None:
    """Run one command.

    Args:
        args: the command and what follows it.
        alone: see :class:`ArDmvcCLI`.

    Raises:
        ArDmvcError: something that a user can mend.
    """
    command, *rest = args
    for name, value in zip_longest(rest, rest[1:], fillvalue=""):
        path = Path(value if name in ("-c", "--config") else name.removeprefix("--config="))
        if path.suffix in (".yaml", ".yml"):
            check_yaml(path)
    if command == "benchmark":
        from ar_dmvc.benchmark import main as benchmark

        benchmark(rest, partial(run, alone=True))
    elif command == "data":
        from ar_dmvc.data_command import main as data

        data(rest)
    else:
        ArDmvcCLI(command, rest, alone)


def main(args: Sequence[str] | None = None) -> int:
    """The ``ardmvc`` command.

    Args:
        args: as on the command line, without the program's name; None takes the command line's.

    Returns:
        The exit code: 0 when all went well, 1 for an error, 2 for a wrong call, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"ardmvc {ar_dmvc.__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        return _complain(f"unknown command {arguments[0]!r}, not one of {', '.join(COMMANDS)}", 2)
    _quieten()
    _find_classes_here()
    try:
        installed_classes()
        run(arguments)
    except ArDmvcError as error:
        return _complain(str(error), 1, debug)
    except ArgumentError as error:
        return _complain(str(error), 2, debug)
    except KeyboardInterrupt:
        how = {"fit": "; it goes on with --ckpt_path last", "benchmark": "; it goes on with the same command"}
        return _complain(f"interrupted{how.get(arguments[0], '')}", 130, debug)
    except Exception as error:  # noqa: BLE001  what a user sees of any error is one line
        return _complain(f"{type(error).__name__}: {error}", 1, debug)
    return 0


# What the parser says of values that fit none of a type's alternatives, put as a sentence.
_PUT_PLAINLY = (
    (r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: ", ""),
    (r"(- )?Expected a path but \S+ either not accessible or invalid ", ""),
    (r"(- )?Expected a dot import path string: (\S+)", r"there is no class \2"),
    (r" ?- Expected a <class '(NoneType|collections\.abc\.Iterable)'>", ""),
    (r"(- )?Expected a typing\.Literal\[(.*?)\]", r"one of \2 is expected"),
    (r"Problem with given class_path '([^']*)':", r"\1:"),
    (r"(- )?Expected a <class '(\w+)'>", r"a value of type \2 is expected"),
    (r" Given value type: \S+ \S+ Given value: (Namespace|NestedArg|\{).*", ""),
    (r" Given value type: <class '[^']*'> Given value: ", ", not "),
    (r'Parser key "([^"]*)": (- )?', r"\1: "),
    (r"is expected (- )?(?=one of|a value)", "or "),
    (r"(there is no class (\S+)).*, not \2$", r"\1"),
    (
        r"\w+Error: .*(gloo|NCCL).*",
        "another process of this run has stopped, see its own message; --ckpt_path resumes",
    ),
)


def _complain(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    line = "".join(character if character.isprintable() else "?" for character in " ".join(message.split()))
    for pattern, plain in _PUT_PLAINLY:
        line = re.sub(pattern, plain, line)
    print(f"ardmvc: error: {line.removeprefix('ValueError: ').removeprefix('- ')}", file=sys.stderr)
    return code


_NOT_FOR_USERS = (
    r".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of torch
    r"(?s).*instantiate_classes.* was deprecated.*",  # Lightning's own use of jsonargparse
    r"(?s).*only one JsonargparseDeprecationWarning per type.*",
    r"Couldn't infer the batch indices.*",  # predictions carry the samples' own
    r"Found \d+ module.s. in eval mode at the start of training.*",  # an attacker's victim is meant to be
    r"Experiment logs directory .* exists and is not empty.*",  # what was logged there is kept
    r"(?s)Grad strides do not match bucket view strides.*",  # those of a convolution of one channel; tiny
    r"The dirpath has changed.*",  # a test or a resumed run has a folder of its own
    r"Be aware that when using `ckpt_path`.*callbacks.*",  # tests and predictions need no training callbacks
)


def _quieten() -> None:
    """Leave out what libraries say about themselves rather than about the run."""
    for message in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: not re.search("Tip:|TPU available", record.getMessage()))


def _find_classes_here() -> None:
    """Let class paths name the user's own modules, those in the working directory."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
