"""Configuration files with tags, aliases, classes and depths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture.hostile.case import FIT, FOREIGN, Case

NAMES = (*FOREIGN, "ar_dmvc.cli.main", "lightning.pytorch.Trainer", "torch.nn.Linear", "__main__.x", "ar_dmvc")
TEXTS = {
    "a tag that calls": "model: !!python/object/apply:os.system ['touch canary']",
    "a tag of a name": "model: !!python/name:os.system",
    "a tag of a module": "model: !!python/module:antigravity",
    "a tag that makes": "model: !!python/object/new:subprocess.Popen [[touch, canary]]",
    "aliases that explode": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias to itself": "model: &a {init_args: *a}",
    "merges that explode": "k0: &k0 {x: 1}\n" + "\n".join(f"k{n}: &k{n} {{<<: [*k{n - 1}, *k{n - 1}]}}" for n in range(1, 60)),
    "a long text sixty times": f"a: &a {'x' * 1_000_000}\nseed_everything: [{', '.join(['*a'] * 70)}]",
    "10,000 brackets": "model: " + "[" * 10_000 + "]" * 10_000,
    "2,000 levels": "\n".join(f"{' ' * n}a:" for n in range(2_000)),
    "a long number": "seed_everything: " + "9" * 100_000,
    "a long name": "x" * 1_000_000 + ": 1",
    "no text": "\x00\x01\x02",
    "control characters": 'model: "\\e[2J\\a"',
    "interpolation": "model: ${oc.env:HOME}",
    "a set": "trainer: !!set {max_epochs}",
    "dates and binaries": "trainer: {max_epochs: 2001-01-01, min_epochs: !!binary aGVsbG8=}",
    "a list": "- model",
    "a document after another": "trainer: {max_epochs: 1}\n---\nmodel: 3",
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, text in TEXTS.items():
        yield Case("YAML: texts", name, partial(_met, text, others=True))
    for name in NAMES:
        theirs = {"class_path": name, "init_args": {"args": ["touch", "canary"], "command": "touch canary"}}
        for slot in _slots(theirs):
            yield Case("YAML: classes", f"{name} in {json.dumps(slot)[:60]}", partial(_met, json.dumps(slot)))
    for key in ("default_root_dir", "logger", "profiler", "strategy", "plugins", "accelerator", "callbacks"):
        for path in ("pipe", ".", "x.yaml"):
            slot = {"trainer": {key: path}}
            yield Case("YAML: paths", f"{key}: {path}", partial(_beside_a_pipe, json.dumps(slot)))
    yield Case(
        "YAML: paths", "a name that leads out", partial(_met, json.dumps({"checkpoint": {"filename": "../secret/canary"}}))
    )


def _slots(theirs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of a configuration that takes a class or a function."""
    attacker = {"class_path": "PGD", "init_args": {"objective": theirs}}
    yield {"model": theirs}
    yield {"data": theirs}
    yield {"allow": theirs["class_path"]}
    yield {"model": {"init_args": {"clusterer": theirs}}}
    yield {"model": {"init_args": {"clusterer": {"init_args": {"encoder": theirs}}}}}
    yield {"model": {"init_args": {"attacks": {"x": theirs}}}}
    yield {"model": {"init_args": {"attacks": {"x": attacker}}}}
    yield {"model": {"class_path": "RobustDefender", "init_args": {"attack": theirs, "teacher": [{"model": theirs}]}}}
    for key in ("logger", "profiler", "strategy", "accelerator"):
        yield {"trainer": {key: theirs}}
    for key in ("callbacks", "plugins"):
        yield {"trainer": {key: [theirs]}}
    for hook in ("setup", "on_fit_start", "on_train_epoch_end"):
        for value in (theirs, theirs["class_path"]):
            yield {"trainer": {"callbacks": [{"class_path": "LambdaCallback", "init_args": {hook: value}}]}}


def _beside_a_pipe(text: str, folder: Path) -> list[list[str]]:
    os.mkfifo(folder / "pipe")
    return _met(text, folder)


def _met(text: str, folder: Path, others: bool = False) -> list[list[str]]:
    (folder / "x.yaml").write_text(text)
    fit = [*FIT, "--config=x.yaml"]
    return [fit, ["benchmark", "--config=x.yaml", "--dry_run=true"], ["data", "info", "x.yaml"]] if others else [fit]
