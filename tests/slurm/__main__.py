"""A real SLURM: the documented job, taken off its nodes and requeued, ends as one left alone. See ``--help``."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.conftest import REPOSITORY
from tests.slurm.cluster import Cluster, own_cluster, wait_for

EPOCHS = 8
TRAINING = (
    "--config=configs/victims/comvc.yaml",
    "--config=configs/data/digits.yaml",
    "--data.batch_size=10",
    f"--trainer.max_epochs={EPOCHS}",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
)


class Training:
    """The documented job.

    Args:
        cluster: where it runs.
        runs: where it writes.
        nodes: how many.
        tasks: on each.
    """

    def __init__(self, cluster: Cluster, runs: Path, nodes: int, tasks: int) -> None:
        self.cluster = cluster
        size = (f"--nodes={nodes}", f"--ntasks-per-node={tasks}", "--cpus-per-task=1", f"--gpus-per-node={tasks}")
        output = (f"--output={runs}/%j.log", f"--export=ALL,RUNS={runs}")
        self.number = cluster.submit(*size, *output, "scripts/fit.sbatch", *TRAINING, folder=REPOSITORY)
        self.log = runs / f"{self.number}.log"
        self.folder = runs / f"slurm_{self.number}"

    def part(self, number: int) -> Path:
        """The run folder of a part, counted from zero."""
        return self.folder / "comvc" / f"version_{number}"

    def state(self) -> dict[str, str]:
        """What SLURM says of it."""
        return self.cluster.job(self.number)

    def wait_for_an_epoch(self, part: int) -> None:
        """Wait until a part has an epoch behind it and is within the next."""
        wait_for(f"epoch of part {part}", (self.part(part) / "checkpoints" / "last.ckpt").exists, 240)
        time.sleep(0.5)

    def finish(self) -> None:
        """Wait for its end, which has to be a good one."""
        wait_for(f"end of job {self.number}", lambda: self.state()["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), 400)
        expect(self.state()["JobState"] == "COMPLETED", f"job {self.number} is {self.state()['JobState']}")

    def checkpoint(self, part: int) -> dict[str, object]:
        """The last checkpoint of a part."""
        return dict(torch.load(self.part(part) / "checkpoints" / "last.ckpt", weights_only=True))

    def validations(self) -> list[tuple[str, str]]:
        """Validation step and NMI, of all parts in order."""
        rows = [row for path in sorted(self.folder.glob("comvc/*/metrics.csv")) for row in csv.DictReader(path.open())]
        return [(row["step"], row["val/nmi"]) for row in rows if row["val/nmi"]]


def expect(fine: bool, otherwise: str) -> None:
    """Go on only where all is as it should be.

    Raises:
        RuntimeError: it is not.
    """
    if not fine:
        raise RuntimeError(otherwise)


def check(cluster: Cluster, runs: Path, nodes: int, tasks: int) -> None:
    """Run a job to its end, and another that is taken off its nodes twice; compare."""
    say(f"a job on {nodes} node(s) with {tasks} task(s) each")
    whole = Training(cluster, runs, nodes, tasks)
    whole.finish()

    say("another, to be stopped by the signal")
    stopped = Training(cluster, runs, nodes, tasks)
    stopped.wait_for_an_epoch(0)
    cluster.call("scancel", "--signal=USR1", stopped.number)
    wait_for("first requeue", lambda: stopped.state()["Restarts"] == "1", 60)
    say("requeued; in its second part, to be pre-empted by a job of a higher priority")
    stopped.wait_for_an_epoch(1)
    urgent = cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for("second requeue", lambda: stopped.state()["Restarts"] == "2", 90)
    wait_for("urgent job", lambda: cluster.job(urgent)["JobState"] == "COMPLETED", 90)
    say("requeued again")
    stopped.finish()

    log = stopped.log.read_text()
    for part in (1, 2):
        expect((stopped.folder / f"hpc_ckpt_{part}.ckpt").is_file(), f"no checkpoint {part} on the signal\n{log}")
        expect(f"Restored all states from the checkpoint at {stopped.folder}/hpc_ckpt_{part}.ckpt" in log, log)
    one, other = whole.checkpoint(0), stopped.checkpoint(2)
    expect(one["global_step"] == other["global_step"], f"{one['global_step']} steps, {other['global_step']} after requeueing")
    weights, resumed = one["state_dict"], other["state_dict"]
    assert isinstance(weights, dict)
    assert isinstance(resumed, dict)
    differing = [name for name, value in weights.items() if not torch.equal(value, resumed[name])]
    expect(not differing, f"other weights after requeueing: {differing}")
    expect(whole.validations() == stopped.validations(), f"{whole.validations()}, not {stopped.validations()}")
    expect(len(whole.validations()) == EPOCHS, "not all epochs are in metrics.csv")
    expect("Restored" not in whole.log.read_text(), "a job went on from another's checkpoint")

    say("a job that comes later")
    later = Training(cluster, runs, nodes, tasks)
    later.finish()
    expect("Restored" not in later.log.read_text(), "a later job went on from an earlier one's checkpoint")
    say(f"the same {len(weights)} tensors after {one['global_step']} steps, whether or not the job was requeued")


def check_array(cluster: Cluster, runs: Path) -> None:
    """Run a grid in this process, and the same as an array of jobs of which one is requeued in its midst; compare."""
    say("a benchmark on this machine")
    command = [sys.executable, "-m", "ar_dmvc", "benchmark"]
    for place in ("here", "array"):
        few = [*TRAINING[2:], "--trainer.max_epochs=4"]
        grid = {
            "output": str(runs / place),
            "data": ["configs/data/digits.yaml"],
            "clusterers": {name: [f"configs/victims/{name}.yaml", *few] for name in ("simvc", "comvc")},
            "attacks": ["--model.attacks={}", "--trainer.limit_test_batches=1"],
        }
        (runs / f"{place}.json").write_text(json.dumps(grid))
    cluster.call("env", "OMP_NUM_THREADS=1", *command, f"--config={runs}/here.json", folder=REPOSITORY)

    say("the same as an array of two jobs, one of which is requeued")
    slurm = "--slurm={slurm_partition: all, timeout_min: 10, cpus_per_task: 1}"
    with (runs / "array.log").open("w") as log:
        caller = subprocess.Popen(
            [*command, f"--config={runs}/array.json", "--workers=2", slurm],
            env=cluster.environment,
            cwd=REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    first = runs / "array/comvc/seed_0/fit/checkpoints/last.ckpt"
    wait_for("an epoch of the array", first.exists, 240)
    number = re.findall(r"\d+_\d+", (runs / "array.log").read_text())[0]
    cluster.call("scancel", "--signal=USR2", number)
    wait_for("requeue of a worker", lambda: cluster.job(number)["Restarts"] == "1", 60)
    expect(caller.wait(400) == 0, (runs / "array.log").read_text())
    tables = [(runs / place / "table.md").read_text() for place in ("here", "array")]
    expect(tables[0] == tables[1], "\n".join(tables))
    say("the same table")


def say(text: str) -> None:
    """Say what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Set up, check, clean up."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 2))
    parser.add_argument("--tasks", type=int, default=2, choices=(1, 2), help="on each node")
    given = parser.parse_args()
    runs = Path(tempfile.mkdtemp(prefix="ar_dmvc_runs_"))
    try:
        with own_cluster() as cluster:
            check_array(cluster, runs)
            check(cluster, runs, given.nodes, given.tasks)
    except BaseException:
        for log in sorted(runs.glob("*.log")):
            print(f"--- {log.name}", *log.read_text().splitlines()[-30:], sep="\n", flush=True)
        raise
    finally:
        shutil.rmtree(runs)


if __name__ == "__main__":
    main()
