"""What a run writes where there is no terminal."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome, fit_arguments

FEW = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1")
LOUD = [option for option in fit_arguments("victims/simvc.yaml") if "progress_bar" not in option]


def test_a_line_an_epoch_goes_on_where_a_resumed_run_does(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    for epochs, more in ((1, []), (3, ["--ckpt_path=last"])):
        outcome = ardmvc(*LOUD, *FEW, f"--trainer.max_epochs={epochs}", *more)
        assert outcome.code == 0, outcome.err
    lines = re.findall(r"^ardmvc: epoch (\d) of 3, train/loss [-\d.e]+, val/acc [\d.]+, val/nmi [\d.e-]+; ", outcome.err, re.M)
    assert lines == ["2", "3"]
    assert outcome.err.count("ardmvc: epoch") == 2
    assert re.search(r"epoch 3 of 3.* 0 s left$", outcome.err, re.M)


def test_nothing_where_the_progress_bar_is_turned_off(ardmvc: Callable[..., Outcome]) -> None:
    outcome = ardmvc(*fit_arguments("victims/simvc.yaml"), *FEW, "--trainer.max_epochs=1")
    assert outcome.code == 0
    assert "ardmvc: epoch" not in outcome.err


def test_it_is_said_where_no_clusters_are_found(ardmvc: Callable[..., Outcome]) -> None:
    for epochs, found in ((1, False), (10, True)):
        outcome = ardmvc("fit", "--config=victims/comvc.yaml", f"--trainer.max_epochs={epochs}")
        assert outcome.code == 0
        assert ("ardmvc: val/nmi is 0" in outcome.err) is not found
