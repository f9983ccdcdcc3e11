"""Wrong calls by hand: what is right with one thing wrong, which raises what is promised, in a line that names it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from jsonargparse import ArgumentError

from ar_dmvc import MultiViewClustering, api, attacks, data, defences, load_clusterer
from ar_dmvc.clusterers import CoMVC
from ar_dmvc.clusterers.loading import BASELINES, BUILT_IN
from ar_dmvc.errors import ArDmvcError
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from tests.torture import Trial


def trials(checkpoint: Path) -> Iterator[Trial]:
    """Go through all of them.

    Args:
        checkpoint: of a clusterer that has learned Digits.
    """
    yield from constructors()
    for name, (call, *words) in _uses(checkpoint).items():
        yield Trial("calls: uses", name, _raised(call, *words))


def constructors() -> Iterator[Trial]:
    """With one argument that is of another type, out of range, none of the choices, or not theirs."""
    for name, (make, given) in _CONSTRUCTORS.items():
        for argument, value in _wrong_arguments(make):
            fault = _raised(lambda make=make, arguments={**given, argument: value}: make(**arguments), argument)  # type: ignore[misc]
            yield Trial("calls: constructors", f"{name}({argument}={value!r})", fault)


_SHAPES = {"view_shapes": [(1, 8, 8)] * 2, "num_clusters": 3}
_OTHER_TYPES = {bool: 5, int: 4, float: 3, str: 2}
"""How many of a few values, from a dictionary on, are of another type than this."""

_FRESH = CoMVC(num_clusters=3, view_shapes=[(1, 8, 8)] * 2)
_CLUSTERERS = (*BUILT_IN, *BASELINES)
_ATTACKS = (attacks.PGD, attacks.FGSM, attacks.APGD, attacks.MIFGSM, attacks.Square, attacks.RayS, attacks.UniformNoise)
_DEFENCES = (defences.TRADES, defences.MART, defences.HiddenDistance, defences.GaussianNoise, defences.WithinCluster)
_CONSTRUCTORS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{kind.__name__: (kind, _SHAPES) for kind in _CLUSTERERS},
    **{kind.__name__: (kind, {}) for kind in (*_ATTACKS, *_DEFENCES)},
    "VictimClusterer": (VictimClusterer, {"clusterer": _FRESH}),
    "GANAttacker": (GANAttacker, {"victim": _FRESH, "epsilon": 0.1}),
    "RobustDefender": (RobustDefender, {"clusterer": _FRESH, "attack": attacks.PGD("cross_entropy"), "epsilon": 0.1}),
    "Digits": (data.Digits, {}),
    "FeatureViews": (data.FeatureViews, {"path": "x.npz"}),
    "NoisyMNIST": (data.NoisyMNIST, {}),
}


def _wrong_arguments(make: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(make.__init__)  # type: ignore[misc]
    parameters = inspect.signature(make).parameters
    yield f"{next(iter(parameters), 'setting')}s", 1
    for name, parameter in parameters.items():
        default, hint = parameter.default, str(hints.get(name))
        if isinstance(default, (int, float, str)):
            yield from ((name, value) for value in ({}, [1], "many", 1.5, 3)[: _OTHER_TYPES[type(default)]])
        if "Literal" in hint and isinstance(default, str):
            yield name, f"{default}x"
        elif isinstance(default, bool) or name in ("seed", "num_workers"):
            continue
        elif isinstance(default, int):
            yield name, -3
        elif isinstance(default, float) or "float" in hint:
            yield from ((name, value) for value in (-1.5, math.nan))


def _raised(call: Callable[[], object], *words: str) -> str:
    """What is wrong with the error that a call raises, if it raises one: in one line, and with one of these words."""
    try:
        call()
    except (ValueError, TypeError, OSError, ArDmvcError, ArgumentError) as error:
        message = str(error)
        if "\n" in message or not any(word in message for word in words):
            return f"says {message!r}"
        return ""
    except Exception as error:  # noqa: BLE001  which is what is looked for
        return f"raises {error!r}"
    return "is taken"


def _uses(checkpoint: Path) -> dict[str, tuple[Any, ...]]:
    """Calls with one thing wrong, and what the error may name, one of these."""
    clusterer, attack = load_clusterer(checkpoint), attacks.PGD("cross_entropy", epsilon=0.1, steps=1)
    one, other = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)
    tables = [np.random.default_rng(0).random((20, width)) for width in (3, 4)]
    fitted = MultiViewClustering(n_clusters=2, clusterer="KMeans", random_state=0).fit(tables)
    calls: dict[str, tuple[Any, ...]] = {}
    for name, (views, word) in {
        "one view too few": ([one], "2 views"),
        "one too many": ([one, other, one], "2 views"),
        "no views": ([], "2 views"),
        "nothing": (None, "views"),
        "a text": ("views", "views"),
        "texts": (["one", "other"], "view 0"),
        "a dictionary": ({0: one, 1: other}, "views"),
        "another shape": ([one, other[:, :, :7]], "view 1"),
        "other lengths": ([one, other[:4]], "samples"),
        "integers": ([one, other.long()], "view 1"),
        "arrays": ([one.numpy(), other.numpy()], "view 0"),
    }.items():
        calls[f"clusterer({name})"] = (lambda views=views: clusterer(views), word)
        calls[f"attack(clusterer, {name})"] = (lambda views=views: attack(clusterer, views), word)
    for name, mask in {
        "of other views": torch.ones(6, 3, dtype=torch.bool),
        "of other samples": torch.ones(5, 2, dtype=torch.bool),
        "of numbers": torch.ones(6, 2),
        "of text": "mask",
    }.items():
        calls[f"a mask {name}"] = (lambda mask=mask: clusterer([one, other], mask), "mask")
        calls[f"attack, a mask {name}"] = (lambda mask=mask: attack(clusterer, [one, other], mask=mask), "mask")
    fresh = CoMVC([(1, 8, 8)] * 2, 10)
    return calls | {
        "attack, no clusterer": (lambda: attack(torch.nn.Linear(2, 2), [one, other]), "Clusterer"),
        "attack, no budget": (lambda: attacks.PGD("cross_entropy")(clusterer, [one, other]), "epsilon"),
        "victim of a name": (lambda: VictimClusterer("CoMVC"), "clusterer"),
        "defender of a name": (lambda: RobustDefender(fresh, "PGD"), "attack"),
        "attacker without a budget": (lambda: GANAttacker(fresh), "epsilon"),
        "attacker, negative": (lambda: GANAttacker(fresh, epsilon=-1), "epsilon"),
        **{f"load {path!r}": (lambda path=path: load_clusterer(path), str(path)) for path in ("none.ckpt", ".", __file__)},
        "load onto no device": (lambda: load_clusterer(checkpoint, map_location="gpuu"), "map_location"),
        "an unknown command": (lambda: api.run("fitt", []), "fitt"),
        "arguments as a text": (lambda: api.run("fit", "victims/comvc.yaml"), "arguments"),
        "fit nothing": (lambda: api.fit(), "model"),
        "fit a number": (lambda: api.fit(3), "config"),
        "fit no file": (lambda: api.fit("victims/comcv.yaml"), "victims/comcv.yaml"),
        "fit, a misspelt option": (lambda: api.fit("victims/comvc.yaml", "--trainer.max_epoch=3"), "max_epochs"),
        "fit, a misspelt setting": (lambda: api.fit("victims/comvc.yaml", {"modell": 3}), "modell"),
        "test nothing": (lambda: api.test(), "ckpt_path"),
        "test no checkpoint": (lambda: api.test(checkpoint="none.ckpt"), "none.ckpt"),
        "estimator, another width": (lambda: fitted.predict([tables[0], tables[0]]), "fitted on"),
        "estimator, one view": (lambda: fitted.predict(tables[:1]), "fitted on"),
        "estimator, negative budget": (lambda: fitted.robustness(tables, epsilon=-1), "epsilon"),
        "estimator, no such suite": (lambda: fitted.robustness(tables, epsilon=0.1, suite="strongst"), "suite"),
        "estimator, no such folder": (lambda: fitted.save("/nowhere/at/all.ckpt"), "/nowhere/at/all.ckpt"),
        "estimator, no such file": (lambda: MultiViewClustering.load("none.ckpt"), "none.ckpt"),
        **{
            f"estimator, {name} = {value!r}": (
                lambda name=name, value=value: MultiViewClustering(**{"n_clusters": 2, name: value}).fit(tables),
                name,
                str(value),
            )
            for name, value in {"clusterer": "KMean", "n_clusters": 0, "defence": "robst", "random_state": "x"}.items()
        },
    }
