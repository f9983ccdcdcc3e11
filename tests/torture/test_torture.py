"""A short form of ``make torture``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ar_dmvc.benchmark
import ar_dmvc.session  # noqa: F401  imported before processes are forked
from tests.torture import Trial, calls, faults, hostile, killed, long, same, starved, table, wrong
from tests.torture.hostile.checkpoints import flips
from tests.torture.watched import watched

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")]


def test_hostile_files(victim: Path, tmp_path: Path) -> None:
    assert not faults(hostile.trials(victim, tmp_path, share=0.015, seed=0))


def test_flipped_bits(victim: Path, tmp_path: Path) -> None:
    assert not faults(flips(victim, tmp_path, count=50))


def test_wrong_command_lines(victim: Path, tmp_path: Path) -> None:
    assert not faults(wrong.trials(victim, tmp_path, count=44, seed=1))


def test_starved_commands(victim: Path, tmp_path: Path) -> None:
    assert not faults(starved.trials(victim, tmp_path, share=0.06))


def test_wrong_calls(victim: Path) -> None:
    assert not faults(calls.trials(victim))


def test_killed_training(tmp_path: Path) -> None:
    assert not faults(killed.fits("an attacker", tmp_path, kills=2))


def test_killed_benchmarks(tmp_path: Path) -> None:
    assert not faults(killed.both(tmp_path / "x", kills=2))


def test_killed_estimators(tmp_path: Path) -> None:
    assert not faults(killed.estimator(tmp_path / "x", kills=1))


def test_the_same_again(victim: Path, tmp_path: Path) -> None:
    assert not faults(same.trials(victim, tmp_path, only=["ar_dmvc_am"]))


class TestLongRuns:
    def test_predictions_take_no_more_and_no_more(self) -> None:
        views = [np.random.default_rng(0).normal(size=(60, width)) for width in (4, 6)]
        measured = long.predict(views, 100)
        del measured.values["time, ms"]
        assert not faults(measured.trials("predictions"))

    def test_growth_is_found_and_noise_is_none(self) -> None:
        noise = np.random.default_rng(0).normal(scale=3, size=500)
        for growth, found in ((0.0, 0), (50.0, 1)):
            values = list(100 + noise + np.linspace(0, growth, 500))
            assert len(faults(long.Measured({"memory, MiB": values}).trials("x"))) == found
        level, growth, error = long.fitted(list(100 + np.linspace(0, 50, 500)))
        assert level == pytest.approx(125, abs=1)
        assert growth == pytest.approx(50, abs=2)
        assert error < 1


class TestTheWatch:
    """It would be worth nothing if it saw nothing."""

    def test_what_is_opened_started_and_taken(self, tmp_path: Path) -> None:
        here = tmp_path / "here"
        here.mkdir()
        (tmp_path / "secret").write_text("x")
        (here / "link").symlink_to(tmp_path / "secret")
        (here / "mine").write_text("x")
        for work, seen in (
            (lambda: (here / "mine").read_text(), ""),
            (lambda: (here / "new").write_text("x"), ""),
            (lambda: (here / "link").read_text(), "reads"),
            (lambda: (tmp_path / "other").write_text("x"), "writes"),
            (lambda: (tmp_path / "secret").unlink(), "os.remove"),
            (lambda: __import__("os").system("true"), "os.system"),
            (lambda: __import__("subprocess").Popen(["true"]), "subprocess.Popen"),
        ):
            outcome = watched(here, lambda work=work: work() and 0)  # type: ignore[misc]
            assert ("outside" in outcome.fault()) == bool(seen), outcome
            assert seen in "".join(outcome.outside)
        assert "took" in watched(here, lambda: len(b"x" * (2 << 30)) and 0).fault()
        assert "hangs" in watched(here, lambda: __import__("time").sleep(60), seconds=1).fault()
        assert "traceback" in watched(here, lambda: 1 // 0).fault()

    def test_a_table_counts_faults(self) -> None:
        trials = [Trial("a", "1"), Trial("a", "2", "wrong"), Trial("b", "3")]
        assert "| a | 2 | 1 |" in table(trials)
        assert [trial.name for trial in faults(trials)] == ["2"]
