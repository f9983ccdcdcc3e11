"""The how-to for a clusterer of one's own, followed to the letter."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import Target
from ar_dmvc.benchmark import Benchmark
from ar_dmvc.clusterers import CoMVC, SpectralClustering
from tests.conftest import CONFIGS, REPOSITORY, Outcome

Views = tuple[torch.Tensor, ...]
_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


def test_add_your_own_clusterer(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "victims.md").read_text().split("## Add your own clusterer")[1]
    (tmp_path / "configs").symlink_to(CONFIGS)
    seen = []
    for block in _BLOCK.finditer(page):
        seen.append(block["language"])
        if file := re.search(r"`(\w+\.(py|yaml))`", block["before"]):
            (tmp_path / file[1]).write_text(block["text"])
        elif block["language"] == "shell":
            for command in block["text"].splitlines():
                program, *arguments = shlex.split(command)
                assert program == "ardmvc"
                outcome = ardmvc(*arguments)
                assert outcome.code == 0, outcome.err
        else:
            names: dict[str, object] = {}
            exec(block["text"], names)
            assert type(names["clusterer"]).__name__ == "Sharper"
            assert names["clusterer"].sharpness == 0.05
            assert not names["clusterer"].training
    assert seen == ["python", "yaml", "shell", "python"]
    assert (tmp_path / "runs" / "predict" / "version_0" / "predictions.csv").is_file()
    assert (tmp_path / "runs" / "test" / "version_0" / "robustness.json").is_file()


def blocks(page: Path, heading: str) -> list[str]:
    """The Python blocks of a section."""
    section = page.read_text().split(heading)[1].split("\n## ")[0]
    return [block["text"] for block in _BLOCK.finditer(section) if block["language"] == "python"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own, which the command line leaves out
def test_readme_s_python_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    estimator, first, second = blocks(REPOSITORY / "README.md", "## In Python")
    exec(estimator, {"__name__": "readme"})
    assert 0.05 < float(capsys.readouterr().out.strip().splitlines()[-1]) < 0.99
    assert isinstance(load_clusterer("spectral.ckpt"), SpectralClustering)
    exec(first, names := {"__name__": "readme"})
    share = float(re.search(r"tensor\((0\.\d+)", capsys.readouterr().out)[1])
    assert 0.05 < share < 0.99
    exec(second, names)
    worst = re.search(r"'acc': ([\d.]+)", capsys.readouterr().out)
    assert 0 <= float(worst[1]) < 0.95


def test_add_an_attack_an_objective_a_step_rule_and_a_data_set(
    ardmvc: Callable[..., Outcome], tmp_path: Path, small_clusterer: CoMVC, small_views: Views
) -> None:
    doubt, shrinking, many = blocks(REPOSITORY / "docs" / "attacks.md", "## Add an attack")
    own = small_clusterer.eval()(small_views).assignments
    exec(doubt, names := {})
    attacked = names["attack"](small_clusterer, small_views)
    assert (small_clusterer(attacked).assignments.amax(1) <= own.amax(1) + 1e-4).all()
    exec(shrinking, names)
    moved = small_clusterer(names["attack"](small_clusterer, small_views)).assignments.argmax(1) != own.argmax(1)
    exec(many, names)
    target = Target(small_clusterer)
    fewer = small_clusterer(names["attack"].against(target, small_views)).assignments.argmax(1) != own.argmax(1)
    assert moved.sum() >= fewer.sum()
    assert target.passes == 20
    (rings,) = blocks(REPOSITORY / "docs" / "architecture.md", "## Add a data set")
    (tmp_path / "rings.py").write_text(rings)
    (tmp_path / "mine.py").write_text(f"{doubt}\n{many}")
    few = ("--data=rings.Rings", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false")
    outcome = ardmvc("fit", f"--config={CONFIGS}/victims/comvc.yaml", *few)
    assert outcome.code == 0, outcome.err
    suite = {
        "many": {"class_path": "mine.BestOfMany"},
        "doubt": {"class_path": "PGD", "init_args": {"objective": "mine.Doubt"}},
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"attacks": suite}}}))
    checkpoint = "--ckpt_path=runs/comvc/version_0/checkpoints/last.ckpt"
    outcome = ardmvc("test", checkpoint, "--allow=rings.Rings", "--config=suite.yaml")
    assert outcome.code == 0, outcome.err
    assert "many" in outcome.out
    assert "doubt" in outcome.out


def test_add_an_outer_loss(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "choices.md"
    (squared,) = blocks(page, "### Add an outer loss")
    (tmp_path / "squared.py").write_text(squared)
    (command,) = re.findall(r"ardmvc (fit .*)", page.read_text().split("### Add an outer loss")[1].split("\n##")[0])
    few = ("--trainer.max_epochs=1", "--model.teacher=[victims/spectral.yaml]", "--trainer.enable_progress_bar=false")
    outcome = ardmvc(*command.split(), *few)
    assert outcome.code == 0, outcome.err
    assert "train/squared" in Path("runs/robust/version_0/metrics.csv").read_text()


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=lambda p: p.stem)
def test_links_and_files_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    files = re.findall(r"(?:configs|tests|docs|benchmarks)/[\w/]+\.\w+", text)
    assert all((page.parent / link).exists() for link in links), links
    assert all((REPOSITORY / file).exists() for file in files if "NAME" not in file), files


def test_the_grid_of_the_documentation_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    grid = yaml.safe_load(re.search(r"```yaml\n(.*?)```", (REPOSITORY / "docs/benchmarks.md").read_text(), re.S)[1])
    jobs = list(Benchmark(**grid).jobs())
    assert len(jobs) == (6 + 1) * 3 * (
        1 + 2 + 2
    )  # points and a baseline, seeds; trained, and attacked and tested with each budget
    files = {part for job in jobs for part in job.configuration if not part.startswith("--")}
    assert all(Path(file).is_file() for file in files)
