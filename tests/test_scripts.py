"""The scripts that start training on several devices: what shells and a linter say of them, and real runs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CONFIGS, REPOSITORY, Outcome, fit_arguments

SCRIPTS = sorted(path for path in (REPOSITORY / "scripts").iterdir() if path.is_file() and path.suffix != ".py")
CPU = ("--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
CHECKPOINT = "comvc/version_0/checkpoints/last.ckpt"


def call(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", f"scripts/{script}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": PATH, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def write(path: Path, content: str) -> None:
    path.write_text(f"#!/bin/sh\n{content}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shells_and_shellcheck_find_nothing(script: Path) -> None:
    for command in (["bash", "-n"], ["shellcheck"]):
        found = subprocess.run([*command, script], env={"PATH": PATH}, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


def test_torchrun_trains_in_two_processes(tmp_path: Path) -> None:
    arguments = [*fit_arguments("victims/comvc.yaml", "data/digits.yaml")[1:], *CPU, f"--trainer.logger.save_dir={tmp_path}"]
    outcome = call("fit_torchrun.sh", "2", *arguments)
    assert outcome.returncode == 0, outcome.stderr
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["global_step"] == 2


def test_torchrun_says_what_it_needs() -> None:
    assert "number of processes" in call("fit_torchrun.sh").stderr
    assert "RENDEZVOUS: MACHINE:PORT" in call("fit_torchrun.sh", "1", NODES="2").stderr


@pytest.mark.parametrize("name", ["multi_gpu", "slurm"])
def test_settings_parse(name: str, ardmvc: Callable[..., Outcome]) -> None:
    outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), f"--config={CONFIGS}/trainer/{name}.yaml", "--print_config")
    settings = yaml.safe_load(outcome.out)["trainer"]
    assert (settings["strategy"], settings["precision"], settings["sync_batchnorm"]) == ("ddp", "bf16-mixed", False)


class TestSbatch:
    """With an ``srun`` that only runs; ``make test-slurm`` has a real one."""

    @pytest.fixture
    def job(self, tmp_path: Path) -> dict[str, str]:
        """The variables of a job of one task."""
        write(tmp_path / "srun", 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"')
        return {
            "PATH": f"{tmp_path}{os.pathsep}{PATH}",
            "RUNS": str(tmp_path / "runs"),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(20000 + os.getpid() % 20000),
            "SLURM_JOB_ID": "7",
            "SLURM_CLUSTER_NAME": "here",
            **dict.fromkeys(("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES"), "1"),
            **dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0"),
        }

    def test_a_job_trains_in_a_folder_of_its_own_and_goes_on_there(self, job: dict[str, str], tmp_path: Path) -> None:
        job |= {"WANDB_PROJECT": "project", "WANDB_MODE": "offline"}
        arguments = [*fit_arguments("victims/comvc.yaml", "data/digits.yaml")[1:], *CPU]
        outcome = call("fit.sbatch", *arguments, **job)
        assert outcome.returncode == 0, outcome.stderr
        folder = tmp_path / "runs" / "slurm_7"
        arguments = [option.replace("max_epochs=1", "max_epochs=2") for option in arguments]
        begun_with = ("--ckpt_path", "of_before.ckpt")  # by now it has one of its own
        outcome = call("fit.sbatch", *begun_with, *arguments, **job, SLURM_RESTART_COUNT="1")
        assert outcome.returncode == 0, outcome.stderr
        resumed = torch.load(folder / CHECKPOINT.replace("version_0", "here-7"), weights_only=True)
        assert resumed["global_step"] == 4
        assert len(list(folder.glob("comvc/here-7/metrics*.csv"))) == 2
        assert len(list(folder.glob("wandb/offline-run-*-here-7"))) == 2

    def test_what_is_passed_on(self, job: dict[str, str], tmp_path: Path) -> None:
        write(tmp_path / "ardmvc", 'echo "$WANDB_RUN_ID" "$WANDB_RESUME"; printf "%s\\n" "$@"')
        outcome = call("fit.sbatch", "--data.name", "two words", **job, WANDB_PROJECT="project")
        run, *arguments = outcome.stdout.splitlines()
        assert run == "here-7 allow"
        assert arguments[:4] == ["fit", "--config=configs/trainer/slurm.yaml", "--data.name", "two words"]
        folder = tmp_path / "runs" / "slurm_7"
        assert {f"--trainer.default_root_dir={folder}", "--trainer.logger+=WandbLogger"} <= set(arguments)
        assert not any(argument.startswith("--ckpt_path") for argument in arguments)

        outcome = call("fit.sbatch", **job)
        assert outcome.returncode == 1
        assert "slurm_7 is there already, of another job" in outcome.stderr

        for age, name in (
            (30, "hpc_ckpt_1.ckpt"),
            (20, "comvc/version_1/checkpoints/last of it.ckpt"),
            (40, "hpc_ckpt_2.ckpt"),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            os.utime(folder / name, (1e9 - age, 1e9 - age))
        arguments = call("fit.sbatch", **job, SLURM_RESTART_COUNT="2").stdout.splitlines()
        assert f"--ckpt_path={folder}/comvc/version_1/checkpoints/last of it.ckpt" in arguments
        assert "--trainer.logger+=WandbLogger" not in arguments

    def test_it_asks_for_the_signal_and_to_be_requeued(self) -> None:
        asked = re.findall(r"^#SBATCH (\S+)$", (REPOSITORY / "scripts" / "fit.sbatch").read_text(), re.MULTILINE)
        assert {"--signal=USR1@120", "--requeue", "--open-mode=append"} <= set(asked)
        assert yaml.safe_load((CONFIGS / "trainer" / "slurm.yaml").read_text())["trainer"]["plugins"][0]["init_args"] == {
            "auto_requeue": True,
            "requeue_signal": "SIGUSR1",
        }
