"""The functions below the command line, and what it says of the parser's errors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ar_dmvc import api, load_clusterer
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.plain_words import put_plainly
from tests.conftest import CONFIGS, QUIET, Outcome, fit_arguments


def test_a_clusterer_is_trained_measured_and_used_from_python(tmp_path: Path) -> None:
    few = {"trainer": {"max_epochs": 1, "limit_train_batches": 3}}
    run = api.fit(CONFIGS / "victims/comvc.yaml", CONFIGS / "data/digits.yaml", few, *QUIET, folder=tmp_path / "mine")
    assert run.folder == tmp_path / "mine"
    assert run.checkpoint == tmp_path / "mine/checkpoints/last.ckpt"
    assert {"train/loss", "val/nmi"} <= set(run.metrics)
    assert load_clusterer(run.checkpoint).description() == run.module.clusterer.description()
    again = api.fit(
        CONFIGS / "victims/comvc.yaml",
        CONFIGS / "data/digits.yaml",
        few,
        "--trainer.max_epochs=2",
        *QUIET,
        folder=tmp_path / "further",
        checkpoint=run.checkpoint,
    )
    assert again.module.global_step == 6

    tested = api.test(*QUIET, "--trainer.limit_test_batches=1", folder=tmp_path / "tested", checkpoint=run.checkpoint)
    assert tested.report is not None
    assert tested.report.worst["acc"] <= tested.report.scores["clean"]["acc"]
    predicted = api.predict(*QUIET, folder=tmp_path / "predicted", checkpoint=run.checkpoint)
    assert predicted.predictions is not None
    assert predicted.predictions["index"].tolist() == list(range(1797))
    assert "val/nmi" in api.validate(*QUIET, folder=tmp_path / "validated", checkpoint=run.checkpoint).metrics


@pytest.mark.parametrize("name", ["7", "null", "true"])
def test_a_folder_may_be_named_anything(name: str, tmp_path: Path) -> None:
    few = {"trainer": {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}}
    run = api.fit(CONFIGS / "victims/simvc.yaml", CONFIGS / "data/digits.yaml", few, *QUIET, folder=tmp_path / name)
    assert run.checkpoint == tmp_path / name / "checkpoints" / "last.ckpt"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_errors_are_those_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing would be trained"):
        api.fit(CONFIGS / "victims/comvc.yaml", {"trainer": {"max_epochs": 0}}, *QUIET, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", ["file", "text"])
def test_a_checkpoint_may_be_named_in_a_file_of_settings(
    form: str, victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path
) -> None:
    text = yaml.safe_dump({"ckpt_path": str(victim)}, default_flow_style=True).strip()
    (tmp_path / "which.yaml").write_text(text)
    outcome = ardmvc("test", f"--config={'which.yaml' if form == 'file' else text}", "--trainer.limit_test_batches=1", *QUIET)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["--trainer.max_epochs=many"], "trainer.max_epochs: a value of type int is expected, not many"),
        (["--trainer.logger=Foo"], "trainer.logger: there is no class Foo"),
        (["--model.clusterer=NoSuch"], "there is no class NoSuch"),
        (["--data.partition=mine"], "data.partition: one of 'victim', 'attacker', 'all' is expected, not mine"),
        (["--trainer.no_such=1"], "no_such"),
        (["--config=none.yaml"], "none.yaml"),
    ],
)
def test_what_the_parser_says_is_put_plainly(arguments: list[str], plain: str, ardmvc: Callable[..., Outcome]) -> None:
    outcome = ardmvc(*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), *arguments)
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]
    assert plain in line
    assert not any(word in line for word in ("Union", "Namespace", "NoneType", "typing.", "<class"))


def test_control_characters_reach_no_terminal() -> None:
    assert put_plainly("no \x1b[2J such\nfile") == "no ?[2J such file"
