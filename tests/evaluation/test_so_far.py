"""A test that is interrupted goes on where it was, and ends as if it had not been."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ar_dmvc import api
from ar_dmvc.evaluation import RobustnessEvaluator, so_far
from tests.conftest import QUIET

PGD = {"class_path": "PGD", "init_args": {"steps": 2}}
SQUARE = {"class_path": "Square", "init_args": {"queries": 5}}
SUITE = {
    "pgd": PGD,
    "both": {"class_path": "Ensemble", "init_args": {"attacks": {"ascent": PGD, "square": SQUARE}}},
    "one_for_all": {"class_path": "ar_dmvc.attacks.Universal", "init_args": {"epochs": 1}},
}
ATTACKS = f"--model.attacks={json.dumps(SUITE)}"
FEW = ("--data.batch_size=20", "--trainer.limit_test_batches=4", *QUIET)
BATCHES = 4


class PowerCutError(Exception):
    """The process is gone."""


def cut(*_: Any) -> None:
    raise PowerCutError


def results(folder: Path) -> dict[str, Any]:
    """What a test left, but for how long it took."""
    content = json.loads((folder / "robustness.json").read_text())
    for cost in content["costs"].values():
        del cost["seconds"]
    found = {"report": content, "pictures": sorted(path.name for path in folder.glob("pictures/*"))}
    for name in ("robustness_rows", "robustness_curve_rows", "certified_rows"):
        if (folder / f"{name}.npz").is_file():
            with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                found[name] = {key: arrays[key].tolist() for key in arrays.files}
    return found


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many batches were attacked, and before which the power is cut."""
    counts, real = {"done": 0, "until": 10**9}, RobustnessEvaluator.update

    def update(*args: Any, **kwargs: Any) -> Any:
        if counts["done"] == counts["until"]:
            raise PowerCutError
        counts["done"] += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(RobustnessEvaluator, "update", update)
    monkeypatch.setattr(so_far, "_SECONDS_BETWEEN", -1.0)
    return counts


def run_until(victim: Path, folder: Path, updates: dict[str, int], until: int, *more: str) -> int:
    """Test, until the power is cut, and say how many batches that attacked."""
    updates |= {"done": 0, "until": until}
    if until > BATCHES:
        api.test(ATTACKS, *FEW, *more, checkpoint=victim, folder=folder)
    else:
        with pytest.raises(PowerCutError):
            api.test(ATTACKS, *FEW, *more, checkpoint=victim, folder=folder)
    return updates["done"]


@pytest.mark.parametrize(
    "more", [(), ("--epsilons=[0, 0.05, 0.1]", "--resolution=0.05"), ("--sigma=0.1", "--draws=20", "--attack_draws=1")]
)
def test_it_goes_on_after_the_batches_behind_it(
    more: tuple[str, ...], victim: Path, updates: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_until(victim, tmp_path / "whole", updates, 10**9, *more) == BATCHES
    assert [run_until(victim, tmp_path / "cut", updates, until, *more) for until in (1, 2, 10**9)] == [1, 2, 1]
    assert [line for line in caplog.messages if "goes on" in line] == [
        f"ardmvc: goes on after batch {number} of this test" for number in (1, 3)
    ]
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert not (tmp_path / "cut" / so_far.NAME).exists()


def test_one_that_was_cut_after_its_last_batch_has_all_behind_it(victim: Path, updates: dict[str, int], tmp_path: Path) -> None:
    run_until(victim, tmp_path / "whole", updates, 10**9)
    run_until(victim, tmp_path / "cut", updates, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RobustnessEvaluator, "compute", cut)
        with pytest.raises(PowerCutError):
            run_until(victim, tmp_path / "cut", updates, 10**9)
    assert run_until(victim, tmp_path / "cut", updates, 10**9) == 0
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize("change", ["settings", "checkpoint", "damage", "other", "fewer", "narrower"])
def test_what_is_of_another_test_is_not_taken_up(change: str, victim: Path, updates: dict[str, int], tmp_path: Path) -> None:
    own, more = tmp_path / "own.ckpt", ()
    shutil.copy(victim, own)
    run_until(own, tmp_path / "cut", updates, 2)
    kept = tmp_path / "cut" / so_far.NAME
    if change == "settings":
        more = ("--data.epsilon=0.05",)
    elif change == "checkpoint":
        other = api.fit("victims/comvc.yaml", *FEW[:1], "--trainer.max_epochs=1", *QUIET, folder=tmp_path / "other").checkpoint
        assert other is not None
        shutil.copy(other, own)
    elif change == "damage":
        kept.write_bytes(kept.read_bytes()[:-100])
    elif change == "other":
        torch.save([1, 2], kept)
    else:
        content = torch.load(kept, weights_only=True)
        parts = content["results"]["record"]
        content["results"]["record"] = {"fewer": parts[:1], "narrower": [parts[0][:, 1:], parts[1]]}[change]
        torch.save(content, kept)
    assert run_until(own, tmp_path / "cut", updates, 10**9, *more) == BATCHES
