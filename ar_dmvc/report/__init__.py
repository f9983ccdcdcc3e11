"""Reports: what tests below a folder found, as tables to go on with and one page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.files import whole_file, write_whole
from ar_dmvc.report.caveats import caveats
from ar_dmvc.report.grouping import groups, notes_of
from ar_dmvc.report.page import page
from ar_dmvc.report.runs import TestedRun, find_runs
from ar_dmvc.report.tables import Row, as_csv, as_markdown, as_parquet, latex, tidy
from ar_dmvc.suggestions import parse
from ar_dmvc.usage import REPORT

__all__ = ["TestedRun", "find_runs", "log_report", "main", "notes_on", "write_report", "write_report_of"]


def main(args: Sequence[str]) -> None:
    """``ardmvc report``.

    Args:
        args: what follows the command.

    Raises:
        ConfigurationError: no folder, or none with a test in it.
    """
    if any(argument in ("-h", "--help") for argument in args):
        print(REPORT, end="")
        return
    parser = ArgumentParser(prog="ardmvc report", exit_on_error=False, allow_abbrev=False, add_help=False)
    parser.add_argument("folder", type=Path | None, nargs="?")
    parser.add_argument("--wandb", type=str | None)
    given = parse(parser, args)
    if given.folder is None:
        raise ConfigurationError("ardmvc report takes a folder; see --help")
    print(f"ardmvc: {write_report(given.folder)}")
    if given.wandb is not None:
        log_report(given.wandb, given.folder)


def write_report(folder: Path, tests: Sequence[Path] | None = None, notes: Sequence[str] = ()) -> Path:
    """Write the report of tests below a folder into it.

    Args:
        folder: of the report.
        tests: their folders; None: every test below the folder.
        notes: what else to know of them, a sentence each.

    Returns:
        The page.

    Raises:
        ConfigurationError: there is no such folder, or no test in it.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder")
    runs = find_runs(folder, tests)
    if not runs:
        raise ConfigurationError(f"{folder}: no test has been run below it (there is no robustness.json)")
    return write_report_of(runs, folder, notes)


def write_report_of(runs: Sequence[TestedRun], folder: Path, notes: Sequence[str] = ()) -> Path:
    """The same for runs that were found; see :func:`write_report`."""
    rows = tidy(runs)
    write_whole(folder / "report.csv", as_csv(rows))
    if (parquet := as_parquet(rows)) is not None:
        with whole_file(folder / "report.parquet") as file:
            file.write(parquet)
    notes = [*notes, *caveats(runs)]
    write_whole(folder / "report.tex", latex(runs, notes))
    write_whole(folder / "report.md", as_markdown(runs, notes))
    write_whole(folder / "report.html", page(runs, folder.resolve().name, notes))
    return folder / "report.html"


def notes_on(runs: Sequence[TestedRun]) -> dict[str, list[str]]:
    """What tests say on what to think of their scores: each note once, with the names of what it is on."""
    found: dict[str, list[str]] = {}
    several = len({run.subject.data for run in runs}) > 1
    for subject, group in groups(runs).items():
        for note in notes_of(group):
            found.setdefault(note, []).append(f"{subject.name} on {subject.data}" if several else subject.name)
    return {note: list(dict.fromkeys(names)) for note, names in found.items()}


def log_report(project: str, folder: Path, tests: Sequence[Path] | None = None) -> None:
    """Log the rows of a report that was written, and its page, to Weights & Biases.

    Args:
        project: there.
        folder: of the report.
        tests: see :func:`write_report`.

    Raises:
        ConfigurationError: Weights & Biases does not take it.
    """
    import wandb

    rows = [list(row) for row in tidy(find_runs(folder, tests))]
    content = (folder / "report.html").read_text()
    try:
        with wandb.init(project=project, name=folder.resolve().name, job_type="report", dir=folder) as run:
            run.log({"report": wandb.Table(list(Row._fields), rows), "page": wandb.Html(content, inject=False)})
    except wandb.Error as error:
        raise ConfigurationError(f"wandb: {error}") from error
