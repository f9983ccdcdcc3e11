"""A SLURM of our own: two nodes on this machine, without systemd or cgroups, in a temporary folder that goes with it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_CONFIGURATION = """
ClusterName=ardmvc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=20
MailProg=/bin/true
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=120
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


class Cluster:
    """What one types on a cluster.

    Args:
        environment: with ``SLURM_CONF``.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def call(self, *command: object, folder: Path | None = None) -> str:
        """Run a command and return what it says."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, *arguments: object, folder: Path | None = None) -> str:
        """Submit a job and return its number."""
        return self.call("sbatch", "--parsable", *arguments, folder=folder).strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM says of a job."""
        return dict(re.findall(r"(\S+?)=(\S+)", self.call("scontrol", "show", "job", number)))


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Start munge, the controller and two nodes; end them, their jobs and their files in any case."""
    folder = Path(tempfile.mkdtemp(prefix="ar_dmvc_slurm_"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for name in ("state", "spool.node1", "spool.node2"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        folder.chmod(0o755)  # munge wants its socket to be reachable
        configuration = folder / "slurm.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, host=socket.gethostname().split(".")[0], ports=_ports()))
        (folder / "gres.conf").write_text(
            "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
        )  # stand-ins that can be asked for
        cluster = Cluster({**os.environ, "SLURM_CONF": str(configuration), "MASTER_ADDR": "127.0.0.1"})

        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder}/munge.{suffix}" for option, suffix in files.items()]
        _daemon(stack, cluster, folder / "munge.out", "munged", "--foreground", "--force", *munge)
        wait_for("munge", (folder / "munge.socket").exists, 10)
        _daemon(stack, cluster, folder / "slurmctld.out", "slurmctld", "-D")
        for node in ("node1", "node2"):
            _daemon(stack, cluster, folder / f"{node}.out", "slurmd", "-D", "-N", node)
        stack.callback(_end_jobs, cluster)
        try:
            wait_for("two idle nodes", lambda: _says(cluster, "sinfo", "-h", "-o", "%D %t", "-p", "all") == "2 idle", 30)
            yield cluster
        except BaseException:
            for log in sorted(folder.glob("*.out")):
                print(f"--- {log.name}", *log.read_text().splitlines()[-10:], sep="\n", flush=True)
            raise


def wait_for(what: str, there: Callable[[], bool], seconds: float) -> None:
    """Wait until something is there.

    Raises:
        TimeoutError: it does not come.
    """
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(0.2)


def _ports() -> list[int]:
    """A free port, and two that follow each other."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for one in sockets[:2]:
                one.bind(("", 0))
            controller, node = (one.getsockname()[1] for one in sockets[:2])
            try:
                sockets[2].bind(("", node + 1))
            except OSError:
                continue
            return [controller, node, node + 1]


def _daemon(stack: ExitStack, cluster: Cluster, log: Path, *command: str) -> None:
    output = stack.enter_context(log.open("w"))
    process = subprocess.Popen(command, env=cluster.environment, stdout=output, stderr=output, start_new_session=True)
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_jobs(cluster: Cluster) -> None:
    if not _says(cluster, "squeue", "-h"):
        return
    cluster.call("scancel", "--user=root")
    cluster.call("scancel", "--user=root", "--signal=KILL", "--full")
    wait_for("end of the jobs", lambda: not _says(cluster, "squeue", "-h"), 60)


def _says(cluster: Cluster, *command: str) -> str:
    """What a command says, if the controller is up."""
    try:
        return cluster.call(*command).strip()
    except RuntimeError:
        return ""
