"""Wrong input, by a generator from what is right: command lines and calls with one thing wrong, which has to be said in a line.

Each ends with exit code 1 or 2, or an exception of the kind that is promised, in less than ten seconds, with one line that
names what is wrong; nothing is ignored, abbreviated or taken for something else.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from ar_dmvc.cli import main
from tests.conftest import QUIET, fit_arguments
from tests.torture import Trial
from tests.torture.watched import SECONDS, Watched, watched

SHORT = ("--trainer.fast_dev_run=true",)
NO_NUMBER = ("many", "", "[1, 2]", "{a: 1}")
_ALLOWED = re.compile(
    "expected|must |at least|did you mean|no such|there is no|it has|has to|can be|counts only|choices|Available|another kind"
)
"""How a message says what it would take."""
ANY_SIGN = ("seed", "data.seed", "seed_everything", "num_workers", "every_n_epochs", "save_top_k", "max_epochs")
"""Settings that may be negative, or whose meaning Lightning gives to -1."""


@dataclass(frozen=True)
class Wrong:
    """A command line with one thing wrong.

    Attributes:
        kind: of mistake.
        arguments: the command line.
        named: what the message has to name, one of them.
    """

    kind: str
    arguments: tuple[str, ...]
    named: tuple[str, ...] = ()


def trials(checkpoint: Path, folder: Path, count: int = 500, seed: int = 0) -> Iterator[Trial]:
    """Make many mistakes and try some of them.

    Args:
        checkpoint: of a clusterer that has learned.
        folder: for what they leave.
        count: how many to try.
        seed: of the lot that chooses them.
    """
    lot, kinds = random.Random(seed), defaultdict[str, list[Wrong]](list)
    for wrong in _mistakes(checkpoint):
        kinds[wrong.kind].append(wrong)
    chosen: list[Wrong] = []
    for left, mistakes in zip(range(len(kinds), 0, -1), sorted(kinds.values(), key=len), strict=True):
        chosen += lot.sample(mistakes, min(len(mistakes), (count - len(chosen)) // left))  # as many of each kind as there are
    for number, wrong in enumerate(chosen):
        place = folder / str(number)
        place.mkdir(parents=True)
        outcome = watched(place, lambda wrong=wrong: main(wrong.arguments))  # type: ignore[misc]
        yield Trial(f"command lines: {wrong.kind}", " ".join(wrong.arguments[-2:]), _fault(outcome, wrong))


def _fault(outcome: Watched, wrong: Wrong) -> str:
    if outcome.code is None:
        return f"hangs: {outcome.err[-200:]}"
    said = [line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]
    found = []
    if outcome.code not in (1, 2):
        found.append(f"exit code {outcome.code}")
    elif len(said) != 1:
        found.append(f"{len(said)} lines of error")
    else:
        found += _left_unsaid(said[0], wrong)
    if "Traceback" in outcome.err:
        found.append("a traceback")
    if outcome.seconds > SECONDS:
        found.append(f"took {outcome.seconds:.0f} s")
    return "; ".join(found) and f"{'; '.join(found)} | {outcome.err[-200:]}"


def _left_unsaid(message: str, wrong: Wrong) -> list[str]:
    """What a message does not name: the setting, and for a value also that and what is allowed."""
    found = [] if any(name in message for name in wrong.named) else [f"does not name {wrong.named}: {message}"]
    if wrong.kind in ("types", "ranges", "choices"):
        value = wrong.arguments[-1].partition("=")[2] or "an empty one"
        if value not in message and str(yaml.safe_load(value)) not in message:
            found.append(f"does not name the value {value}: {message}")
        if not _ALLOWED.search(message):
            found.append(f"does not say what is allowed: {message}")
    return found


def _mistakes(checkpoint: Path) -> Iterator[Wrong]:
    """All that can be made of some command lines that are right."""
    trained = f"--ckpt_path={checkpoint}"
    digits = "data/digits.yaml"
    lines: dict[tuple[str, ...], tuple[str, ...]] = {
        tuple(fit_arguments("victims/comvc.yaml", digits)): ("model", "data", "checkpoint"),
        tuple(fit_arguments("victims/sem.yaml", digits)): ("model",),
        tuple(fit_arguments("victims/aecoddc.yaml", digits)): ("model",),
        (*fit_arguments("attackers/gan.yaml", digits), f"--model.victim={checkpoint}"): ("model",),
        (*fit_arguments("defenders/robust.yaml", digits), f"--model.teacher={checkpoint}"): ("model",),
        ("test", trained, *QUIET): ("model", "epsilons", "resolution", "card", "alone", "sigma", "draws"),
        ("predict", trained, *QUIET): ("output", "data"),
    }
    for line, sections in lines.items():
        settings = _settings(line)
        yield from _values({name: value for name, value in settings.items() if name.split(".")[0] in sections}, line)
        yield from _names(settings, line)
        yield from _doubled(line)
    yield from _missing()
    yield from _choices()
    yield from _contradictions(trained)


def _settings(line: Sequence[str]) -> dict[str, Any]:
    """All settings of a command line by their dotted names, with their values."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([*line, "--print_config"])
    return dict(_flat(yaml.safe_load(printed.getvalue())))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, before if name == "init_args" else f"{before}{name}.")
        elif name != "class_path":
            yield f"{before}{name}", value


def _values(settings: Mapping[str, Any], line: Sequence[str]) -> Iterator[Wrong]:
    """Values of another type, or out of range."""
    for name, value in settings.items():
        last = name.rsplit(".", 1)[-1]
        for kind, wrong in _wrong_values(last, value):
            yield Wrong(kind, (*line, *SHORT, f"--{name}={wrong}"), (last,))


def _wrong_values(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield from (("types", wrong) for wrong in ("perhaps", "2", "[true]"))
    elif isinstance(value, int):
        yield from (("types", wrong) for wrong in (*NO_NUMBER, "1.5", "nan"))
        if name not in ANY_SIGN:
            yield "ranges", "-3"
    elif isinstance(value, float):
        yield from (("types", wrong) for wrong in NO_NUMBER)
        yield from (("ranges", wrong) for wrong in ("-1.5", "nan", "inf"))


def _names(settings: Mapping[str, Any], line: Sequence[str]) -> Iterator[Wrong]:
    """Options with a letter left out, doubled, swapped or the last ones cut."""
    for name, value in settings.items():
        last = name.rsplit(".", 1)[-1]
        swapped = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1] + "x"
        for kind, odd in (
            ("misspellings", name[:-3] + name[-2:]),
            ("misspellings", name + name[-1]),
            ("misspellings", swapped),
            ("abbreviations", name[:-1]),
        ):
            if odd not in settings and len(last) > 3:
                yield Wrong(kind, (*line, *SHORT, f"--{odd}={'null' if value is None else value}"), (odd.rsplit(".", 1)[-1],))
        if value is not None:
            yield Wrong("missing values", (*line, *SHORT, f"--{name}"), (last,))


def _doubled(line: Sequence[str]) -> Iterator[Wrong]:
    """Options of the line once more, with another value."""
    for option in line:
        name, _, value = option.partition("=")
        if name.startswith("--") and name != "--config":
            group, _, last = name.rpartition(".")
            within = ((f"{group}={{{last}: {value}x}}",),) if group and value else ()
            for again in ((f"{name}=",), (name, f"{value}x"), (f"{name}=null",), *within):
                yield Wrong("doubled", (*line, *again), (name,))


def _missing() -> Iterator[Wrong]:
    """Commands, files, classes and settings that are not there."""
    fit = (*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), *SHORT)
    for command in ("fti", "Fit", "train", "predictt", "--vesion", "--confg", "tests"):
        yield Wrong("commands", (command,), (command,))
    for command in ("fit", "test", "predict", "validate", "benchmark", "export", "report"):
        yield Wrong("missing settings", (command,), ("model", "config", "ckpt_path", "checkpoint", "folder", "data", "runs"))
        yield Wrong("files", (command, "--config=none.yaml"), ("none.yaml", "takes a folder"))
        yield Wrong("files", (command, "--config=victims/comcv.yaml"), ("comcv", "takes a folder"))
    for command in ("test", "predict", "validate"):
        yield Wrong("files", (command, "--ckpt_path=none.ckpt"), ("none.ckpt",))
        yield Wrong("files", (command, "--ckpt_path=."), ("ckpt_path", "no such checkpoint"))
        yield Wrong("missing settings", (command, "--config=data/digits.yaml"), ("model", "ckpt_path"))
    for names in (("--model=CoMCV",), ("--model.clusterer=CoMCV",), ("--data=Digist",), ("--model.clusterer=Digits",)):
        yield Wrong("choices", (*fit, *names), (names[0].partition("=")[2],))


def _choices() -> Iterator[Wrong]:
    """Values that are none of the choices, or out of range."""
    fit = (*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), *SHORT)
    for option, values in {
        "data.partition": ("half", "Victim", "3"),
        "trainer.precision": ("half", "17", "bf17"),
        "trainer.accelerator": ("gpuu", "cpus"),
        "trainer.strategy": ("dpp", "none"),
        "trainer.max_epochs": ("-5", "1.5", "few"),
        "trainer.devices": ("0", "-3", "some"),
        "checkpoint.mode": ("lowest",),
        "data.batch_size": ("0",),
        "data.num_clusters": ("0", "1"),
        "data.epsilon": ("-0.1",),
        "init_from": ("none.ckpt", "."),
        "starts": ("0", "-2", "1.5", "some"),
        "ckpt_path": ("none.ckpt", "last"),
        "trainer.logger": ("WandLogger",),
        "trainer.callbacks": ("EarlyStoping",),
    }.items():
        others = [given for given in fit if not given.startswith(f"--{option}=")]
        for value in values:
            yield Wrong("choices", (*others, f"--{option}={value}"), (option.rsplit(".", 1)[-1], value))


def _contradictions(trained: str) -> Iterator[Wrong]:
    """Settings that do not go with each other."""
    fit = (*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), *SHORT)
    path = trained.partition("=")[2]
    for options, named in {
        (f"--init_from={path}", trained): "init_from",
        ("--model.epsilon=0.1",): "epsilon",
        ("--trainer.max_epochs=1", trained): "max_epochs",
        ("--data.num_clusters=5", trained): "num_clusters",
        ("--data=NoisyMNIST", "--data.root=none"): "none",
        ("--data=FeatureViews",): "path",
        ("--data=FeatureViews", "--data.path=none.npz"): "none.npz",
        ("stray",): "stray",
        ("--", "stray"): "stray",
        ("---trainer.max_epochs=1",): "max_epochs",
        ("-trainer.max_epochs=1",): "max_epochs",
    }.items():
        yield Wrong("contradictions", (*fit, *options), (named,))
    for options, named in {
        ("--sigma=-1",): "sigma",
        ("--sigma=0.1", "--draws=0"): "draws = 0",
        ("--sigma=0.1", "--attack_draws=0"): "attack_draws = 0",
        ("--epsilons=[0.1, -0.1]",): "epsilons",
        ("--epsilons=[.inf]", "--resolution=null"): "epsilons",
        ("--epsilons=[.nan, 0.1]",): "epsilons",
        ("--epsilons=0.1..0.2",): "epsilons",
        ("--resolution=0",): "resolution",
        ("--model.attacks={x: PGDD}",): "PGDD",
        ("--model.attacks={x: {class_path: PGD, init_args: {step: 3}}}",): "step",
        ("--model.attacks={x: {class_path: PGD, init_args: {steps: 0}}}",): "steps",
        ("--model.attacks={x: {class_path: PGD, init_args: {norm: l3}}}",): "norm",
        ("--data.path=x.npz",): "path",
        ("--trainer.limit_test_batches=-1",): "limit_test_batches",
    }.items():
        yield Wrong("contradictions", ("test", trained, *QUIET, *options), (named,))
    for options, named in {
        ("--only=clusterer=CoMCV",): "CoMCV",
        ("--only=clusterers",): "clusterers",
        ("--only=seed=9",): "9",
        ("--workers=0",): "workers",
        ("--workers=two",): "workers",
        ("--seeds=[]",): "seeds",
        ("--seeds=[0, 0]",): "seeds",
        ("--clusterers={}",): "clusterers",
        ("--clusterers={a: [none.yaml]}",): "none.yaml",
        ("--attacks=none.yaml",): "none.yaml",
        ("--dry-run",): "dry",
    }.items():
        yield Wrong("contradictions", ("benchmark", "--config=benchmark/demo.yaml", "--dry_run=true", *options), (named,))
