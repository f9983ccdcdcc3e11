"""The documentation site, as ``make docs`` builds it, and the notebooks in it."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


class Resources(HTMLParser):
    """What a page loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img", "iframe") and named.get("src"):
            self.found.append(str(named["src"]))
        if tag == "link" and named.get("rel") in ("stylesheet", "preconnect", "preload"):
            self.found.append(str(named["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={folder}"]
    built = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_needs_nothing_from_elsewhere_and_lacks_nothing(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        for resource in Resources(text).found:
            assert not re.match(r"https?:|//", resource), (page, resource)
            where = site / resource.lstrip("/") if resource.startswith("/") else page.parent / resource
            assert resource.startswith("data:") or where.resolve().exists(), (page, resource)
        assert "arithmatex" not in text, page
        assert not re.search(r":(func|class|meth|mod):<code>", text), page


def test_what_a_reader_looks_for_is_found(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for words, page in {
        "MultiViewClustering": "reference/estimator/",
        "contrastive_alignment": "reference/losses/",
        "make demo": "",
        "warm_start": "reference/modules/",
        "defenders/robust.yaml": "reference/configurations/",
        "--dry_run": "reference/command_line/",
    }.items():
        assert any(words in part["text"] + part["title"] and part["location"].startswith(page) for part in index), words


SHORTER = {
    "your_own_views": {"epochs=10": "epochs=2", "range(2, 17), samples=600": "range(9, 12), samples=200"},
    "attack_understand_defend": {"max_epochs=30": "max_epochs=4", "max_epochs=15": "max_epochs=3"},
}
"""What makes the same cells run in less time than they take to be read."""


@pytest.mark.parametrize("name", SHORTER)
def test_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = (REPOSITORY / "docs" / "tutorials" / f"{name}.ipynb").read_text()
    for long, short in SHORTER[name].items():
        assert long in text
        text = text.replace(long, short)
    written = nbformat.reads(text, 4)
    run = NotebookClient(written, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in run.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    assert list(tmp_path.iterdir()) == []
