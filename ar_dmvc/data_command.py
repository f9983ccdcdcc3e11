"""``ardmvc data``: what a data set is, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table

from ar_dmvc.data import MultiViewDataModule
from ar_dmvc.data.summary import DataSummary, preview, summarise
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import suggest_n_clusters
from ar_dmvc.imports import bound_imports
from ar_dmvc.plugins import installed_classes
from ar_dmvc.seeding import numpy_generator
from ar_dmvc.settings import with_files_found
from ar_dmvc.suggestions import parse
from ar_dmvc.usage import DATA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 20
_SAMPLES = 2000


def main(args: Sequence[str]) -> None:
    """Run ``ardmvc data``.

    Raises:
        ConfigurationError: a wrong call.
        DataError: data that is missing, damaged, or cannot be downloaded.
    """
    if not args or args[0] in ("-h", "--help"):
        print(DATA, end="")
        return
    actions = {"prepare": _prepare, "info": _info, "preview": _preview, "suggest-clusters": _suggest}
    if args[0] not in actions or len(args) < 2 or args[1].startswith("-"):
        raise ConfigurationError(f"ardmvc data takes {', '.join(actions)}, and a class or a configuration file; see --help")
    installed_classes()  # so that their names are known
    bound_imports()
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, prog="ardmvc data")
    parser.add_argument("--config", action="config")
    parser.add_argument("--output", type=Path, default=Path("clusters.png" if args[0] == "suggest-clusters" else "preview.png"))
    if args[0] == "suggest-clusters":
        parser.add_argument("--most", type=int, default=20)
    parser.add_subclass_arguments(MultiViewDataModule, "data", required=True)
    what = args[1]
    is_file = what.endswith((".yaml", ".yml"))
    if not is_file and (Path(what).exists() or not all(part.isidentifier() for part in what.split("."))):
        raise ConfigurationError(f"{what} is no class or configuration file; one's own data is FeatureViews --data.path {what}")
    source = f"--config={what}" if is_file else f"--data={what}"
    settings = parse(parser, with_files_found([source, *args[2:]]))
    data: MultiViewDataModule = parser.instantiate(settings).data
    actions[args[0]](data, settings)


def _prepare(data: MultiViewDataModule, settings: Namespace) -> None:
    data.prepare_data()
    place = getattr(data, "root", None) or getattr(data, "path", None)
    print(f"{data.name}: {len(data.data.views[0])} samples, checked; {f'in {place}' if place else 'nothing to download'}")


def _info(data: MultiViewDataModule, settings: Namespace) -> None:
    if missing := data.missing():
        print(f"{data.name}: {len(data.view_shapes)} views of shapes {', '.join(map(str, data.view_shapes))}")
        print("Not there yet; `ardmvc data prepare` would download:", *missing, sep="\n  ")
        return
    _print(data.name, summarise(data))


def _preview(data: MultiViewDataModule, settings: Namespace) -> None:
    data.fetch()
    _save(preview(data), settings.output)
    print(f"{settings.output}: {data.name}, a row a view; above each column the sample's position and label")


def _suggest(data: MultiViewDataModule, settings: Namespace) -> None:
    if settings.most < 2:
        raise ConfigurationError(f"most must be at least 2, got {settings.most}")
    data.fetch()
    samples = data.subset("all")
    rows = torch.arange(len(samples))
    if samples.data.mask is not None:
        rows = rows[samples.data.mask[samples.indices].all(1)]
        print(f"Looked at: those {len(rows)} of {len(samples)} samples that have all views.")
    chosen = rows[torch.from_numpy(numpy_generator(data.seed).permutation(len(rows)))][:_SAMPLES]
    try:
        found = suggest_n_clusters(samples.batch(chosen).views, range(2, settings.most + 1), says=print)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    _save(found.figure(), settings.output)
    print(f"Suggested: {found.n_clusters} clusters (--data.num_clusters {found.n_clusters}). {settings.output} shows why.")


def _save(figure: Figure, output: Path) -> None:
    try:
        figure.savefig(output, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"output: {output} cannot be written ({error})") from error


def _print(name: str, summary: DataSummary) -> None:
    console = Console()
    table = Table(title=f"{name}: {summary.samples} samples")
    for heading in ("view", "shape", "stored as", "range", "samples"):
        table.add_column(heading, justify="left" if heading == "shape" else "right")
    for number, view in enumerate(summary.views):
        shape = " x ".join(map(str, view.shape))
        table.add_row(str(number), shape, view.stored_as, f"{view.low:.3g} to {view.high:.3g}", str(view.there))
    console.print(table)
    parts = ", ".join(f"{part} {size}" for part, size in summary.parts.items())
    where = "mapped from files" if summary.mapped else "in memory"
    console.print(f"partitions: {parts}", highlight=False)
    clusters = "not known without labels (data.num_clusters)" if summary.num_clusters is None else summary.num_clusters
    console.print(f"clusters: {clusters}; budget of attacks: {summary.epsilon:g}", highlight=False)
    console.print(f"classes: {_classes(summary)}", highlight=False)
    console.print(f"{summary.bytes / 1e6:.1f} MB, {where}", highlight=False)


def _classes(summary: DataSummary) -> str:
    if not summary.classes:
        return "no labels"
    if len(summary.classes) > _MOST_CLASSES:
        sizes = summary.classes.values()
        return f"{len(sizes)} of {min(sizes)} to {max(sizes)} samples"
    return ", ".join(f"{label}: {count}" for label, count in summary.classes.items())
