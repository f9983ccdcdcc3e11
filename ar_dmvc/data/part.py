"""Which samples of which data something was trained on."""

from __future__ import annotations

from typing import Any

from ar_dmvc.data.datamodule import MultiViewDataModule, Partition


def describe_part(data: MultiViewDataModule) -> dict[str, Any]:
    """What is trained on, in the plain values that a checkpoint keeps."""
    return {"data": data.name, "partition": data.partition, "seed": data.seed, "samples": len(data.data.views[0])}


def may_overlap(trained_on: object, data: MultiViewDataModule, partition: Partition) -> bool:
    """Whether a partition may share samples with what :func:`describe_part` described; not known is taken for no."""
    if not isinstance(trained_on, dict) or trained_on.get("data") != data.name:
        return False
    here = describe_part(data)
    if any(trained_on.get(name) != here[name] for name in ("seed", "samples")):
        return True
    return {trained_on.get("partition"), partition} != {"victim", "attacker"}
