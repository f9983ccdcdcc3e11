"""A short form of ``make torture``."""

from __future__ import annotations

from pathlib import Path

import pytest

import ar_dmvc.benchmark
import ar_dmvc.session  # noqa: F401  imported before processes are forked
from tests.torture import Trial, faults, hostile, killed, starved, table, wrong
from tests.torture.hostile.checkpoints import flips
from tests.torture.watched import watched

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")]


@pytest.mark.parametrize("seed", range(2))
def test_hostile_files(seed: int, victim: Path, tmp_path: Path) -> None:
    assert not faults(hostile.trials(victim, tmp_path, share=0.02, seed=seed))


def test_flipped_bits(victim: Path, tmp_path: Path) -> None:
    assert not faults(flips(victim, tmp_path, count=50))


def test_wrong_command_lines(victim: Path, tmp_path: Path) -> None:
    assert not faults(wrong.trials(victim, tmp_path, count=60, seed=1))


def test_starved_commands(victim: Path, tmp_path: Path) -> None:
    assert not faults(starved.trials(victim, tmp_path, share=0.1))


def test_wrong_calls() -> None:
    assert not faults(wrong.calls())


def test_killed_training(tmp_path: Path) -> None:
    assert not faults(killed.fits("an attacker", tmp_path, kills=2))


def test_killed_estimators(tmp_path: Path) -> None:
    assert not faults(killed.estimator(tmp_path / "x", kills=1))


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
