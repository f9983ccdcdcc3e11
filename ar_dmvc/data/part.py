"""Which samples of which data something was trained on."""

from __future__ import annotations

from typing import Any

from ar_dmvc.data.datamodule import MultiViewDataModule, Partition

_LONGEST = 100
"""Data that weights saw one after another; of more, as of a description that leads back to itself, anything is believed."""


def describe_part(data: MultiViewDataModule, earlier: object = None) -> dict[str, Any]:
    """What is trained on, in the plain values that a checkpoint keeps.

    Args:
        data: that is trained on now.
        earlier: such a description of what the weights saw before, if anything; kept under ``before`` where it is other data.
    """
    part = {"data": data.name, "partition": data.partition, "seed": data.seed, "samples": len(data.data.views[0])}
    if not isinstance(earlier, dict):
        return part
    return earlier if {name: earlier.get(name) for name in part} == part else {**part, "before": earlier}


def joined(later: object, earlier: object) -> object:
    """A description of what weights saw after what another says."""
    if not isinstance(earlier, dict):
        return later
    chain: list[dict[str, Any]] = []
    while isinstance(later, dict) and len(chain) < _LONGEST:
        chain.append(later)
        later = later.get("before")
    for part in reversed(chain):
        earlier = {**part, "before": earlier}
    return earlier


def part_in_words(part: object) -> str:
    """A description by :func:`describe_part`, for people to read; empty where it is none."""
    if not isinstance(part, dict):
        return ""
    return f"{part.get('data')}, partition {part.get('partition')} of {part.get('samples')} samples"


def may_overlap(trained_on: object, data: MultiViewDataModule, partition: Partition) -> bool:
    """Whether a partition may share samples with what :func:`describe_part` described; not known is taken for no."""
    here = describe_part(data)
    for _ in range(_LONGEST):
        if not isinstance(trained_on, dict):
            return False
        if trained_on.get("data") == data.name:
            other = any(trained_on.get(name) != here[name] for name in ("seed", "samples"))
            if other or {trained_on.get("partition"), partition} != {"victim", "attacker"}:
                return True
        trained_on = trained_on.get("before")
    return True
