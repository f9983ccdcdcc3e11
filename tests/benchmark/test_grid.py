import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ar_dmvc.benchmark import Benchmark
from ar_dmvc.errors import ConfigurationError
from tests.conftest import CONFIGS, QUIET, Outcome

SCORES = {"acc": 0.5, "nmi": 0.6, "ari": 0.4, "purity": 0.7}


class Recorder:
    """Stands where the api is called: keeps the calls and leaves behind what each would."""

    def __init__(self, fail_at: int = 10**9) -> None:
        self.calls: list[tuple[str, list[str], Path, Path | None]] = []
        self.fail_at = fail_at

    def __call__(self, command: str, configuration: Sequence[str], folder: Path, checkpoint: Path | None, alone: bool) -> None:
        self.calls.append((command, list(configuration), folder, checkpoint))
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        (folder / "robustness.json").write_text(json.dumps({"scores": {"clean": SCORES, "worst": SCORES}}))


def grid(output: Path, **changes: object) -> Benchmark:
    settings: dict[str, object] = {
        "data": ["data.yaml"],
        "clusterers": {"A": ["a.yaml", "--trainer.max_epochs=3"], "B": ["b.yaml"]},
        "attacker": ["gan.yaml"],
        "attacks": ["suite.yaml"],
        "output": output,
        "seeds": [0, 1],
    }
    return Benchmark(**{**settings, **changes})


def test_each_clusterer_and_seed_is_trained_attacked_and_tested_in_turn(tmp_path: Path) -> None:
    recorder = Recorder()
    results = grid(tmp_path).run(recorder)
    assert [call[0] for call in recorder.calls] == ["fit", "fit", "test"] * 4
    train, attack, test = recorder.calls[3:6]
    assert train[1][:4] == ["a.yaml", "--trainer.max_epochs=3", "data.yaml", "--seed_everything=1"]
    assert train[2:] == (tmp_path / "A/seed_1/fit", None)
    assert f"--model.victim={tmp_path}/A/seed_1/fit/checkpoints/last.ckpt" in attack[1]
    assert test[2:] == (tmp_path / "A/seed_1/test", tmp_path / "A/seed_1/gan/checkpoints/last.ckpt")
    assert results == {"A": [{"clean": SCORES, "worst": SCORES}] * 2, "B": [{"clean": SCORES, "worst": SCORES}] * 2}


def test_without_an_attacker_each_is_tested_as_it_is(tmp_path: Path) -> None:
    recorder = Recorder()
    grid(tmp_path, attacker=[], seeds=[3]).run(recorder)
    assert [call[0] for call in recorder.calls] == ["fit", "test"] * 2
    assert recorder.calls[3][2:] == (tmp_path / "B/seed_3/test", tmp_path / "B/seed_3/fit/checkpoints/last.ckpt")


def test_an_interrupted_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        grid(tmp_path).run(Recorder(fail_at=4))
    recorder = Recorder()
    grid(tmp_path).run(recorder)
    assert len(recorder.calls) == 12 - 3
    assert recorder.calls[0][-1] == tmp_path / "A/seed_1/fit/checkpoints/last.ckpt"
    assert recorder.calls[1][-1] is None


def test_changed_settings_are_run_anew(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("one")

    def commands(**changes: object) -> list[str]:
        recorder = Recorder()
        grid(tmp_path, **{"clusterers": {"A": [str(config)]}, "seeds": [0], **changes}).run(recorder)
        calls.extend(recorder.calls)
        return [call[0] for call in recorder.calls]

    calls: list[tuple[str, list[str], Path, Path | None]] = []
    assert commands() == ["fit", "fit", "test"]
    assert commands() == []
    assert commands(attacks=["other.yaml"]) == ["test"]
    assert commands(attacks=["other.yaml"], attacker=["stronger.yaml"]) == ["fit", "test"]
    config.write_text("other")
    assert commands(attacks=["other.yaml"], attacker=["stronger.yaml"]) == ["fit", "fit", "test"]
    (tmp_path / "A" / "seed_0" / "fit.json").write_text('{"fingerp')
    assert commands(attacks=["other.yaml"], attacker=["stronger.yaml"]) == ["fit"]
    assert all(call[-1] is None for call in calls if call[0] == "fit")


@pytest.mark.parametrize("changes", [{"clusterers": {}}, {"seeds": []}, {"clusterers": {"../x": []}}])
def test_impossible_grids_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        grid(tmp_path, **changes)


def test_from_the_command_line_to_the_table(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", *QUIET]
    settings = {
        "output": "out",
        "data": [f"{CONFIGS}/data/digits.yaml"],
        "clusterers": {"CoMVC": [f"{CONFIGS}/victims/comvc.yaml", *few]},
        "attacker": [f"{CONFIGS}/attackers/gan.yaml", *few],
        "attacks": [f"{CONFIGS}/attacks/standard.yaml", "--trainer.limit_test_batches=1", *QUIET],
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 0, outcome.err
    assert "pgd" in outcome.out
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    attacks = ["clean", "noise", "apgd_contrastive", "apgd_cross_entropy", "apgd_distance", "gan", "worst"]
    assert [row["attack"] for row in rows] == attacks
    assert (tmp_path / "out" / "table.md").read_text().startswith("| clusterer | clean |")
    again = ardmvc("benchmark", "--config=grid.yaml")
    assert again.out.count("already done") == 3


def test_several_devices_are_refused(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = {
        "output": "out",
        "data": [f"{CONFIGS}/data/digits.yaml"],
        "clusterers": {"CoMVC": [f"{CONFIGS}/victims/comvc.yaml", *QUIET, "--trainer.devices=2"]},
        "attacker": [f"{CONFIGS}/attackers/gan.yaml"],
        "attacks": [f"{CONFIGS}/attacks/standard.yaml"],
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 1
    assert "a benchmark trains on one device" in outcome.err
