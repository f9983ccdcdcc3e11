"""One of two processes that train together is killed, stopped or runs out of memory, at random moments.

The other ends within the timeout, with a line that says so; from the checkpoint of what they had finished, one process goes on.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Callback

from ar_dmvc.checkpoint import read_checkpoint
from tests.conftest import fit_arguments
from tests.processes import Beside, free_port, ranks
from tests.torture import Trial

TIMEOUT = 10
"""Seconds, of the strategy; a process that is killed is noticed at once, one that is stopped only then."""

GRACE = 10
_STRATEGY = {
    "class_path": "lightning.pytorch.strategies.DDPStrategy",
    "init_args": {"process_group_backend": "gloo", "timeout": f"0:00:{TIMEOUT}"},
}
FITS = {
    "training": fit_arguments("victims/comvc.yaml", "data/digits.yaml"),
    "crafting": fit_arguments("defenders/robust_joint.yaml", "data/digits.yaml"),
    "a gather": fit_arguments("victims/comvc.yaml", "data/digits.yaml"),
}


class Hungry(Callback):
    """Asks for more memory than there is, in the next step after SIGUSR2."""

    def setup(self, *args: object, **settings: object) -> None:
        self._hungry = False
        signal.signal(signal.SIGUSR2, self._become)

    def on_before_zero_grad(self, *args: object) -> None:
        if self._hungry:
            torch.empty(1 << 60, dtype=torch.uint8)

    def _become(self, *args: object) -> None:
        self._hungry = True


class HungryInGather(Hungry):
    """Asks for it where it would give or take what others have."""

    def setup(self, *args: object, **settings: object) -> None:
        super().setup(*args, **settings)
        for name in ("all_gather", "all_gather_into_tensor", "all_reduce", "broadcast"):
            setattr(torch.distributed, name, partial(self._eat_before, getattr(torch.distributed, name)))

    def on_before_zero_grad(self, *args: object) -> None:
        pass

    def _eat_before(self, exchange: Callable[..., object], *args: object, **settings: object) -> object:
        super().on_before_zero_grad()
        return exchange(*args, **settings)


def trials(folder: Path, times: int = 3, seed: int = 0) -> Iterator[Trial]:
    """Disturb one of two.

    Args:
        folder: for all of it.
        times: how often each way in each kind of training; rank 0 and rank 1 in turn.
        seed: of the moments.
    """
    moments = random.Random(seed)
    for what, command in FITS.items():
        for how, harm in _HARMS.items():
            for number in range(times):
                place = folder / f"{what}_{how}_{number}".replace(" ", "_")
                place.mkdir(parents=True)
                rank, moment = number % 2, moments.uniform(1.5, 4)
                fault = _disturbed(place, command, harm, rank, moment, gathers=what == "a gather")
                yield Trial(f"one of two processes {how} in {what}", f"rank {rank}", fault)


def _disturbed(
    folder: Path, command: Sequence[str], harm: Callable[[int], None], rank: int, moment: float, gathers: bool
) -> str:
    hungry = "HungryInGather" if gathers else "Hungry"
    fit = [*command, "--trainer.max_epochs=200", "--trainer.devices=2", "--oversubscribe=true"]
    fit += [f"--trainer.strategy={_STRATEGY}", f"--trainer.callbacks+=tests.torture.processes.{hungry}"]
    pair = [Beside(folder, *fit, OMP_NUM_THREADS="1", **variables) for variables in ranks(free_port())]
    waited = time.monotonic() + 60
    while not list(folder.glob("runs/*/*/checkpoints/last.ckpt")) and time.monotonic() < waited:
        time.sleep(0.1)
    time.sleep(moment)
    other = pair[1 - rank]
    with _waited_for(other.process.pid or 0) if gathers else nullcontext():
        harm(pair[rank].process.pid or 0)
    begun = time.monotonic()
    other.process.join(TIMEOUT + 2 * GRACE)
    lasted = time.monotonic() - begun
    hangs = other.process.is_alive()
    for process in pair:
        if process.process.is_alive():
            process.process.kill()
    code, _, err = other.end()
    pair[rank].process.join()
    if hangs or lasted > (TIMEOUT + GRACE if harm is _HARMS["stopped"] else TIMEOUT):
        return f"the other ran on for {lasted:.0f} s: {err[-300:]}"
    said = [line for line in err.splitlines() if line.startswith("ardmvc: error: ")]
    if code != 1 or len(said) != 1 or "another process of this run has stopped" not in said[0]:
        return f"exit code {code}: {err[-600:]}"
    return _goes_on(folder, command)


@contextmanager
def _waited_for(pid: int) -> Iterator[None]:
    """Meanwhile a process stands still, and the other waits for it in a gather."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
    yield
    os.kill(pid, signal.SIGCONT)


def _goes_on(folder: Path, command: Sequence[str]) -> str:
    """What is wrong with the checkpoint for one process."""
    found = list(folder.glob("runs/*/*/checkpoints/last.ckpt"))
    if not found:
        return "there is no checkpoint"
    epochs = int(read_checkpoint(found[0])["epoch"]) + 2
    alone = Beside(folder, *command, f"--trainer.max_epochs={epochs}", "--ckpt_path=last")
    code, _, err = alone.end()
    return "" if code == 0 else f"one process does not go on: {err[-300:]}"


_HARMS: dict[str, Callable[[int], None]] = {
    "killed": lambda pid: os.kill(pid, signal.SIGKILL),
    "stopped": lambda pid: os.kill(pid, signal.SIGSTOP),
    "out of memory": lambda pid: os.kill(pid, signal.SIGUSR2),
}
