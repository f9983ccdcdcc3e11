import csv
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback

import ar_dmvc
from ar_dmvc import load_clusterer
from ar_dmvc.benchmark import Benchmark, Job
from ar_dmvc.benchmark.runner import _end_with_parent, _one_of_several
from ar_dmvc.benchmark.time_left import TimeLeft
from ar_dmvc.clusterers import SiMVC
from ar_dmvc.errors import CheckpointError, ConfigurationError
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
    assert grid(tmp_path).run(recorder) == {}
    assert [call[0] for call in recorder.calls] == ["fit", "fit", "test"] * 4
    train, attack, test = recorder.calls[3:6]
    assert train[1][:4] == ["a.yaml", "--trainer.max_epochs=3", "data.yaml", "--seed_everything=1"]
    assert train[2:] == (tmp_path / "A/seed_1/fit", None)
    assert f"--model.victim={tmp_path}/A/seed_1/fit/checkpoints/last.ckpt" in attack[1]
    assert test[2:] == (tmp_path / "A/seed_1/test", tmp_path / "A/seed_1/gan/checkpoints/last.ckpt")
    both = {seed: {"clean": SCORES, "worst": SCORES} for seed in (0, 1)}
    assert grid(tmp_path).collect() == {"A": both, "B": both}


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


@pytest.mark.parametrize(
    "settings", [["--model.teacher=[part.yaml, --x=1]"], ["--config=part.yaml"], ["outer.yaml"], ["--data.path=part.yaml"]]
)
def test_so_is_what_a_file_that_they_name_says_otherwise(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outer.yaml").write_text("model: {teacher: [part.yaml, outer.yaml]}")
    states = []
    for content in ("one: 1", "one: 1", "two: 2"):
        Path("part.yaml").write_text(content)
        benchmark = grid(tmp_path / "out", clusterers={"A": settings}, attacker=[], seeds=[0])
        states.append([state for _, state in benchmark.plan()])
        benchmark.run(Recorder())
    assert states == [["to do"] * 2, ["done"] * 2, ["to do"] * 2]


def test_nothing_of_other_settings_stays_beside_what_is_made_anew(tmp_path: Path) -> None:
    for suite in ("one.yaml", "two.yaml"):
        benchmark = grid(tmp_path, attacks=[suite], attacker=[])
        benchmark.run(Recorder())
        assert not list(tmp_path.rglob("old.png"))
        (tmp_path / "A/seed_0/test/old.png").touch()
    part = grid(tmp_path, attacks=["three.yaml"], attacker=[], only="seed=1")
    part.run(Recorder())
    assert grid(tmp_path, attacks=["three.yaml"], attacker=[]).tested() == part.tested() != []


def test_the_time_that_a_job_took_counts_what_it_took_before_it_was_interrupted(tmp_path: Path) -> None:
    def interrupted(*arguments: Any, **named: Any) -> None:
        with suppress(KeyboardInterrupt):
            Recorder(fail_at=1)(*arguments, **named)
        kept = tmp_path / "A/seed_0/fit/checkpoints/last.ckpt"
        os.utime(kept, (time.time() + 1000,) * 2)
        raise KeyboardInterrupt

    benchmark = grid(tmp_path, seeds=[0], attacker=[], clusterers={"A": []})
    for _ in range(2):
        with suppress(KeyboardInterrupt):
            benchmark.run(interrupted)
    benchmark.run(Recorder())
    took, tested = (job.took for job in benchmark.jobs())
    assert took is not None
    assert 2000 <= took.seconds < 3000
    assert tested is not None
    assert tested.seconds < 1000


def test_what_another_version_made_is_made_anew_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = grid(tmp_path, seeds=[0], attacker=[], clusterers={"A": []})
    with monkeypatch.context() as earlier:
        earlier.setattr(ar_dmvc, "__version__", "0.0.1")
        benchmark.run(Recorder())
        assert [state for _, state in benchmark.plan()] == ["done"] * 2
    assert [(state, job.replaces) for job, state in benchmark.plan()] == [("to do", "what version 0.0.1 made")] * 2
    benchmark.run(Recorder())
    assert f"{tmp_path}/A/seed_0/fit: of version 0.0.1, made anew by {ar_dmvc.__version__}" in capsys.readouterr().err
    assert [state for _, state in benchmark.plan()] == ["done"] * 2


def test_what_a_job_made_and_is_gone_is_made_again(tmp_path: Path) -> None:
    benchmark = grid(tmp_path, seeds=[0], attacker=[], clusterers={"A": []})
    benchmark.run(Recorder())
    (tmp_path / "A/seed_0/fit/checkpoints/last.ckpt").unlink()
    assert [state for _, state in benchmark.plan()] == ["to do", "done"]


def test_a_job_that_fails_leaves_out_what_needs_it_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Failing(Recorder):
        def __call__(self, command: str, configuration: Sequence[str], folder: Path, *rest: object, **more: object) -> None:
            if folder == tmp_path / "A/seed_1/fit":
                raise ValueError("no luck")
            super().__call__(command, configuration, folder, *rest, **more)  # type: ignore[arg-type]

    benchmark, recorder = grid(tmp_path), Failing()
    failed = benchmark.run(recorder)
    assert failed == {
        "train A, seed 1": "no luck",
        "train a GAN attack on A, seed 1": "needs what failed: train A, seed 1",
        "test A, seed 1": "needs what failed: train a GAN attack on A, seed 1",
    }
    assert len(recorder.calls) == 9
    assert "[4/12] train A, seed 1 failed: no luck" in capsys.readouterr().err
    assert {name: list(runs) for name, runs in benchmark.collect().items()} == {"A": [0], "B": [0, 1]}
    benchmark.report(benchmark.collect())
    assert "failed" not in [state for _, state in benchmark.plan()]
    recorder = Recorder()
    assert benchmark.run(recorder) == {}
    assert len(recorder.calls) == 3


def test_what_failed_elsewhere_a_moment_ago_is_not_tried_again(tmp_path: Path) -> None:
    def failing(*arguments: object, **more: object) -> None:
        raise ValueError("no luck")

    begun = time.time() - 1
    first = grid(tmp_path, seeds=[0], attacker=[]).run(failing, begun)
    recorder = Recorder()
    assert grid(tmp_path, seeds=[0], attacker=[]).run(recorder, begun) == first
    assert recorder.calls == []


def test_a_plan_says_what_is_done_and_what_goes_on(tmp_path: Path) -> None:
    benchmark = grid(tmp_path, seeds=[0])
    assert [state for _, state in benchmark.plan()] == ["to do"] * 6
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(Recorder(fail_at=4))
    assert [state for _, state in benchmark.plan()] == ["done"] * 3 + ["goes on", "to do", "to do"]


def test_a_part_of_a_grid_is_that_part_of_the_whole(tmp_path: Path) -> None:
    recorder = Recorder()
    grid(tmp_path, only="clusterer=B, seed=1").run(recorder)
    assert [call[2] for call in recorder.calls] == [tmp_path / f"B/seed_1/{step}" for step in ("fit", "gan", "test")]
    recorder = Recorder()
    grid(tmp_path, only="clusterer=B,seed=0,seed=1").run(recorder)
    assert len(recorder.calls) == 3
    for wrong in ("clusterer=C", "budget=3", "B"):
        with pytest.raises(
            ConfigurationError, match=f"only: '{wrong}' names nothing in this grid; it has clusterer=A, B; seed=0, 1"
        ):
            grid(tmp_path, only=wrong)


def test_it_may_be_a_part_of_how_points_are_tested(tmp_path: Path) -> None:
    axes: dict[str, object] = {
        "attacker": {"weak": ["w.yaml"], "strong": ["s.yaml"]},
        "attacks": {"few": ["f.yaml"], "many": ["m.yaml"]},
        "budgets": [0.1, 0.2],
    }
    recorder = Recorder()
    part = grid(tmp_path, **axes, only="clusterer=B,seed=1,attacker=weak,suite=many,suite=few,budget=0.2")
    part.run(recorder)
    steps = ("fit", "gan_weak_0.2", "test_weak_few_0.2", "test_weak_many_0.2")
    assert [call[2] for call in recorder.calls] == [tmp_path / f"B/seed_1/{step}" for step in steps]
    assert part.collect() == grid(tmp_path, **axes).collect()
    with pytest.raises(ConfigurationError, match=r"it has .*attacker=weak, strong; suite=few, many; budget=0.1, 0.2"):
        grid(tmp_path, **axes, only="suite=all")


@pytest.mark.parametrize(
    "axis", ["data", "clusterers", "attacks", "attacker", "defences", "baselines", "seeds", "budgets", "training", "testing"]
)
def test_an_axis_without_anything_is_said(axis: str, ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    grid = {
        "output": "runs/nothing",
        "data": ["data/digits.yaml"],
        "clusterers": {"A": ["victims/simvc.yaml"]},
        "attacks": ["attacks/standard.yaml"],
        axis: None,
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    outcome = ardmvc("benchmark", "--config=grid.yaml", "--dry-run")
    assert outcome.code != 0
    assert re.search(rf"error: ({axis}: no settings at all|the following arguments are required: {axis})", outcome.err)


def test_a_name_without_settings_is_said(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    for axis in ("clusterers", "data"):
        (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**small(), axis: {"A": None}}))
        outcome = ardmvc("benchmark", "--config=grid.yaml", "--dry-run")
        assert outcome.err.strip().endswith(f"error: {axis}: a name has no list of settings")


def test_a_name_may_be_empty_beside_others(tmp_path: Path) -> None:
    whole = grid(tmp_path, attacker={"": [], "strong": ["s.yaml"]}, attacks={"": ["f.yaml"], "many": ["m.yaml"]})
    assert [trial.suffix for trial in whole.trials()] == ["", "_many", "_strong", "_strong_many"]
    part = grid(
        tmp_path, attacker={"": [], "strong": ["s.yaml"]}, attacks={"": ["f.yaml"], "many": ["m.yaml"]}, only="attacker=none"
    )
    assert [trial.suffix for trial in part.trials()] == ["", "_many"]
    assert {
        point.name for point in grid(tmp_path, clusterers={"": ["a.yaml"], "B": ["b.yaml"]}, only="clusterer=none").points()
    } == {""}
    with pytest.raises(ConfigurationError, match="attacker: 'none' is what has an empty name"):
        grid(tmp_path, attacker={"": [], "none": ["s.yaml"]})


def test_what_of_the_grid_a_test_is_stands_beside_it(tmp_path: Path) -> None:
    benchmark = grid(tmp_path, attacks={"few": ["f.yaml"]}, budgets=[0.1], seeds=[1], only="clusterer=A")
    benchmark.run(Recorder())
    labels = json.loads((tmp_path / "A/seed_1/test_few_0.1.json").read_text())["labels"]
    named = {"clusterer": "A", "seed": "1", "suite": "few", "budget": "0.1"}
    assert labels == {"data": "", "defence": "", "attacker": "", **named, "folder": "A/seed_1/test_few_0.1"}
    record = tmp_path / "A/seed_1/test_few_0.1.json"
    made = json.loads(record.read_text())
    record.write_text(json.dumps({name: value for name, value in made.items() if name != "labels"}))  # of an earlier version
    recorder = Recorder()
    benchmark.run(recorder)
    assert recorder.calls == []
    assert json.loads(record.read_text()) == made


def test_time_left_is_that_of_what_was_like_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = grid(tmp_path)
    benchmark.run(Recorder())
    announced = re.findall(r"^\[\d+/12\] .*", capsys.readouterr().out, re.M)
    assert "left" not in "".join(announced[:3])
    assert all(line.endswith(", about 0 s left") for line in announced[3:])
    *done, last = benchmark.jobs()
    for job in done:
        record = json.loads(job.folder.with_name(f"{job.folder.name}.json").read_text())
        seconds = 600.0 if job.folder.name == "test" and "A" in job.folder.parts else 60.0
        job.folder.with_name(f"{job.folder.name}.json").write_text(json.dumps({**record, "seconds": seconds, "until": 1.0}))
    (last.folder / "robustness.json").unlink()
    assert TimeLeft([*done, last], begun=5.0).words() == ", about 60 s left"
    tests = [job for job in done if job.command == "test" and "A" in job.folder.parts]
    assert TimeLeft([*tests, last], begun=5.0).words() == ", about 10 min left"
    for job in tests:  # two in as long as one takes: two at a time
        path = job.folder.with_name("test.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "until": time.time()}))
    assert TimeLeft([*tests, last], begun=time.time() - 600).words() == ", about 5 min left"
    assert TimeLeft([*tests, last], begun=time.time() - 60).words() == ", about 5 min left"  # they began before it did
    assert TimeLeft(done, begun=5.0).words() == ""
    assert TimeLeft([*tests, last], begun=5.0).words({"train B, seed 1"}) == ""  # which it needs


def test_what_several_points_need_is_made_once(tmp_path: Path) -> None:
    victim = tmp_path / "a.yaml"
    victim.write_text(
        "model: {class_path: VictimClusterer, init_args: {clusterer: {class_path: CoMVC}}}\ntrainer: {max_epochs: 3}\n"
    )
    recorder = Recorder()
    whole = grid(
        tmp_path / "out",
        data={"digits": ["d.yaml"], "noisy": ["n.yaml"]},
        clusterers={"A": [str(victim), "--model.clusterer.temperature=0.2", "--trainer.max_epochs=4"]},
        defences={"taught": ["robust.yaml", "--model.teacher={victim}"], "joint": ["joint.yaml"]},
        attacks={"weak": ["w.yaml"], "strong": ["s.yaml"]},
        budgets=[0.1, 0.2],
        seeds=[0],
    )
    whole.run(recorder)
    calls = {str(call[2].relative_to(tmp_path / "out")): call[1] for call in recorder.calls}
    assert len(calls) == len(recorder.calls) == 2 * 3 * (1 + 2 + 4)
    assert list(whole.collect()) == [
        f"{data}/A{defence} ({suite}, budget {budget})"
        for data in ("digits", "noisy")
        for defence in ("", "+taught", "+joint")
        for budget in (0.1, 0.2)
        for suite in ("weak", "strong")
    ]
    taught, joint = (calls[f"digits/A+{defence}/seed_0/fit"] for defence in ("taught", "joint"))
    assert taught[:3] == ["robust.yaml", f"--model.teacher={tmp_path}/out/digits/A/seed_0/fit/checkpoints/last.ckpt", "d.yaml"]
    described = '--config={"model": {"init_args": {"clusterer": {"class_path": "CoMVC"}}}}'
    assert joint[:4] == ["joint.yaml", described, "--model.clusterer.temperature=0.2", "d.yaml"]
    assert calls["noisy/A+joint/seed_0/gan_0.2"][:4] == [
        "gan.yaml",
        "n.yaml",
        f"--model.victim={tmp_path}/out/noisy/A+joint/seed_0/fit/checkpoints/last.ckpt",
        "--data.epsilon=0.2",
    ]
    assert calls["noisy/A/seed_0/test_strong_0.1"][:2] == ["s.yaml", "--data.epsilon=0.1"]


def test_checkpoints_may_hold_the_classes_of_one_s_own_that_the_grid_names(tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text(
        "model: {class_path: VictimClusterer, init_args: {clusterer: {class_path: mine.Mine}}}\ndata: {class_path: own.Rings}\n"
    )
    whole = grid(
        tmp_path / "out",
        clusterers={
            "A": [str(settings)],
            "B": ["--model.clusterer=my.Other", "--data.path=Some.Thing", "--model.clusterer.path=x"],
            "C": ["--model.clusterer=ar_dmvc.clusterers.SiMVC"],
        },
        defences={"taught": ["robust.yaml", "--model.teacher={victim}", "--model.outer.class_path=mine.Outer"]},
        seeds=[0],
    )
    allowed = {job.title.removesuffix(", seed 0"): job.configuration[-1] for job in whole.jobs()}
    assert {title: part for title, part in allowed.items() if not part.startswith("--allow")}.keys() == {
        *("train A", "train B", "train C", "train a GAN attack on C", "test C", "train C+taught")
    }
    assert allowed["test A"] == allowed["train A+taught"] == '--allow=["mine.Mine", "own.Rings"]'
    assert allowed["test A+taught"] == '--allow=["mine.Mine", "own.Rings", "mine.Outer"]'
    assert allowed["test B"] == allowed["train a GAN attack on B"] == '--allow=["my.Other"]'
    assert allowed["test C+taught"] == '--allow=["mine.Outer"]'
    named = grid(tmp_path / "named", clusterers={"A": [str(settings)]}, testing=["--allow=[mine.Mine, own.Rings]"], seeds=[0])
    assert [job.configuration[-1] for job in named.jobs()][-1] == "--seed_everything=0"


def test_no_defence_is_put_on_baselines(tmp_path: Path) -> None:
    recorder = Recorder()
    whole = grid(tmp_path, baselines={"Plain": ["plain.yaml"]}, defences={"taught": ["--model.teacher={victim}"]}, seeds=[0])
    whole.run(recorder)
    assert list(whole.collect()) == ["A", "A+taught", "B", "B+taught", "Plain"]
    part = grid(tmp_path / "part", clusterers={}, baselines={"Plain": ["plain.yaml"]}, only="clusterer=Plain")
    assert [point.name for point in part.points()] == ["Plain", "Plain"]


def test_attackers_of_several_kinds_each_train_and_trainings_and_tests_take_what_is_added(tmp_path: Path) -> None:
    recorder = Recorder()
    both = grid(
        tmp_path,
        attacker={"weak": ["w.yaml"], "strong": ["s.yaml"]},
        clusterers={"A": ["a.yaml"]},
        training=["--trainer.max_epochs=2"],
        testing=["--trainer.limit_test_batches=3"],
        seeds=[0],
    )
    both.run(recorder)
    calls = {str(call[2].relative_to(tmp_path)): call[1] for call in recorder.calls}
    assert list(calls) == [f"A/seed_0/{step}" for step in ("fit", "gan_weak", "test_weak", "gan_strong", "test_strong")]
    assert calls["A/seed_0/fit"][:4] == ["a.yaml", "data.yaml", "--trainer.max_epochs=2", "--seed_everything=0"]
    assert calls["A/seed_0/gan_strong"][:3] == ["s.yaml", "data.yaml", "--trainer.max_epochs=2"]
    for name, call in calls.items():
        assert ("--trainer.max_epochs=2" in call) is ("test" not in name)
        assert ("--trainer.limit_test_batches=3" in call) is ("test" in name)
    assert list(both.collect()) == ["A (weak)", "A (strong)"]


def test_a_part_of_a_grid_takes_along_what_it_needs(tmp_path: Path) -> None:
    recorder = Recorder()
    part = grid(
        tmp_path, defences={"taught": ["--model.teacher={victim}"]}, attacker=[], only="clusterer=A,defence=taught,seed=1"
    )
    part.run(recorder)
    assert [call[2] for call in recorder.calls] == [
        tmp_path / f"A{step}" for step in ("/seed_1/fit", "+taught/seed_1/fit", "+taught/seed_1/test")
    ]
    assert list(part.collect()) == ["A+taught"]


def test_a_part_leaves_the_table_of_the_whole(tmp_path: Path) -> None:
    grid(tmp_path).run(Recorder())
    part = grid(tmp_path, only="clusterer=A,seed=1")
    assert len(list(part.jobs())) == 3
    assert part.collect() == grid(tmp_path).collect()
    assert part.tested() == grid(tmp_path).tested()


def test_results_that_moved_are_still_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = {"defences": {"taught": ["robust.yaml", "--model.teacher={victim}"]}, "seeds": [0]}
    monkeypatch.chdir(tmp_path)
    grid(Path("one"), **taught).run(Recorder())
    Path("one").rename("two")
    for folder in (Path("two"), tmp_path / "two"):
        assert {state for _, state in grid(folder, **taught).plan()} == {"done"}


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    grid(tmp_path).run(Recorder())
    (tmp_path / "A/seed_1/test/robustness.json").write_text('{"scores": {')
    recorder = Recorder()
    grid(tmp_path).run(recorder)
    assert [call[2] for call in recorder.calls] == [tmp_path / "A/seed_1/test"]


def test_a_damaged_checkpoint_is_trained_again_once_its_record_is_gone(tmp_path: Path) -> None:
    def call(command: str, configuration: Sequence[str], folder: Path, checkpoint: Path | None, alone: bool) -> None:
        if command == "test":
            raise CheckpointError(f"{checkpoint}: damaged")
        Recorder()(command, configuration, folder, checkpoint, alone)

    one = {"attacker": [], "clusterers": {"A": ["a.yaml"]}, "seeds": [0]}
    (message,) = grid(tmp_path, **one).run(call).values()
    record = tmp_path / "A/seed_0/fit.json"
    assert message.endswith(f"damaged; once {record} is deleted it is trained again")
    record.unlink()
    recorder = Recorder()
    grid(tmp_path, **one).run(recorder)
    assert [call[0] for call in recorder.calls] == ["fit", "test"]


def test_what_takes_the_place_of_another_result_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(tmp_path, attacker=[]).run(Recorder())
    other = grid(tmp_path, attacker=[], attacks=["other.yaml"])
    assert [job.replaces for job in other.jobs()] == ["", "what other settings made"] * 4
    capsys.readouterr()
    other.run(Recorder())
    assert f"ardmvc: {tmp_path}/A/seed_0/test: of other settings, made anew" in capsys.readouterr().err
    assert not any(job.replaces for job in other.jobs())


class TestWhatOtherSettingsMade:
    """It is lost only once what takes its place is there."""

    ONE: ClassVar[dict[str, object]] = {"attacker": [], "clusterers": {"A": ["a.yaml"]}, "seeds": [0]}

    def run(self, folder: Path, suite: str, call: Callable[..., None]) -> dict[str, str]:
        return grid(folder, **self.ONE, attacks=[suite]).run(call)

    @staticmethod
    def fail(command: str, configuration: Sequence[str], folder: Path, checkpoint: Path | None, alone: bool) -> None:
        Recorder()(command, configuration, folder, checkpoint, alone)
        raise ValueError("a mistyped path")

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        """What it and all its folders hold, but locks, and what was put beside results that waited."""
        paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != "job.json"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def test_it_is_kept_while_others_fail_and_is_back_with_its_settings(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.run(tmp_path, "one.yaml", Recorder())
        before = self.files(tmp_path)
        for suite in ("mistyped.yaml", "again.yaml"):
            assert self.run(tmp_path, suite, self.fail) == {"test A, seed 0": "a mistyped path"}
            assert grid(tmp_path, **self.ONE, attacks=[suite]).tested() == []
        said = capsys.readouterr().err
        assert f"{tmp_path}/A/seed_0/test: of other settings, made anew; until that is done, what was there is in" in said
        assert (tmp_path / "A/seed_0/test.earlier/robustness.json").is_file()
        recorder = Recorder()
        self.run(tmp_path, "one.yaml", recorder)
        assert recorder.calls == []
        assert self.files(tmp_path) == before

    def test_it_is_of_the_checkpoint_that_is_there(self, tmp_path: Path) -> None:
        def run(epochs: int, fails: bool) -> list[str]:
            def call(command: str, *arguments: Any, **named: Any) -> None:
                calls.append(command)
                (self.fail if fails and command == "test" else Recorder())(command, *arguments, **named)

            calls: list[str] = []
            clusterers = {"A": ["a.yaml", f"--trainer.max_epochs={epochs}"]}
            grid(tmp_path, **{**self.ONE, "clusterers": clusterers}).run(call)
            return calls

        assert [run(3, fails=False), run(4, fails=True)] == [["fit", "test"]] * 2
        assert run(3, fails=False) == ["fit", "test"]  # the test that waits was of a training that is gone

    def test_a_plan_says_what_will_be_taken_back(self, tmp_path: Path) -> None:
        def of(epochs: int) -> Benchmark:
            return grid(tmp_path, **{**self.ONE, "clusterers": {"A": ["a.yaml", f"--trainer.max_epochs={epochs}"]}})

        of(3).run(Recorder())
        of(4).run(self.fail)
        assert [state for _, state in of(4).plan()] == ["goes on", "to do"]
        assert [(state, job.waiting, job.replaces) for job, state in of(3).plan()] == [("done", "done", ""), ("done", "", "")]
        recorder = Recorder()
        of(3).run(recorder)
        assert recorder.calls == []

    def test_it_makes_way_for_what_succeeds(self, tmp_path: Path) -> None:
        self.run(tmp_path, "one.yaml", Recorder())
        self.run(tmp_path, "mistyped.yaml", self.fail)
        self.run(tmp_path, "two.yaml", Recorder())
        assert sorted(path.name for path in (tmp_path / "A/seed_0").iterdir() if path.is_dir()) == ["fit", "test"]

    def test_a_training_that_was_interrupted_goes_on_once_its_settings_are_back(self, tmp_path: Path) -> None:
        for epochs, fails in ((3, True), (4, True), (3, False)):
            recorder = Recorder(fail_at=1 if fails else 10**9)
            with suppress(KeyboardInterrupt):
                grid(tmp_path, **{**self.ONE, "clusterers": {"A": ["a.yaml", f"--trainer.max_epochs={epochs}"]}}).run(recorder)
        assert recorder.calls[0][3] == tmp_path / "A/seed_0/fit/checkpoints/last.ckpt"

    @pytest.mark.parametrize("suites", [("two.yaml", "one.yaml"), ("one.yaml",)])
    @pytest.mark.parametrize("step", ["rename", "rmtree", "write_whole"])
    @pytest.mark.parametrize("call", range(5))
    def test_a_process_that_dies_at_any_step_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suites: tuple[str, ...], step: str, call: int
    ) -> None:
        self.run(tmp_path, "one.yaml", Recorder())
        before = self.files(tmp_path)
        if suites == ("one.yaml",):
            self.run(tmp_path, "two.yaml", self.fail)
        places = {"rename": (Path, "rename"), "rmtree": (shutil, "rmtree"), "write_whole": (ar_dmvc.runs.job, "write_whole")}
        owner, name = places[step]
        done, real = iter(range(100)), getattr(owner, name)

        def dies(*args: Any, **kwargs: Any) -> Any:
            if next(done) == call:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        with monkeypatch.context() as dying, suppress(KeyboardInterrupt):
            dying.setattr(owner, name, dies)
            self.run(tmp_path, suites[0], self.fail)
        recorder = Recorder()
        self.run(tmp_path, "one.yaml", recorder)
        assert recorder.calls == []
        assert self.files(tmp_path) == before


def test_a_file_is_no_folder_for_results(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=f"^output: {tmp_path}/file is no folder"):
        grid(tmp_path / "file/runs").run(Recorder())


@pytest.mark.parametrize(
    "changes",
    [
        {"clusterers": {}},
        {"seeds": []},
        {"clusterers": {"../x": []}},
        {"clusterers": {"x.earlier": []}},
        {"budgets": [0.0]},
        {"budgets": [0.1, 0.10000001]},
        {"data": {"a/b": []}},
        {"attacks": {".x": []}},
        {"attacks": {}},
        {"attacks": []},
        {"data": []},
        {"clusterers": {"A": [], "a": []}},
        {"attacker": {}},
        {"clusterers": {"A": [], "A+B": []}, "defences": {"B": []}},
        {"clusterers": {"A": [], "A+B": []}, "defences": {"C": [], "B+C": []}},
        {"attacker": {"gan": ["x"], "gan_x": ["y"]}, "attacks": {"s": [], "x_s": []}},
        {"defences": {"none": []}},
        {"defences": {"D": ["--model.teacher={victm}"]}},
        {"baselines": {"K": []}, "defences": {"D": []}, "only": "clusterer=K,defence=D"},
        {"baselines": {"A": []}},
        {"baselines": {"A+B": []}, "defences": {"B": []}},
    ],
)
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
    assert "Note on CoMVC: the clean clustering is poor" in outcome.out
    assert not re.search("Seed set to|GPU available|CoMVC under attack", outcome.out + outcome.err)  # a line for each job
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    attacks = ["clean", "noise", "apgd_contrastive", "apgd_cross_entropy", "apgd_distance", "gan", "worst"]
    assert [row["attack"] for row in rows] == attacks
    assert (tmp_path / "out" / "table.md").read_text().startswith("| clusterer | clean |")
    again = ardmvc("benchmark", "--config=grid.yaml")
    assert again.out.count("already done") == 3
    assert json.loads((tmp_path / "out/CoMVC/seed_0/fit.json").read_text())["machine"]["device"].startswith("cpu: ")


def small(output: str = "out", **changes: object) -> dict[str, object]:
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]
    return {
        "output": output,
        "data": [f"{CONFIGS}/data/digits.yaml", "--data.batch_size=20"],
        "clusterers": {name: [f"{CONFIGS}/victims/{name}.yaml", *few] for name in ("simvc", "comvc")},
        "attacks": ["--model.attacks={}", "--trainer.limit_test_batches=1", *QUIET],
        **changes,
    }


COMVC = [f"{CONFIGS}/victims/comvc.yaml"]
ROBUST, GAN = [f"{CONFIGS}/defenders/robust.yaml"], [f"{CONFIGS}/attackers/gan.yaml"]
NO_STEPS = "steps, restarts and expectation must be at least 1, got 0"
WRONG: list[tuple[str, object, str]] = [
    ("attacks", ["--model.atacks=3"], "test simvc, seed 0: .*atacks"),
    ("attacks", ["--sigma=-1"], "test simvc, seed 0: sigma = -1"),
    ("clusterers", {"comvc": COMVC, "x": [f"{CONFIGS}/victims/none.yaml"]}, "train x, seed 0: .*none.yaml"),
    ("clusterers", {"comvc": COMVC, "x": [*COMVC, "--model.clusterer.temperature=-1"]}, "train x, seed 0: temperature"),
    ("attacker", [*GAN, "--model.wait=3"], "train a GAN attack on simvc, seed 0: .*'wait'"),
    ("attacker", [*GAN, "--model.late_epoch=-1"], "train a GAN attack on simvc, seed 0: late_epoch must not be negative"),
    (
        "defences",
        {"taught": [*ROBUST, "--model.teacher=none.ckpt"]},
        "train simvc.taught, seed 0: none.ckpt: no such checkpoint",
    ),
    (
        "defences",
        {"taught": [*ROBUST, "--model.teacher={victim}", "--model.attack.steps=0"]},
        f"train simvc.taught, seed 0: {NO_STEPS}",
    ),
    ("clusterers", {"x": [*COMVC, "--init_from=none.ckpt"]}, "train x, seed 0: none.ckpt: no such checkpoint file"),
    ("clusterers", {"x": [*COMVC, "--checkpoint.filename=best"]}, "train x, seed 0: checkpoint: last.ckpt in .*leave"),
    ("clusterers", {"x": [*COMVC, "--checkpoint.dirpath=there"]}, "train x, seed 0: checkpoint: last.ckpt in .*leave"),
    ("seeds", [0, -1], r"seeds: each is at least 0 and smaller than 2\*\*32, got -1"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG)
def test_all_settings_are_checked_before_anything_is_trained(
    where: str, value: object, message: str, ardmvc: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text(json.dumps(small(**{where: value})))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 1
    assert re.search(f"^ardmvc: error: {message}", outcome.err)
    assert not (tmp_path / "out").exists()


def test_what_begins_with_a_checkpoint_that_will_be_there_may(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    tuned = {"tuned": [f"{CONFIGS}/defenders/robust_joint.yaml", "--init_from={victim}"]}
    (tmp_path / "grid.yaml").write_text(json.dumps(small(defences=tuned)))
    outcome = ardmvc("benchmark", "--config=grid.yaml", "--dry-run")
    assert outcome.code == 0, outcome.err


def test_so_are_those_of_a_teacher_that_is_fitted_first(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    robust = [f"{CONFIGS}/defenders/robust.yaml", f"--model.teacher=[{CONFIGS}/victims/sem.yaml, --model.clusterer.none=3]"]
    (tmp_path / "grid.yaml").write_text(json.dumps(small(clusterers={"robust": robust})))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 1
    assert re.search("^ardmvc: error: train robust, seed 0: .*'none'", outcome.err)


def test_a_clusterer_is_defended_with_its_own_settings_by_real_commands(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]
    settings = small(
        clusterers={"simvc": [f"{CONFIGS}/victims/simvc.yaml", "--model.clusterer.hidden_features=20", *few]},
        defences={
            "joint": [f"{CONFIGS}/defenders/robust_joint.yaml", *few],
            "taught": [f"{CONFIGS}/defenders/robust.yaml", "--model.teacher={victim}", *few],
        },
        budgets=[0.05],
    )
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
        outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 0, outcome.err
    defended = load_clusterer(tmp_path / "out/simvc+joint/seed_0/fit/checkpoints/last.ckpt")
    assert type(defended) is SiMVC
    assert defended.description()["init_args"]["hidden_features"] == 20
    with (tmp_path / "out/results.csv").open() as file:
        assert {row["clusterer"] for row in csv.DictReader(file)} == {
            f"simvc{defence} (budget 0.05)" for defence in ("", "+joint", "+taught")
        }
    assert '<td class="text">simvc</td><td class="text">taught</td><td>0.05</td>' in (tmp_path / "out/report.html").read_text()


def test_a_clusterer_that_a_defence_could_not_take_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="defences: B takes the clusterer of A, whose settings name none"):
        list(grid(tmp_path, clusterers={"A": ["--trainer.max_epochs=3"]}, defences={"B": ["joint.yaml"]}).jobs())


def test_settings_of_training_alone_are_none_of_a_test(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = small(clusterers={"A": [f"--config={CONFIGS}/victims/eamc.yaml", "--checkpoint.every_n_epochs=2"]})
    settings["defences"] = {"B": [f"{CONFIGS}/defenders/robust_joint.yaml"]}
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml", "--dry_run=true")
    assert outcome.code == 0, outcome.err
    defended = next(job for job in Benchmark(**settings).jobs() if job.title == "train A+B, seed 0")
    assert '"class_path": "EAMC"' in " ".join(defended.configuration)


@pytest.mark.parametrize(("given", "expected"), [("4,7", ["4", "7", "4"]), (None, ["0", "1", "0"])])
def test_workers_share_the_devices_that_are_given(
    given: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    seen: list[str] = []
    for number in range(3):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        _one_of_several(number, 2, lambda *_: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]), 0.0)
    assert seen == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")  # these processes do nothing but wait
def test_a_worker_ends_with_the_process_that_started_it() -> None:
    fork = multiprocessing.get_context("fork")
    told, tell = fork.Pipe(duplex=False)

    def start() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as in a process that nothing has trained in
        worker = fork.Process(target=lambda: (_end_with_parent(), time.sleep(600)))
        worker.start()
        tell.send(worker.pid)
        worker.join()

    parent = fork.Process(target=start)
    parent.start()
    worker = told.recv()
    parent.kill()
    parent.join()
    waited = time.monotonic() + 60
    while not re.search(r"^State:\s+Z", state(worker), re.M) and state(worker) and time.monotonic() < waited:
        time.sleep(0.01)
    assert time.monotonic() < waited


def state(pid: int) -> str:
    """What the system knows of a process, empty where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/status").read_text()
    return ""


def test_a_dry_run_says_what_would_run(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(json.dumps(small(seeds=[0, 1])))
    outcome = ardmvc("benchmark", "--config=grid.yaml", "--dry-run", "--only=seed=1")
    assert outcome.code == 0, outcome.err
    assert "[1/4] train simvc, seed 1: to do\n" in outcome.out
    assert outcome.out.endswith("4 jobs, 0 of them done.\n")
    assert not (tmp_path / "out").exists()


def test_several_workers_share_the_jobs_and_end_with_the_same_table(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    for output, workers in (("one", 1), ("two", 2)):
        (tmp_path / "grid.yaml").write_text(json.dumps(small(output)))
        outcome = ardmvc("benchmark", "--config=grid.yaml", f"--workers={workers}")
        assert outcome.code == 0, outcome.err
        assert len(re.findall(r"^\[\d/4\] ", outcome.out, re.M)) == 4
        lines = re.findall(r"^ardmvc: two/\w+/seed_0/fit: epoch 1 of 1, ", outcome.err, re.M)
        assert len(lines) == (2 if workers > 1 else 0)
    assert (tmp_path / "one/results.csv").read_text() == (tmp_path / "two/results.csv").read_text()


class AskedToEnd(Callback):
    """SIGTERM comes when training has just ended, or in the only batch of a test."""

    def on_train_end(self, *args: object, **kwargs: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    def on_test_batch_start(self, *args: object, **kwargs: object) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_sigterm_when_a_job_has_just_ended_ends_what_comes_after(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = small(training=["--trainer.callbacks+=tests.benchmark.test_grid.AskedToEnd"])
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 143
    assert json.loads((tmp_path / "out/simvc/seed_0/fit.json").read_text())["done"]
    assert not (tmp_path / "out/simvc/seed_0/test.json").exists()


def test_sigterm_in_a_test_ends_it_and_what_comes_after(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = small()
    settings["attacks"].append("--trainer.callbacks+=tests.benchmark.test_grid.AskedToEnd")
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    before = signal.getsignal(signal.SIGTERM)
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 130
    assert not json.loads((tmp_path / "out/simvc/seed_0/test.json").read_text())["done"]
    assert not (tmp_path / "out/comvc").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", place], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_said_and_earlier_results_stay(small_disk: Path, ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(json.dumps(small(str(small_disk / "out"))))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 1
    assert "error: 2 of 4 jobs failed, first train comvc, seed 0: OSError: [Errno 28] No space left on device" in outcome.err
    assert "| simvc |" in (small_disk / "out/table.md").read_text()
    earlier = (small_disk / "out/simvc/seed_0/fit/checkpoints/last.ckpt").read_bytes()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 0, outcome.err
    assert re.search(r"train simvc, seed 0: already done", outcome.out)
    assert (small_disk / "out/simvc/seed_0/fit/checkpoints/last.ckpt").read_bytes() == earlier
    assert "| comvc |" in (small_disk / "out/table.md").read_text()


def test_so_does_an_array_of_jobs(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = small("array")
    settings["clusterers"]["comvc"].append("--trainer.devices=2")
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml", "--slurm={cluster: local, timeout_min: 5}")
    assert outcome.code == 1
    assert "error: 2 of 4 jobs failed, first train comvc, seed 0: trainer.devices: a benchmark trains on one" in outcome.err
    assert outcome.out.startswith("Submitted, logs in array/slurm: ")
    assert "0 of 4 jobs done" in outcome.out
    assert "| simvc |" in (tmp_path / "array/table.md").read_text()
    assert "* not in here: train comvc, seed 0, which failed (" in (tmp_path / "array/report.md").read_text()
    assert "train simvc, seed 0" in "".join(path.read_text() for path in (tmp_path / "array/slurm").glob("*_log.out"))


@pytest.mark.parametrize(
    ("slurm", "error"),
    [("{cluster: local, timeout_mins: 5}", "slurm: .*timeout_mins"), ("{timeout_min: 5}", "slurm: .*slurm")],
)
def test_an_array_that_cannot_be_is_said(
    slurm: str, error: str, ardmvc: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # where SLURM might be
    (tmp_path / "grid.yaml").write_text(json.dumps(small("array")))
    outcome = ardmvc("benchmark", "--config=grid.yaml", f"--slurm={slurm}")
    assert outcome.code == 1
    assert re.search(f"^ardmvc: error: {error}", outcome.err, re.M), outcome.err


def test_a_failed_job_is_said_and_the_table_is_of_the_others(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = small()
    settings["clusterers"]["simvc"].append("--trainer.devices=2")
    (tmp_path / "grid.yaml").write_text(json.dumps(settings))
    outcome = ardmvc("benchmark", "--config=grid.yaml")
    assert outcome.code == 1
    assert (
        "error: 2 of 4 jobs failed, first train simvc, seed 0: trainer.devices: a benchmark trains on one device" in outcome.err
    )
    assert "| comvc |" in (tmp_path / "out/table.md").read_text()
    planned = ardmvc("benchmark", "--config=grid.yaml", "--dry-run").out
    assert "[1/4] train simvc, seed 0: to do, failed the last time: trainer.devices: a benchmark trains on" in planned


def test_a_job_is_the_same_wherever_the_package_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    here = Job("fit", "fit", ("configs/victims/comvc.yaml",), tmp_path).fingerprint
    monkeypatch.chdir(tmp_path)
    assert Job("fit", "fit", ("configs/victims/comvc.yaml",), tmp_path).fingerprint == here
    (tmp_path / "configs/victims").mkdir(parents=True)
    (tmp_path / "configs/victims/comvc.yaml").write_text("model: {}\n")  # one's own of that name
    assert Job("fit", "fit", ("configs/victims/comvc.yaml",), tmp_path).fingerprint != here


def test_a_job_changes_with_what_files_say_not_with_their_remarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings, views = tmp_path / "my.yaml", tmp_path / "views"
    views.mkdir()

    def fingerprint() -> str:
        return Job("fit", "fit", ("my.yaml", "--data.path=views"), tmp_path).fingerprint

    found = []
    for text in ("a: 1\nb: [2, c]\n", "a: 1\nb: [c, 2]\n", "a: [", "a: ["):
        settings.write_text(text)
        found.append(fingerprint())
    assert len(set(found)) == 3
    for text in ("# a remark\na: 1\n\nb: [2, c]  # and another\n", "{a: 1, b: [2, 'c']}"):
        settings.write_text(text)
        assert fingerprint() == found[0]
    for value in (0.0, 1.0):
        np.save(views / "view_0.npy", np.full((2, 2), value))
        found.append(fingerprint())
    (views / "other.npy").touch()
    (views / "view_1.npy").symlink_to("nowhere")
    os.mkfifo(views / "view_2.npy")
    assert fingerprint() == found[-1]
    settings.write_text("{b: [2, c], a: 1}")  # of a suite's attacks the first goes first
    assert len({*found, fingerprint()}) == 6


def test_a_job_changes_with_idx_files_but_not_with_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint() -> str:
        return Job("fit", "fit", (f"--data.root={tmp_path}",), tmp_path).fingerprint

    nothing = fingerprint()
    images = tmp_path / "t10k-images-idx3-ubyte.gz"
    found = [nothing]
    for content in (b"as published", b"other images"):
        images.write_bytes(content)
        found.append(fingerprint())
    assert len(set(found)) == 3
    images.write_bytes(b"as published")
    published = frozenset((*ar_dmvc.runs.job.PUBLISHED, hashlib.sha256(b"as published").hexdigest()))
    monkeypatch.setattr(ar_dmvc.runs.job, "PUBLISHED", published)
    assert fingerprint() == nothing


def test_a_job_with_classes_of_one_s_own_changes_with_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "my_clusterers.py"
    settings = ("configs/victims/simvc.yaml", "--model.clusterer=my_clusterers.Mine", "--allow=my_clusterers.Mine")
    found = []
    for content in ("class Mine: ...\n", "class Mine:\n    another = 1\n", "def no python", "import my_losses, torch\n"):
        module.write_text(content)
        found.append(Job("fit", "fit", settings, tmp_path).fingerprint)
    (tmp_path / "my_losses").mkdir()
    for name, content in (("__init__", "import my_clusterers, my_rest"), ("part", "one = 1"), ("part", "one = 2")):
        (tmp_path / f"my_losses/{name}.py").write_text(content)
        found.append(Job("fit", "fit", settings, tmp_path).fingerprint)
    (tmp_path / "my_rest.py").write_text("from my_folder.part import one")
    found.append(Job("fit", "fit", settings, tmp_path).fingerprint)
    (tmp_path / "my_folder").mkdir()  # without an __init__.py
    (tmp_path / "my_folder/part.py").touch()
    found.append(Job("fit", "fit", settings, tmp_path).fingerprint)
    assert len(set(found)) == len(found)
    (tmp_path / "my_other.py").touch()
    assert Job("fit", "fit", settings, tmp_path).fingerprint == found[-1]
