"""The how-to for a clusterer of one's own, followed to the letter."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CONFIGS, REPOSITORY, Outcome

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


def test_add_your_own_clusterer(ardmvc: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "victims.md").read_text().split("## Add your own clusterer")[1]
    monkeypatch.setattr(sys, "path", [*sys.path])
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
    monkeypatch.delitem(sys.modules, "sharper")


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=lambda p: p.stem)
def test_links_and_files_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    files = re.findall(r"(?:configs|tests|docs|benchmarks)/[\w/]+\.\w+", text)
    assert all((page.parent / link).exists() for link in links), links
    assert all((REPOSITORY / file).exists() for file in files if "NAME" not in file), files
