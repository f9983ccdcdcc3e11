"""Signals between steps: alone, under what looks like SLURM, and in two processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc.attacks import PGD
from ar_dmvc.callbacks.checkpoint import RunCheckpoint
from ar_dmvc.callbacks.interrupt import InterruptBetweenSteps
from ar_dmvc.modules import RobustDefender, VictimClusterer
from ar_dmvc.modules.training import ClustererTraining
from tests.conftest import REPOSITORY
from tests.modules.test_modules import FewDigits, assert_equal_states, clusterer, trainer

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
EPOCHS = 3


def write_scontrol(folder: Path) -> str:
    """An ``scontrol`` that notes what it was asked for; the PATH to find it on."""
    folder.mkdir()
    (folder / "scontrol").write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\n')
    (folder / "scontrol").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this look like a job; gives the file with what ``scontrol`` was asked for."""
    monkeypatch.setenv("PATH", write_scontrol(tmp_path / "bin"))
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "bin" / "asked"


class Send(Callback):
    """Raises a signal in the midst of a training step, counted from one, or of a validation."""

    def __init__(self, number: int, step: int = 0, validation: int = 0) -> None:
        self.number, self.left, self.validations_left = number, step, validation

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)

    def on_validation_batch_start(self, trainer: Trainer, *args: object) -> None:
        self.validations_left -= 1
        if self.validations_left == 0:
            signal.raise_signal(self.number)


def victim() -> VictimClusterer:
    torch.manual_seed(0)
    return VictimClusterer(clusterer())


def student() -> RobustDefender:
    """What has a schedule of the learning rate, for which steps are counted before a checkpoint is read."""
    torch.manual_seed(0)
    return RobustDefender(clusterer(), PGD("cross_entropy", steps=1), epsilon=0.1, teacher=clusterer(), averaging=0.9)


def run(folder: Path, *callbacks: Callback, **settings: object) -> Trainer:
    own = [InterruptBetweenSteps(), *callbacks]
    return trainer(folder, max_epochs=EPOCHS, num_sanity_val_steps=0, callbacks=own, **settings)


@pytest.mark.parametrize(
    ("when", "stops_after"),
    [({"step": 2}, 2), ({"step": 3}, 4), ({"step": 4}, 4), ({"validation": 2}, 4)],
    ids=["within an epoch", "at its end", "at the start of the next", "in a validation"],
)
def test_a_requeued_job_ends_as_one_left_alone(when: dict[str, int], stops_after: int, slurm: Path, tmp_path: Path) -> None:
    whole, stopped, resumed = victim(), victim(), victim()
    run(tmp_path / "whole").fit(whole, FewDigits())
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    with pytest.raises(SystemExit):
        run(tmp_path / "job", Send(signal.SIGUSR1, **when)).fit(stopped, FewDigits())
    assert slurm.read_text() == "requeue 7\n"
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    content = torch.load(tmp_path / "job" / "hpc_ckpt_1.ckpt", weights_only=True)
    assert content["global_step"] == stops_after
    run(tmp_path / "job").fit(resumed, FewDigits(), weights_only=True)
    assert_equal_states(resumed, whole)


@pytest.mark.parametrize("when", [{"step": 9}, {"validation": 8}], ids=["step", "validation"])
def test_a_job_at_its_end_finishes(when: dict[str, int], slurm: Path, tmp_path: Path) -> None:
    last = run(tmp_path, Send(signal.SIGUSR1, **when))
    last.fit(victim(), FewDigits())
    assert last.state.finished
    assert "val/acc" in last.callback_metrics
    assert not slurm.exists()


def test_a_job_with_epochs_of_one_step_stops(slurm: Path, tmp_path: Path) -> None:
    whole, stopped, resumed = victim(), victim(), victim()
    run(tmp_path / "whole").fit(whole, FewDigits(batch_size=30))
    with pytest.raises(SystemExit):
        run(tmp_path / "job", Send(signal.SIGUSR1, step=2)).fit(stopped, FewDigits(batch_size=30))
    run(tmp_path / "job").fit(resumed, FewDigits(batch_size=30), weights_only=True)
    assert_equal_states(resumed, whole)
    assert slurm.read_text() == "requeue 7\n"


def test_the_handler_of_others_is_left_alone(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        one = run(tmp_path, Send(signal.SIGUSR1, step=2))
        one.fit(victim(), FewDigits())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
    assert one.state.finished


class Leave(Send):
    """Leaves the process in the midst of a training step, as some schedulers' handlers do."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        self.left -= 1
        if self.left == 0:
            raise SystemExit


@pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")  # it has not learned
@pytest.mark.parametrize(
    ("make", "leave", "kept"),
    [
        (victim, lambda: Leave(0, step=5), 3),
        (victim, lambda: Send(signal.SIGTERM, step=5), 5),
        (student, lambda: Send(signal.SIGTERM, step=5), 5),
    ],
    ids=["within a step", "sigterm", "sigterm, a student"],
)
def test_what_is_kept_resumes_exactly(
    make: Callable[[], ClustererTraining], leave: Callable[[], Send], kept: int, tmp_path: Path
) -> None:
    stop = leave()
    whole, stopped, resumed = make(), make(), make()
    run(tmp_path / "whole").fit(whole, FewDigits())
    with pytest.raises(SystemExit):
        run(tmp_path / "stopped", stop, RunCheckpoint(tmp_path / "stopped"), enable_checkpointing=True).fit(
            stopped, FewDigits()
        )
    assert torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)["global_step"] == kept
    again = run(tmp_path / "resumed", RunCheckpoint(tmp_path / "resumed"), enable_checkpointing=True)
    again.fit(resumed, FewDigits(), ckpt_path=tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert_equal_states(resumed, whole)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    class Twice(Send):
        def on_before_backward(self, *args: object) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    one = run(tmp_path, Twice(signal.SIGINT))
    with pytest.raises(SystemExit):
        one.fit(victim(), FewDigits())
    assert one.global_step == 0


def test_several_processes_ask_each_other_every_tenth_step() -> None:
    """And none of them after a validation batch, of which they have different numbers."""
    questions: list[bool] = []

    def asked(own: bool, all: bool) -> bool:
        questions.append(own)
        return len(questions) == 2

    several = SimpleNamespace(
        world_size=2, lightning_module=None, is_last_batch=False, strategy=SimpleNamespace(reduce_boolean_decision=asked)
    )
    callback = InterruptBetweenSteps()
    callback.on_train_start(several, LightningModule())  # type: ignore[arg-type]
    try:
        for _ in range(19):
            callback.on_train_batch_end(several)  # type: ignore[arg-type]
            callback.on_validation_batch_end(several)  # type: ignore[arg-type]
        assert questions == [False]
        with pytest.raises(KeyboardInterrupt):
            callback.on_train_batch_end(several)  # type: ignore[arg-type]
    finally:
        callback.on_train_end(several, LightningModule())  # type: ignore[arg-type]


_TASK = """
import signal
from pathlib import Path
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from ar_dmvc.callbacks.interrupt import InterruptBetweenSteps

class Steps(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 3 and trainer.global_rank == 1:
            signal.raise_signal(signal.SIGUSR1)
    def on_exception(self, trainer, *args):
        Path(f"stopped_{trainer.global_rank}_{trainer.global_step}").touch()

settings = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, limit_val_batches=0, **settings,
        callbacks=[InterruptBetweenSteps(), Steps()]).fit(BoringModel())
"""


def test_two_tasks_of_which_one_gets_the_signal_stop_after_the_same_step(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        **SLURM,
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "PATH": write_scontrol(tmp_path / "bin"),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20000 + os.getpid() % 20000),
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", _TASK],
            cwd=tmp_path,
            env=environment | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in range(2)
    ]
    try:
        said = [task.communicate(timeout=120)[1] for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    assert {path.name for path in tmp_path.glob("stopped*")} == {"stopped_0_10", "stopped_1_10"}, said
    assert (tmp_path / "hpc_ckpt_1.ckpt").is_file()
    assert (tmp_path / "bin" / "asked").read_text() == "requeue 7\n"
