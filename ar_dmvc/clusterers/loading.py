"""A trained clusterer from a checkpoint alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ar_dmvc.checkpoint import build, check_shapes, load_state, read_checkpoint, submodule_state
from ar_dmvc.clusterers.aecoddc import AECoDDC
from ar_dmvc.clusterers.base import Clusterer
from ar_dmvc.clusterers.baselines import KMeans, MultiViewKMeans, SpectralClustering
from ar_dmvc.clusterers.comvc import CoMVC
from ar_dmvc.clusterers.eamc import EAMC
from ar_dmvc.clusterers.experts import ProductOfExperts
from ar_dmvc.clusterers.infoddc import InfoDDC
from ar_dmvc.clusterers.multi_vae import MultiVAE
from ar_dmvc.clusterers.purified import Purified
from ar_dmvc.clusterers.sem import SEM
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.clusterers.smoothed import Smoothed
from ar_dmvc.data.scaling import Scaling, far_from_standardised
from ar_dmvc.errors import CheckpointError
from ar_dmvc.plugins import installed_classes
from ar_dmvc.seeding import single_precision

BUILT_IN: tuple[type[Clusterer], ...] = (SiMVC, CoMVC, EAMC, MultiVAE, AECoDDC, InfoDDC, SEM, ProductOfExperts)
BASELINES: tuple[type[Clusterer], ...] = (KMeans, SpectralClustering, MultiViewKMeans)
WRAPPERS: tuple[type[Clusterer], ...] = (Purified, Smoothed)

_SLACK = 1e-3


def load_clusterer(
    checkpoint_path: str | Path,
    map_location: str | torch.device = "cpu",
    allowed: Iterable[type[Clusterer]] = (),
) -> Clusterer:
    """Load the clusterer of a checkpoint that ``ardmvc fit`` wrote, in evaluation mode.

    No configuration is needed, and no code from the checkpoint runs: weights and plain values are all that is read. It takes
    views as training saw them; where data was scaled (:class:`~ar_dmvc.data.FeatureViews`), ``clusterer.scaled(views)`` makes
    these of raw ones, and raw ones in their place are refused as far as they can be told apart.

    Args:
        checkpoint_path: a victim's, a defender's or an attacker's checkpoint (of the last: the clusterer it attacked).
        map_location: device to put the clusterer on.
        allowed: further classes that the checkpoint may name, beside those of :mod:`ar_dmvc.clusterers`.

    Raises:
        CheckpointError: the file is missing, damaged, carries pickled code, holds no clusterer, or one of another class.

    Example:
        >>> clusterer = load_clusterer("runs/comvc/version_0/checkpoints/last.ckpt")  # doctest: +SKIP
    """
    content = read_checkpoint(checkpoint_path, map_location)
    clusterer = clusterer_of(content, checkpoint_path, allowed).to(map_location)
    clusterer.register_forward_pre_hook(_check_input, with_kwargs=True)
    return clusterer


def _scalings(content: Mapping[str, Any], clusterer: Clusterer, source: str | Path) -> tuple[Scaling, ...] | None:
    """How the data scaled the views of a checkpoint's clusterer, by the state that it left there; None: it says nothing.

    Raises:
        CheckpointError: that cannot be read.
    """
    states = [state["scalings"] for state in content.values() if isinstance(state, dict) and "scalings" in state]
    if not states:
        return None
    try:
        scalings = tuple(Scaling(**state) for state in states[0])
        fits = [scaling.offset.shape in ((), shape) for scaling, shape in zip(scalings, clusterer.view_shapes, strict=True)]
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{source}: its scaling of views cannot be read ({error!r})") from error
    if not all(fits):
        raise CheckpointError(f"{source}: its scaling of views is of other shapes than its clusterer")
    return scalings


def _check_input(clusterer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Say what is wrong with views before a layer does."""
    assert isinstance(clusterer, Clusterer)
    given = {**dict(zip(("views", "mask"), inputs, strict=False)), **named}
    if "views" not in given:
        return
    views = given["views"]
    clusterer.check_views(views, given.get("mask"))
    if clusterer.scalings is not None:
        for number, (view, scaling) in enumerate(zip(views, clusterer.scalings, strict=True)):
            if len(view):
                _check_scaled(number, view, scaling)
    if any(view.dtype == torch.float64 for view in views) and next(clusterer.parameters()).dtype != torch.float64:
        raise TypeError("views are float64, as NumPy makes them, and the clusterer is not: give clusterer.scaled(views)")


def _check_scaled(number: int, view: Tensor, scaling: Scaling) -> None:
    ascends, view = view.requires_grad, view.detach()  # an attack, which checks where it starts from, may pass outside the box
    fits = _is_in_unit_range(view) if scaling.clip and not ascends else not view.isnan().any()
    if not fits and view.isnan().any():
        raise ValueError(f"view {number} has NaN; give a mask for samples that do not have it, and zeros in their place")
    if not fits:
        raise ValueError(f"view {number} is not in [0, 1], as it was scaled in training: give clusterer.scaled(views)")
    if scaling.name == "standardise" and far_from_standardised(view):
        raise ValueError(f"view {number} is not standardised, as it was in training: give clusterer.scaled(views)")


def clusterer_of(content: Mapping[str, Any], source: str | Path, allowed: Iterable[type[Clusterer]] = ()) -> Clusterer:
    """:func:`load_clusterer` for a checkpoint that is already read."""
    check_clusterer(content, source, allowed)
    with single_precision():
        clusterer: Clusterer = build(content.get("clusterer"), _known(allowed), source)
    load_state(clusterer, submodule_state(content, "clusterer"), source)
    clusterer.scalings = _scalings(content, clusterer, source)
    clusterer.eval()
    return clusterer


def check_clusterer(content: Mapping[str, Any], source: str | Path, allowed: Iterable[type[Clusterer]] = ()) -> None:
    """Check that the clusterer that a checkpoint describes is the one whose weights it holds, without room for its weights.

    Raises:
        CheckpointError: it is not, or of another class.
    """
    known = _known(allowed)
    check_shapes(lambda: build(content.get("clusterer"), known, source), submodule_state(content, "clusterer"), source)


def check_allowed(clusterer: Clusterer, source: str, allowed: Iterable[type[Clusterer]] = ()) -> None:
    """Check that a clusterer could be read from a checkpoint that is not written yet.

    Raises:
        CheckpointError: it is of a class that may not be named there.
    """
    with torch.device("meta"):
        build(clusterer.description(), _known(allowed), source)


def _known(allowed: Iterable[type[Clusterer]]) -> list[type[Clusterer]]:
    return [*BUILT_IN, *BASELINES, *WRAPPERS, *(kind for kind in installed_classes() if issubclass(kind, Clusterer)), *allowed]


def _is_in_unit_range(view: Tensor) -> bool:
    return float(view.min()) >= -_SLACK and float(view.max()) <= 1 + _SLACK
