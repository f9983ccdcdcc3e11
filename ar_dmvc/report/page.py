"""One page of HTML that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ar_dmvc.report import charts
from ar_dmvc.report.grouping import NAMES, attacks_of, axes_of, cell, groups, metrics_of, notes_of, samples_of
from ar_dmvc.report.published import BEST_UNDEFENDED, GAN, published
from ar_dmvc.report.runs import Subject, TestedRun

_SHOWN_FIRST = "fixed_acc"


def page(runs: Sequence[TestedRun], title: str, notes: Sequence[str] = ()) -> str:
    """The page; names, labels and settings in it are text, whatever they hold.

    Args:
        runs: at least one.
        title: of the page.
        notes: what to know of the runs, a sentence each.
    """
    environment = Environment(loader=PackageLoader("ar_dmvc.report", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["svg"] = _as_source("image/svg+xml")
    environment.filters["png"] = _as_source("image/png")
    found, attacks, metrics = groups(runs), attacks_of(runs), metrics_of(runs)
    shown = _SHOWN_FIRST if _SHOWN_FIRST in metrics else metrics[0]
    template = environment.get_template("page.html")
    curves, without_curve = charts.curves(found)
    return template.render(
        title=title,
        axes=axes_of(runs),
        attacks=attacks,
        metrics={metric: NAMES[metric] for metric in metrics},
        shown=shown,
        rows=[_row(subject, group, attacks, metrics) for subject, group in found.items()],
        notes=notes,
        published=[row for subject, group in found.items() if (row := _beside_the_paper(subject, group)) is not None],
        best_undefended=BEST_UNDEFENDED,
        overview=charts.overview(found, shown),
        curves=curves,
        without_curve=without_curve,
        details=[_details(subject, group) for subject, group in found.items()],
    )


def _row(subject: Subject, group: Sequence[TestedRun], attacks: Sequence[str], metrics: Sequence[str]) -> Mapping[str, Any]:
    cells = [{metric: cell(group, attack, metric) for metric in metrics} for attack in attacks]
    return {**subject._asdict(), "seeds": len(group), "samples": samples_of(group), "cells": cells}


def _beside_the_paper(subject: Subject, group: Sequence[TestedRun]) -> Mapping[str, Any] | None:
    figure = published(subject, group)
    if figure is None:
        return None
    clean, attacked = (cell(group, attack, "acc") for attack in ("clean", GAN))
    statistics = ", ".join(sorted({run.about.get("batch statistics", "") for run in group} - {""}))
    trained = ", or ".join(dict.fromkeys(run.trained_for for run in group if run.trained_for))
    about = {"seeds": len(group), "samples": samples_of(group), "statistics": statistics, "trained": trained}
    return {**subject._asdict(), **about, "figure": figure, "clean": clean, "attacked": attacked}


def _details(subject: Subject, group: Sequence[TestedRun]) -> Mapping[str, Any]:
    first = group[0]
    return {
        "data": subject.data,
        "name": subject.name,
        "seed": first.seed,
        "notes": notes_of(group),
        "about": {name: value for name, value in first.about.items() if value},
        "budgets": first.budgets,
        "seconds": first.costs,
        "confusion": None if first.record is None else charts.confusion(first.record),
        "trainings": {name: chart for name, found in first.trainings.items() if (chart := charts.training(found)) is not None},
        "training_costs": first.training_costs,
        "pictures": first.pictures,
        "configurations": first.configurations,
    }


def _as_source(kind: str) -> Any:
    def source(content: bytes) -> str:
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    return source
