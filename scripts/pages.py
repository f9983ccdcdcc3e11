"""What the documentation site makes of the repository beside the pages under docs/: hooks of MkDocs (mkdocs.yml).

The README is its first page; configurations, classes and commands become pages of reference; formulas become MathML, so that
the site needs no scripts from elsewhere.
"""

from __future__ import annotations

import html
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent.parent
_COPIES = {
    "index.md": "README.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/security.md": "SECURITY.md",
}
_CONFIGURATIONS = "reference/configurations.md"
_PACKAGES = {
    "clusterers": "Clusterers",
    "attacks": "Attacks",
    "defences": "Defences",
    "modules": "Modules",
    "data": "Data",
    "evaluation": "Evaluation",
    "losses": "Losses",
    "metrics": "Metrics",
    "networks": "Networks",
}
_COMMANDS = ("", "data", "configs", "report", "export", "benchmark", "fit")
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc):<code>~?([^<]+)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that other files of the repository are."""
    pages = {page: (_ROOT / source).read_text() for page, source in _COPIES.items()}
    pages[_CONFIGURATIONS] = _configurations()
    pages["reference/command_line.md"] = _command_line()
    pages["reference/api.md"] = "# Commands in Python\n\n::: ar_dmvc.api\n"
    pages["reference/estimator.md"] = "# Estimator\n\n::: ar_dmvc.estimator.MultiViewClustering\n"
    for package, title in _PACKAGES.items():
        pages[f"reference/{package}.md"] = f"# {title}\n\n::: ar_dmvc.{package}\n"
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at the pages that files have become."""
    return _LINK.sub(lambda link: _on_site(link[1], page.file.src_uri), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, and references of docstrings without their Sphinx role."""
    content = _ROLE.sub(r"<code>\1</code>", content)
    return _FORMULA.sub(lambda found: convert(html.unescape(found[2]), "inline" if found[1] == "span" else "block"), content)


def _on_site(link: str, page: str) -> str:
    home = posixpath.dirname(_COPIES.get(page, f"docs/{page}"))
    target = posixpath.normpath(posixpath.join(home, link))
    copy = next((copied for copied, source in _COPIES.items() if source == target), None)
    if copy is None and target.startswith(("configs/", "scripts/")):
        copy = f"{_CONFIGURATIONS}#{_anchor(target)}"
    elif copy is None and target.startswith("docs/"):
        copy = target.removeprefix("docs/")
    return link if copy is None else posixpath.relpath(copy, posixpath.dirname(page) or ".")


def _anchor(file: str) -> str:
    return re.sub(r"\W+", "-", file.removeprefix("configs/").removesuffix(".yaml"))


def _configurations() -> str:
    """Every configuration that comes with the package, and the scripts for clusters, each under a heading of its own."""
    parts = [
        "# Configurations\n\nThey come with the package and are found under these names from any folder;"
        " `ardmvc configs copy NAME` makes one yours.\n"
    ]
    folder = None
    for file in [*sorted((_ROOT / "configs").rglob("*.yaml")), _ROOT / "scripts/fit.sbatch", _ROOT / "scripts/fit_torchrun.sh"]:
        name = file.relative_to(_ROOT).as_posix()
        if (place := posixpath.dirname(name)) != folder:
            folder = place
            parts.append(f"## {place.removeprefix('configs/')}\n")
        language = "yaml" if file.suffix == ".yaml" else "bash"
        parts.append(f"### {name.removeprefix('configs/')} {{ #{_anchor(name)} }}\n\n```{language}\n{file.read_text()}```\n")
    return "\n".join(parts)


def _command_line() -> str:
    parts = ["# Command line\n"]
    for command in _COMMANDS:
        run = subprocess.run(  # noqa: S603  # a list of words, none from outside
            [sys.executable, "-m", "ar_dmvc", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        )
        parts.append(f"## ardmvc {command}\n\n```text\n{run.stdout}```\n")
    return "\n".join(parts)
