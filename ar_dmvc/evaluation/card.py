"""What a model card needs, from a test: in the form that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import yaml

from ar_dmvc.evaluation.record import METRICS
from ar_dmvc.evaluation.robustness import RobustnessReport
from ar_dmvc.evaluation.sanity import CLEAN, WORST

_NAMES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI", "fixed_acc": "fixed ACC", "kept": "kept"}
_NOT_HERE = ("data", "clusterer", "licence of the data", "samples")


def model_card(
    report: RobustnessReport,
    name: str,
    samples: str,
    training: Mapping[str, str] = MappingProxyType({}),
    checkpoint: str = "last.ckpt",
    class_path: str = "",
) -> str:
    """A README for a model hub: YAML for machines in front, then Markdown.

    Args:
        report: of a test.
        name: of what was tested.
        samples: on which, in words.
        training: how it was trained, in words by name.
        checkpoint: the name of its file.
        class_path: of the clusterer; one from outside ar_dmvc has to be allowed when it is loaded.
    """
    data = report.about.get("data") or "data of one's own"
    front = {
        "library_name": "ar_dmvc",
        "tags": ["clustering", "multi-view-clustering", "adversarial-robustness"],
        "model-index": [{"name": name, "results": [_result(report, attack, data) for attack in (CLEAN, WORST)]}],
    }
    limits = [
        "Clusters are found without labels: which class a cluster is, if any, is known by matching alone.",
        "Attacks keep each view within its budget, the largest change of a value of views in [0, 1], as they were scaled in "
        "training. Worst is the worst of these attacks, sample by sample; a stronger suite may leave less.",
        *report.notes,
    ]
    parts = [
        f"# {name} on {data}",
        "A clusterer of multi-view samples, trained and measured with ar_dmvc.",
        f"```python\n{_loading(checkpoint, class_path)}"
        "clusters = clusterer(clusterer.scaled(views)).assignments.argmax(1)\n```",
        f"## Measured\n\nOn {samples}.\n\n{_table(report)}\n\n{_words(report)}",
        f"## Data\n\n{data}; licence: {report.about.get('licence of the data') or 'not known'}.",
        *(["## Training\n\n" + _list(training)] if training else []),
        "## Limits\n\n" + "\n".join(f"* {_line(limit)}" for limit in limits),
        "## Made with\n\n" + _list(_made_with(report)),
    ]
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _loading(checkpoint: str, class_path: str) -> str:
    module, _, kind = class_path.rpartition(".")
    ours = not module or module.partition(".")[0] == "ar_dmvc"
    imports, allowed = ("", "") if ours else (f"from {module} import {kind}\n", f", allowed=[{kind}]")
    return f"from ar_dmvc import load_clusterer\n{imports}\nclusterer = load_clusterer({checkpoint!r}{allowed})\n"


def _list(named: Mapping[str, str]) -> str:
    return "\n".join(f"* {name}: {_line(value)}" for name, value in named.items())


def _made_with(report: RobustnessReport) -> dict[str, str]:
    return {key: value for key, value in report.about.items() if value and key not in _NOT_HERE}


def _result(report: RobustnessReport, attack: str, data: str) -> dict[str, object]:
    scores = report.rows()[attack]
    return {
        "task": {"type": "clustering", "name": "clean" if attack == CLEAN else "under all attacks, sample by sample"},
        "dataset": {"name": data, "type": data},
        "metrics": [{"type": metric, "value": round(scores[metric], 4)} for metric in METRICS if metric in scores],
    }


def _table(report: RobustnessReport) -> str:
    names = {metric: name for metric, name in _NAMES.items() if metric in report.worst}
    lines = ["| attack | budget | " + " | ".join(names.values()) + " |", "| --- " * (2 + len(names)) + "|"]
    for attack, scores in report.rows().items():
        budget = f"{report.budgets[attack]:g}" if attack in report.budgets else ""
        lines.append(f"| {_line(attack)} | {budget} | " + " | ".join(f"{scores[metric]:.3f}" for metric in names) + " |")
    return "\n".join(lines)


def _words(report: RobustnessReport) -> str:
    if report.record.label is None:
        return "Kept: not moved. The data has no labels."
    return "Fixed ACC: right on clean data and not moved; kept: not moved."


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
