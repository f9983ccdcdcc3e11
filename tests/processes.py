"""Work done by several processes that talk to each other, as a launcher would start them."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def together(work: Callable[[int], Any], folder: Path, processes: int = 2) -> list[Any]:
    """What ``work`` returns in each of several processes, called with the process's number.

    Raises:
        AssertionError: a process failed.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = torch.multiprocessing.start_processes(
        _one, args=(work, folder, processes, port), nprocs=processes, start_method="fork", join=False
    )
    while not started.join():
        pass
    assert [process.exitcode for process in started.processes] == [0] * processes
    return [torch.load(folder / f"process_{rank}.pt", weights_only=False) for rank in range(processes)]


def _one(rank: int, work: Callable[[int], Any], folder: Path, processes: int, port: int) -> None:
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "tests",
    }
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
