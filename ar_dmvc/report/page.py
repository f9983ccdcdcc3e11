"""One page of HTML that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ar_dmvc.report import charts
from ar_dmvc.report.published import GAN, published
from ar_dmvc.report.runs import TestedRun
from ar_dmvc.report.tables import NAMES, attacks_of, cell, groups, metrics_of, samples_of, uneven

_SHOWN_FIRST = "fixed_acc"


def page(runs: Sequence[TestedRun], title: str) -> str:
    """The page; names, labels and settings in it are text, whatever they hold.

    Args:
        runs: at least one.
        title: of the page.
    """
    environment = Environment(loader=PackageLoader("ar_dmvc.report", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["svg"] = _as_source("image/svg+xml")
    environment.filters["png"] = _as_source("image/png")
    found, attacks, metrics = groups(runs), attacks_of(runs), metrics_of(runs)
    template = environment.get_template("page.html")
    return template.render(
        title=title,
        attacks=attacks,
        metrics={metric: NAMES[metric] for metric in metrics},
        shown=_SHOWN_FIRST if _SHOWN_FIRST in metrics else metrics[0],
        rows=[_row(key, group, attacks, metrics) for key, group in found.items()],
        uneven=uneven(runs),
        published=[row for key, group in found.items() if (row := _beside_the_paper(key, group)) is not None],
        overview=charts.overview(found),
        curves=charts.curves(found),
        details=[_details(key, group) for key, group in found.items()],
    )


def _row(key: tuple[str, str], group: Sequence[TestedRun], attacks: Sequence[str], metrics: Sequence[str]) -> Mapping[str, Any]:
    cells = [{metric: cell(group, attack, metric) for metric in metrics} for attack in attacks]
    return {"data": key[0], "name": key[1], "seeds": len(group), "samples": samples_of(group), "cells": cells}


def _beside_the_paper(key: tuple[str, str], group: Sequence[TestedRun]) -> Mapping[str, Any] | None:
    figure = published(key[1], group)
    if figure is None:
        return None
    ours = [cell(group, attack, "acc") for attack in ("clean", GAN)]
    return {"data": key[0], "name": key[1], "figure": figure, "clean": ours[0], "attacked": ours[1]}


def _details(key: tuple[str, str], group: Sequence[TestedRun]) -> Mapping[str, Any]:
    first = group[0]
    return {
        "data": key[0],
        "name": key[1],
        "seed": first.seed,
        "notes": list(dict.fromkeys(note for run in group for note in run.notes)),
        "about": {name: value for name, value in first.about.items() if value},
        "budgets": first.budgets,
        "seconds": first.costs,
        "confusion": None if first.record is None else charts.confusion(first.record),
        "training": charts.training(first),
        "pictures": first.pictures,
        "configurations": first.configurations,
    }


def _as_source(kind: str) -> Any:
    def source(content: bytes) -> str:
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    return source
