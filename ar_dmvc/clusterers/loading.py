"""A trained clusterer from a checkpoint alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ar_dmvc.checkpoint import build, load_state, read_checkpoint, submodule_state
from ar_dmvc.clusterers.aecoddc import AECoDDC
from ar_dmvc.clusterers.base import Clusterer
from ar_dmvc.clusterers.comvc import CoMVC
from ar_dmvc.clusterers.eamc import EAMC
from ar_dmvc.clusterers.infoddc import InfoDDC
from ar_dmvc.clusterers.multi_vae import MultiVAE
from ar_dmvc.clusterers.purified import Purified
from ar_dmvc.clusterers.sem import SEM
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.clusterers.smoothed import Smoothed
from ar_dmvc.plugins import installed_classes

BUILT_IN: tuple[type[Clusterer], ...] = (SiMVC, CoMVC, EAMC, MultiVAE, AECoDDC, InfoDDC, SEM)
WRAPPERS: tuple[type[Clusterer], ...] = (Purified, Smoothed)


def load_clusterer(
    checkpoint_path: str | Path,
    map_location: str | torch.device = "cpu",
    allowed: Iterable[type[Clusterer]] = (),
) -> Clusterer:
    """Load the clusterer of a checkpoint that ``ardmvc fit`` wrote, in evaluation mode.

    No configuration is needed, and no code from the checkpoint runs: weights and plain values are all that is read.

    Args:
        checkpoint_path: a victim's, a defender's or an attacker's checkpoint (of the last: the clusterer it attacked).
        map_location: device to put the clusterer on.
        allowed: further classes that the checkpoint may name, beside those of :mod:`ar_dmvc.clusterers`.

    Raises:
        CheckpointError: the file is missing, damaged, carries pickled code, holds no clusterer, or one of another class.

    Example:
        >>> clusterer = load_clusterer("runs/comvc/version_0/checkpoints/last.ckpt")  # doctest: +SKIP
    """
    return clusterer_of(read_checkpoint(checkpoint_path, map_location), checkpoint_path, allowed).to(map_location)


def clusterer_of(content: Mapping[str, Any], source: str | Path, allowed: Iterable[type[Clusterer]] = ()) -> Clusterer:
    """:func:`load_clusterer` for a checkpoint that is already read."""
    known = [*BUILT_IN, *WRAPPERS, *(kind for kind in installed_classes() if issubclass(kind, Clusterer)), *allowed]
    clusterer: Clusterer = build(content.get("clusterer"), known, source)
    load_state(clusterer, submodule_state(content, "clusterer"), source)
    clusterer.eval()
    return clusterer
