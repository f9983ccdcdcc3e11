"""Work done by several processes that talk to each other, as a launcher would start them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ar_dmvc.cli import main


def together(work: Callable[[int], Any], folder: Path, processes: int = 2) -> list[Any]:
    """What ``work`` returns in each of several processes, called with the process's number.

    Raises:
        AssertionError: a process failed.
    """
    port = free_port()
    started = torch.multiprocessing.start_processes(
        _one, args=(work, folder, processes, port), nprocs=processes, start_method="fork", join=False
    )
    while not started.join():
        pass
    assert [process.exitcode for process in started.processes] == [0] * processes
    return [torch.load(folder / f"process_{rank}.pt", weights_only=False) for rank in range(processes)]


def _one(rank: int, work: Callable[[int], Any], folder: Path, processes: int, port: int) -> None:
    os.environ |= ranks(port, processes)[rank]
    os.environ.pop("PL_GLOBAL_SEED", None)  # of a command line that ran here before: Lightning would seed with it again
    try:
        torch.save(work(rank), folder / f"process_{rank}.pt")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class Beside:
    """The command line in a process beside this one: forked, so that it has imported everything already.

    Args:
        folder: where it runs, and its output goes.
        arguments: of the command line.
        variables: what it finds in its environment besides.
    """

    _number = itertools.count()

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        number = next(self._number)
        self._out, self._err = folder / f".out_{number}", folder / f".err_{number}"
        self.process = multiprocessing.get_context("fork").Process(target=self._main, args=(folder, arguments, variables))
        self.process.start()

    def _main(self, folder: Path, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        os.environ.pop("PL_GLOBAL_SEED", None)
        os.environ |= variables
        os.chdir(folder)
        for name, path in (("stdout", self._out), ("stderr", self._err)):
            file = path.open("w")
            os.dup2(file.fileno(), 1 if name == "stdout" else 2)
            setattr(sys, name, file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main(arguments))

    def end(self) -> tuple[int, str, str]:
        """Waits for its end; gives exit code, output and errors."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode, self._out.read_text(), self._err.read_text()


def ranks(port: int, processes: int = 2) -> list[dict[str, str]]:
    """The variables that a launcher sets in each of several processes."""
    return [
        {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "tests",
        }
        for rank in range(processes)
    ]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])
