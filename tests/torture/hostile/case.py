"""What a case of the corpus is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import QUIET, fit_arguments

Make = Callable[[Path], list[list[str]]]

FEW = ("--trainer.limit_test_batches=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
FOREIGN = ("os.system", "subprocess.Popen", "builtins.eval", "antigravity.Joke", "theirs.Data", "torch.hub.load", "")
MARKUP = "<img src=x onerror=alert(1)>'><script>alert(1)</script>{{999*1001}}"
FIT = (*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), "--trainer.max_epochs=3", *FEW)


@dataclass(frozen=True)
class Case:
    """A file that is hostile, and the commands that meet it.

    Attributes:
        kind: of file.
        name: what is hostile about it.
        make: puts it into a folder, beside which ``secret`` lies, and says which commands meet it.
        leaves: what has to be there in the end.
    """

    kind: str
    name: str
    make: Make
    leaves: str = ""


class Pickled:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ../secret/canary canary",)


def uses(name: str, *, fit: bool) -> list[list[str]]:
    """The commands that meet a checkpoint."""
    met = [[command, f"--ckpt_path={name}", "--data.batch_size=10", *FEW, *QUIET] for command in ("test", "predict")]
    return [*met, [*FIT, f"--ckpt_path={name}"]] if fit else met


def entry(name: str, number: int) -> list[str]:
    """One of all the commands that take a checkpoint, or the estimator, in turn."""
    digits = ("data/digits.yaml",)
    commands = [
        *uses(name, fit=True),
        ["validate", f"--ckpt_path={name}", *FEW[2:], *QUIET],
        ["export", f"--ckpt_path={name}"],
        ["load", name],
        [*FIT, f"--init_from={name}"],
        [*fit_arguments("defenders/robust.yaml", *digits), f"--model.teacher={name}", "--trainer.max_epochs=1", *FEW],
        [*fit_arguments("attackers/gan.yaml", *digits), f"--model.victim={name}", "--trainer.max_epochs=1", *FEW],
    ]
    return commands[number % len(commands)]
