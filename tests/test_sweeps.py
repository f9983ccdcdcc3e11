"""The sweeps of configs/sweeps: what they say, and one run of each as ``wandb agent`` would start it, offline."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from jsonargparse import Namespace
from wandb.sdk.launch.sweeps import utils
from wandb.wandb_agent import Agent

from ar_dmvc.runs.ids import name_folder_by_id
from tests.conftest import CONFIGS, QUIET, REPOSITORY, Outcome
from tests.test_wandb import read_records

SWEEPS = sorted(CONFIGS.glob("sweeps/*.yaml"))
# The schema of wandb's own package for sweeps (`wandb[sweeps]`), version 0.3.0: it cannot be installed beside numpy 2.
SCHEMA = json.loads((REPOSITORY / "tests" / "golden" / "wandb_sweep_schema.json").read_text())
TINY = (*QUIET, "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=2")
Arguments = Mapping[str, Mapping[str, Any]]

each_sweep = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    sweep: dict[str, Any] = yaml.safe_load(path.read_text())
    return sweep


def draw(sweep: Mapping[str, Any], seed: int = 0) -> dict[str, dict[str, Any]]:
    """One drawn set, as the server hands it to an agent."""
    generator = np.random.default_rng(seed)

    def value(parameter: Mapping[str, Any]) -> Any:
        if "values" in parameter:
            return parameter["values"][generator.integers(len(parameter["values"]))]
        low, high = parameter["min"], parameter["max"]
        if parameter["distribution"] == "log_uniform_values":
            return float(np.exp(generator.uniform(np.log(low), np.log(high))))
        assert parameter["distribution"] == "uniform"
        return float(generator.uniform(low, high))

    return {name: {"value": value(parameter)} for name, parameter in sweep["parameters"].items()}


def run_as_an_agent_would(sweep: Mapping[str, Any], arguments: Arguments, run_id: str = "abc123") -> int:
    """Let wandb's own agent make the command and start it; its exit code."""
    agent = Agent(None, None, sweep_id="sweep1")
    agent._sweep_command = list(sweep["command"])
    agent._command_run({"type": "run", "run_id": run_id, "program": sweep["program"], "args": arguments})
    return int(agent._run_processes[run_id].wait())


def at(config: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        config = config[name]
    return config


def record_of(folder: Path) -> dict[str, Any]:
    """What wandb wrote of an offline run."""
    (file,) = folder.glob("*.wandb")
    kept: dict[str, Any] = {"config": {}, "history": [], "summary": {}}
    for record in read_records(file):
        if record.HasField("run"):
            kept |= {"id": record.run.run_id, "group": record.run.run_group, "tags": set(record.run.tags)}
            kept["sweep"] = record.run.sweep_id
        for section, updates in (
            ("config", [*record.run.config.update, *record.config.update]),
            ("summary", record.summary.update),
        ):
            for update in updates:
                kept[section][update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        if record.history.item:
            kept["history"].append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
    return kept


@pytest.fixture
def workplace(tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the repository's root is after the first command of the README, offline."""
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # which an agent sets, and the test takes back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(CONFIGS)
    checkpoint = tmp_path / "runs" / "comvc" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.symlink_to(victim)
    return tmp_path


@each_sweep
def test_valid_by_the_schema_of_wandb(path: Path) -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    assert [error.message for error in validator.iter_errors(load(path))] == []
    assert not validator.is_valid({**load(path), "method": "guess"})
    assert not validator.is_valid({**load(path), "parameters": {"x": {"min": 1}}})


def test_the_one_of_the_page_too(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    block = (REPOSITORY / "docs" / "sweeps.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "own.yaml").write_text(block)
    assert [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(load(tmp_path / "own.yaml"))] == []
    test_every_parameter_is_a_setting_whichever_comes_first(tmp_path / "own.yaml", 1, ardmvc, tmp_path)


@each_sweep
def test_no_search_selects_by_labels(path: Path) -> None:
    sweep = load(path)
    goal = "minimize" if path.stem == "attacker" else "maximize"
    assert sweep["metric"] == {"name": "val/stability", "goal": goal}
    assert "early_terminate" not in sweep


@each_sweep
@pytest.mark.parametrize("order", [1, -1])
def test_every_parameter_is_a_setting_whichever_comes_first(
    path: Path, order: int, ardmvc: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "configs").symlink_to(CONFIGS)
    sweep = load(path)
    drawn = draw(sweep, seed=1)
    arguments = utils.create_sweep_command_args({"args": drawn})["args"][::order]
    command = [part for item in sweep["command"][3:] for part in (arguments if item == "${args}" else [item])]
    outcome = ardmvc("fit", *command, "--print_config")
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load(outcome.out)
    if "config" in drawn:
        victim = yaml.safe_load(Path(drawn.pop("config")["value"]).read_text())
        assert at(config, "model.init_args.clusterer.class_path").endswith(at(victim, "model.init_args.clusterer.class_path"))
        assert config["trainer"]["max_epochs"] == victim["trainer"]["max_epochs"]
        drawn["data.class_path"]["value"] = "ar_dmvc.data." + drawn["data.class_path"]["value"]
    for name, parameter in drawn.items():
        assert at(config, name) == parameter["value"]
    # W&B keeps drawn values under their names and lets no run change them: a section's name would hide the section.
    assert not set(sweep["parameters"]) & set(config)
    assert [logger["class_path"].rpartition(".")[2] for logger in config["trainer"]["logger"]] == ["CSVLogger", "WandbLogger"]


def test_a_setting_that_is_not_there_is_refused(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(CONFIGS)
    outcome = ardmvc("fit", "--config=configs/defenders/robust_joint.yaml", "--model.init_args.attack.init_args.epsilom=0.1")
    assert outcome.code == 2


def check_record(kept: Mapping[str, Any], kind: str, drawn: Arguments) -> None:
    """What a run carries: id, sweep, group, tags, the resolved configuration, and the metric."""
    assert (kept["id"], kept["sweep"], kept["group"]) == ("abc123", "sweep1", kind)
    assert "sweep" in kept["tags"]
    assert 0 <= kept["summary"]["val/stability"] <= 1
    for name, parameter in drawn.items():
        assert kept["config"][name] == parameter["value"]
        if name not in ("config", "data.class_path"):
            assert at(kept["config"], name) == parameter["value"]
    assert kept["config"]["data"]["class_path"] == "ar_dmvc.data.Digits"
    assert kept["config"]["trainer"]["max_epochs"] == 1


@pytest.mark.parametrize("kind", ["attacker", "defender"])
def test_one_run(kind: str, workplace: Path) -> None:
    sweep = load(CONFIGS / "sweeps" / f"{kind}.yaml")
    drawn = draw(sweep)
    sweep["command"] += TINY
    assert run_as_an_agent_would(sweep, drawn) == 0
    (folder,) = workplace.glob("runs/wandb/offline-run-*")
    check_record(record_of(folder), kind, drawn)
    files = {file.name for file in (workplace / "runs" / "with_wandb" / "abc123").iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints"} <= files


def test_a_requeued_run_goes_on_under_its_id(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = load(CONFIGS / "sweeps" / "victims.yaml")
    command = sweep["command"]
    drawn = {"data.class_path": {"value": "Digits"}, "config": {"value": "configs/victims/comvc.yaml"}}
    for epochs, message in ((1, "run abc123 has no checkpoint yet and starts"), (2, "going on from runs/with_wandb/abc123/")):
        others = [option for option in TINY if "max_epochs" not in option]
        sweep["command"] = [*command, *others, f"--trainer.max_epochs={epochs}"]
        assert run_as_an_agent_would(sweep, drawn) == 0
        assert message in capfd.readouterr().err
    first, second = (record_of(folder) for folder in sorted(workplace.glob("runs/wandb/offline-run-*")))
    check_record(first, "victims", drawn)
    assert second["id"] == first["id"]
    measured = [[row["epoch"] for row in run["history"] if "val/stability" in row] for run in (first, second)]
    assert measured == [[0], [1]]
    (folder,) = workplace.glob("runs/with_wandb/*")
    assert {"metrics.1.csv", "metrics.csv"} <= {file.name for file in folder.iterdir()}


class TestFolderOfARun:
    @staticmethod
    def trainer(**wandb: str | None) -> Namespace:
        folder = Namespace(class_path="lightning.pytorch.loggers.CSVLogger", init_args=Namespace(version=None))
        loggers = [folder, Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(**wandb))]
        return Namespace(logger=loggers)

    def test_the_logger_s_id_comes_before_the_environment_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_RUN_ID", "outer")
        for settings, expected in (({"id": "own"}, "own"), ({"version": "own"}, "own"), ({"id": None}, "outer")):
            trainer = self.trainer(**settings)
            assert name_folder_by_id(trainer) == expected
            assert trainer.logger[0].init_args.version == expected

    def test_no_id_no_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WANDB_RUN_ID", raising=False)
        trainer = self.trainer(id=None)
        assert name_folder_by_id(trainer) is None
        assert trainer.logger[0].init_args.version is None

    def test_other_loggers_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_RUN_ID", "outer")
        for logger in (False, None, self.trainer().logger[0], self.trainer().logger[:1]):
            assert name_folder_by_id(Namespace(logger=logger)) is None
