"""Multi-view clustering with scikit-learn's conventions: arrays in, labels out."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

import numpy as np
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ar_dmvc import api, clusterers
from ar_dmvc.arguments import class_named
from ar_dmvc.attacks import Ensemble
from ar_dmvc.attacks.suite import standard_suite
from ar_dmvc.checkpoint import read_checkpoint, write_checkpoint
from ar_dmvc.clusterers import Clusterer, ClustererOutput, load_clusterer
from ar_dmvc.clusterers.baselines import NearestCentre
from ar_dmvc.data.feature_views import IN_MEMORY
from ar_dmvc.data.scaling import ScalingName
from ar_dmvc.errors import ArDmvcError
from ar_dmvc.evaluation import RobustnessEvaluator
from ar_dmvc.files import whole_file
from ar_dmvc.plain_words import put_plainly, warnings_only
from ar_dmvc.recorded import recorded_budget
from ar_dmvc.runs.checkpoints import epochs_begun
from ar_dmvc.seeding import global_state_kept
from ar_dmvc.settings import load_yaml, shipped
from ar_dmvc.suggestions import did_you_mean

Floats = NDArray[np.float32]
Views = list[NDArray[Any]]

_TYPES = (np.float64, np.float32)
"""Scaling is what brings values to float32: before, ones with a large offset would lose their digits."""

_ONE_AT_A_TIME = threading.RLock()
"""Training uses the global random generators and variables of the environment, of which there is one for all threads."""

_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 200, 10, 100
_WITHOUT_STAGES = 20
"""Epochs of a configuration whose clusterer has no stages, which fewer samples do with fewer or need more of."""
_BATCH = 100
_ROWS = 1000
"""Samples that are predicted or attacked at a time."""

_PARAMETERS = {
    "(model.clusterer)": "(clusterer_settings)",
    "model.clusterer: ar_dmvc.clusterers.": "clusterer_settings: ",
    "model.clusterer": "clusterer",
    "trainer.max_epochs": "epochs",
    "scale them with data.scaling = min_max": "fit with scaling='min_max'",
    "data.scaling": "scaling",
    "with it as model.teacher, configs/defenders/robust.yaml teaches": "defence='robust' teaches",
    "the views of FeatureViews": "the views of X",
    "FeatureViews has": "X has",
    "FeatureViews: partition 'all' has": "X has",
    "allow: there is": "clusterer: there is",
    "data.batch_size": "batch_size",
    "data.epsilon": "epsilon",
}
"""What settings that errors name are called here."""


class MultiViewClustering(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Any clusterer of this package, with any of its defences, as an estimator of scikit-learn.

    A thin layer over :func:`ar_dmvc.api.fit`: what it trains is what ``ardmvc fit`` trains of the same settings, on all
    samples, and a checkpoint of either opens in the other (:meth:`save`, :meth:`load`).

    ``X`` is a list of V views, arrays, tensors or data frames, (N, features) or (N, channels, height, width) each. Or a single
    matrix (N, features), whose columns ``view_sizes`` divides into views, for pipelines and searches; without, it is one view.
    A sample lacks a view whose row is all NaN, or where ``mask`` (N, V) is False, if the clusterer takes that (SiMVC, CoMVC,
    AECoDDC and ProductOfExperts do).

    Args:
        n_clusters: K, at least two.
        clusterer: name of a class of :mod:`ar_dmvc.clusterers`, or a class of one's own, itself or its path. SiMVC,
            ProductOfExperts, KMeans and SpectralClustering take a single view; the others need two.
        clusterer_settings: its arguments, by name.
        defence: name of a configuration under ``defenders``: ``robust``, ``ar_dmvc_am``, ``robust_joint``, ...; None trains on
            clean data.
        epochs: of the clusterer's training, and of a defence's; None takes as many as make some 200 steps, 10 to 100, or those
            of the configuration of a clusterer with stages, and three times as many for a student.
        n_init: how often the clusterer is trained, each time from another seed; one is kept by its own loss and by how far
            the others agree with it. With ``robust`` it is the teacher that is the best of several, where the command line
            takes five. Of a baseline without a network, above 1, how often its k-means starts, which else is ten times.
        batch_size: samples in each step; None takes 100, fewer where there are fewer.
        scaling: of each view, fitted on the training samples: ``min_max``, ``standardise``, ``unit_length`` or ``none``.
        epsilon: budget for which a defence trains, in units of the scaled views.
        view_sizes: numbers of columns of the views in a single matrix.
        accelerator: that trains: ``auto``, ``cpu``, ``gpu``, ...
        random_state: seed, ``RandomState`` or None, as everywhere in scikit-learn. Global random state is left as it was; of
            estimators that are fitted in several threads one trains at a time.
        verbose: show the progress of training.

    Attributes:
        labels_: clusters of the training samples, (N,).
        n_iter_: epochs trained.
        clusterer_: the trained clusterer; it takes what its ``scaled(views)`` makes of raw ones.
        n_features_in_: features of all views together.
        view_shapes_: shapes of the views.

    Example:
        >>> model = MultiViewClustering(n_clusters=10, random_state=0)  # doctest: +SKIP
        >>> labels = model.fit_predict([features, images])  # doctest: +SKIP
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        clusterer: str | type[Clusterer] = "CoMVC",
        clusterer_settings: Mapping[str, Any] | None = None,
        defence: str | None = None,
        epochs: int | None = None,
        n_init: int = 1,
        batch_size: int | None = None,
        scaling: ScalingName = "min_max",
        epsilon: float = 0.1,
        view_sizes: Sequence[int] | None = None,
        accelerator: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.clusterer = clusterer
        self.clusterer_settings = clusterer_settings
        self.defence = defence
        self.epochs = epochs
        self.n_init = n_init
        self.batch_size = batch_size
        self.scaling = scaling
        self.epsilon = epsilon
        self.view_sizes = view_sizes
        self.accelerator = accelerator
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None, mask: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find clusters.

        What an earlier fit found stays where this one fails.

        Args:
            X: views; see the class.
            y: not used.
            mask: (N, V), which views the samples have; None: all but those whose row is NaN.

        Raises:
            ValueError: views or settings that cannot be.
        """
        before = dict(self.__dict__)
        try:
            self._train(X, mask)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def _train(self, X: Any, mask: ArrayLike | None) -> None:  # noqa: N803
        self._names: list[list[str]] | None = None
        views, there = self._views(X, mask, reset=True)
        samples = len(views[0])
        self._check_clusterer()
        self._check_settings()
        if not isinstance(self.n_clusters, Integral) or self.n_clusters < 2:
            raise ValueError(f"n_clusters must be an integer of at least 2, got {self.n_clusters!r}")
        for name, least, may_be_none in (("epochs", 1, True), ("n_init", 1, False), ("batch_size", 2, True)):
            value = getattr(self, name)
            if not (isinstance(value, Integral) and value >= least) and not (value is None and may_be_none):
                wanted = f"{'None or ' * may_be_none}an integer of at least {least}"
                raise ValueError(f"{name} must be {wanted}, got {value!r}")
        if samples < self.n_clusters:
            raise ValueError(f"n_samples={samples} should be >= n_clusters={self.n_clusters}.")
        seed = self.random_state
        if isinstance(seed, Integral) and not 0 <= seed < 2**32:
            raise ValueError(f"random_state must be from 0 to {2**32 - 1}, got {seed}")
        if not isinstance(seed, Integral):
            seed = int(check_random_state(seed).randint(2**31 - 1))
        silence = nullcontext() if self.verbose else _without_remarks()
        with (
            _ONE_AT_A_TIME,
            TemporaryDirectory() as scratch,
            global_state_kept(),
            silence,
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            place = Path(scratch)
            arrays = {f"view_{number}": view for number, view in enumerate(views)}
            np.savez(place / "data.npz", **arrays, **({} if there is None else {"mask": there}))
            try:
                run = api.fit(*self._configuration(place / "data.npz", samples, int(seed)), folder=place / "run")
            except (ArDmvcError, ArgumentError, MisconfigurationException, ValueError) as error:
                raise ValueError(_in_own_terms(str(error).replace(f"{place / 'data.npz'}: ", ""))) from error
            assert run.checkpoint is not None
            content = read_checkpoint(run.checkpoint)
            content["config"]["data"]["init_args"]["path"] = IN_MEMORY  # not that of the scratch file
            write_checkpoint(content, run.checkpoint)
            self._take(run.checkpoint.read_bytes())
            self.n_iter_ = epochs_begun(content)
        self.labels_: NDArray[np.int64] = self._output(views, there).assignments.argmax(1).numpy()

    def fit_predict(self, X: Any, y: object = None, mask: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """The clusters (N,) of the samples that are fitted; see :meth:`fit`."""
        return self.fit(X, y, mask).labels_

    def predict(self, X: Any, mask: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """The cluster of each sample, (N,)."""
        labels: NDArray[np.int64] = self._of(X, mask).assignments.argmax(1).numpy()
        return labels

    def predict_proba(self, X: Any, mask: ArrayLike | None = None) -> Floats:  # noqa: N803
        """The assignment of each sample to each cluster, (N, K); rows sum to one."""
        assignments: Floats = self._of(X, mask).assignments.numpy()
        return assignments

    def transform(self, X: Any, mask: ArrayLike | None = None) -> Floats:  # noqa: N803
        """The representation in which all views of a sample are fused, (N, D)."""
        fused: Floats = self._of(X, mask).fused.numpy()
        return fused

    def fit_transform(self, X: Any, y: object = None, mask: ArrayLike | None = None) -> Floats:  # noqa: N803
        """The representation (N, D) of the samples that are fitted; see :meth:`fit` and :meth:`transform`."""
        return self.fit(X, y, mask).transform(X, mask)

    def robustness(
        self,
        X: Any,  # noqa: N803
        epsilon: float | None = None,
        suite: Literal["standard", "strongest"] = "strongest",
        mask: ArrayLike | None = None,
    ) -> NDArray[np.bool_]:
        """Which samples keep their cluster under all attacks of a suite, (N,).

        Args:
            X: views; see the class.
            epsilon: L-infinity budget in units of the scaled views; None takes the estimator's.
            suite: ``strongest`` is what a claim needs, a thousand passes for a sample that holds; ``standard`` a first look.
            mask: (N, V), which views the samples have.

        Raises:
            ValueError: an unknown suite, a budget that is not positive, or views that are not in [0, 1] once scaled.
        """
        check_is_fitted(self)
        if suite not in ("standard", "strongest"):
            raise ValueError(f"suite must be 'standard' or 'strongest', got {suite!r}")
        views, there = self._views(X, mask, reset=False)
        attacks = {**standard_suite(), **({"strongest": Ensemble()} if suite == "strongest" else {})}
        able = {name: attack for name, attack in attacks.items() if not attack.why_not(self.clusterer_)}
        budget = self.epsilon if epsilon is None else epsilon
        evaluator = RobustnessEvaluator({name: attack.with_default_budget(budget) for name, attack in able.items()})
        for number, (part, present) in enumerate(self._parts(views, there)):
            if any(float(view.min()) < 0 or float(view.max()) > 1 for view in part):
                raise ValueError("attacks keep views in [0, 1], where these are not once scaled; fit with scaling='min_max'")
            index = torch.arange(len(part[0])) + number * _ROWS
            evaluator.update(self.clusterer_, part, None, number, present, index)
        record = evaluator.compute().record
        kept: NDArray[np.bool_] = (record.cluster == record.clean).all(0).numpy()
        return kept

    def save(self, path: str | Path) -> None:
        """Write the checkpoint, which ``ardmvc test``, ``predict`` and :func:`ar_dmvc.load_clusterer` take."""
        check_is_fitted(self)
        with whole_file(Path(path)) as file:
            file.write(self._checkpoint)

    @classmethod
    def load(cls, path: str | Path, allowed: Sequence[type[Clusterer]] = ()) -> Self:
        """An estimator that predicts with the clusterer of a checkpoint, its own or of ``ardmvc fit``.

        It knows the clusterer's class, number of clusters and scaling and the budget, not the other settings of its training.

        Args:
            path: of the checkpoint.
            allowed: classes of one's own that it may name.

        Raises:
            CheckpointError: there is none, or one that cannot be read.
        """
        made = cls()
        made.clusterer_ = load_clusterer(path, allowed=allowed)
        made._checkpoint = Path(path).read_bytes()
        found = made.clusterer_
        kind = type(found)
        made.set_params(n_clusters=found.num_clusters, clusterer=kind if kind in allowed else kind.__name__)
        made.set_params(scaling="none" if found.scalings is None else found.scalings[0].name)
        made.set_params(epsilon=recorded_budget(read_checkpoint(path)) or made.epsilon)
        made.view_shapes_ = [tuple(shape) for shape in found.view_shapes]
        if len(made.view_shapes_) > 1 and all(len(shape) == 1 for shape in made.view_shapes_):
            made.set_params(view_sizes=[shape[0] for shape in made.view_shapes_])
        made.n_features_in_ = sum(int(np.prod(shape)) for shape in made.view_shapes_)
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Settings, and the checkpoint in place of the clusterer: unpickling reads weights and plain values of it."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("clusterer_", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_checkpoint" in state:
            self._take(state["_checkpoint"])

    def _check_clusterer(self) -> None:
        try:
            named = isinstance(self.clusterer, str) or bool(self._own_classes())
        except ArDmvcError as error:
            raise ValueError(_in_own_terms(str(error))) from error
        if isinstance(self.clusterer, str) and inspect.ismodule(getattr(clusterers, self.clusterer, None)):
            meant = did_you_mean(self.clusterer, clusterers.__all__)
            raise ValueError(f"clusterer: there is no class {self.clusterer}{meant}")
        if not named:
            raise ValueError(f"clusterer must be the name of a clusterer or a class, got {self.clusterer!r}")
        if self.clusterer in ("Purified", "Smoothed"):
            raise ValueError(f"clusterer: {self.clusterer} is made of a clusterer; name that, and set defence='purified', say")

    def _check_settings(self) -> None:
        if not isinstance(self.clusterer_settings, Mapping | None):
            raise ValueError(f"clusterer_settings must be None or a mapping, got {self.clusterer_settings!r}")
        for name, other in (("num_clusters", "n_clusters"), ("view_shapes", "X")):
            if name in (self.clusterer_settings or {}):
                raise ValueError(f"clusterer_settings: {name} is that of {other}")
        if isinstance(self.epsilon, bool) or not isinstance(self.epsilon, Real):
            raise ValueError(f"epsilon must be a number in (0, 1], got {self.epsilon!r}")

    def _take(self, checkpoint: bytes) -> None:
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / "checkpoint.ckpt"
            path.write_bytes(checkpoint)
            self.clusterer_: Clusterer = load_clusterer(path, allowed=self._own_classes())
        self._checkpoint = checkpoint

    def _own_classes(self) -> list[type[Clusterer]]:
        """The class of one's own that ``clusterer`` is."""
        if isinstance(self.clusterer, str):
            kind = class_named(self.clusterer) if "." in self.clusterer else None
        else:
            kind = self.clusterer
        return [kind] if isinstance(kind, type) and issubclass(kind, Clusterer) else []

    @property
    def _n_features_out(self) -> int:
        """Width of what :meth:`transform` gives."""
        one = [torch.zeros(1, *shape) for shape in self.view_shapes_]
        with torch.no_grad():
            return int(self.clusterer_(one).fused.shape[1])

    def _views(self, X: Any, mask: ArrayLike | None, reset: bool) -> tuple[Views, NDArray[np.bool_] | None]:  # noqa: N803
        """The views of samples, zero where they are missing, and which are there (N, V); None: all."""
        several = self._are_several(X)
        views = [self._array(view, f"view {number}") for number, view in enumerate(X)] if several else self._split(X, reset)
        check_consistent_length(*views)
        shapes = [view.shape[1:] for view in views]
        if several:
            self._check_list(X, shapes, reset)
        if reset:
            self.view_shapes_ = shapes
            self.n_features_in_ = sum(int(np.prod(shape)) for shape in shapes)
        elif [tuple(shape) for shape in self.view_shapes_] != shapes:
            raise ValueError(f"views have shapes {shapes}, but {type(self).__name__} was fitted on {self.view_shapes_}")
        there = _present(views, mask)
        for number, view in enumerate(views):
            view[~there[:, number]] = 0
            if not (np.abs(view) <= np.finfo(np.float32).max).all():
                kind = "NaN" if np.isnan(view).any() else "infinity or a value too large for float32"
                raise ValueError(f"Input X contains {kind} in view {number}, in rows that are not NaN as a whole.")
        return views, None if there.all() else there

    def _check_list(self, X: Any, shapes: Sequence[tuple[int, ...]], reset: bool) -> None:  # noqa: N803
        """Check a list of views against ``view_sizes`` and, of data frames, their rows and the names of their columns."""
        if self.view_sizes is not None and [(size,) for size in self._sizes()] != shapes:
            raise ValueError(f"view_sizes={self.view_sizes} are not those of X, a list of views; set view_sizes=None")
        names = _columns(X)
        if reset:
            self._names = names
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        elif names is not None and self.__dict__.get("_names") not in (None, names):
            raise ValueError("The feature names should match those that were passed during fit, view by view, in their order.")

    def _sizes(self) -> list[int]:
        sizes = list(self.view_sizes) if isinstance(self.view_sizes, Iterable) else []
        if not sizes or not all(isinstance(size, Integral) for size in sizes):
            raise ValueError(f"view_sizes must be a list of numbers of columns, got {self.view_sizes!r}")
        return sizes

    def _are_several(self, X: Any) -> bool:  # noqa: N803
        """Whether these are views, rather than one matrix."""
        if isinstance(X, Mapping) and not hasattr(X, "shape"):
            raise ValueError(f"X has to be a list of views, or one matrix, not a {type(X).__name__}; give list(X.values())")
        if not isinstance(X, list | tuple) or not X or all(_dimensions(view) < 2 and not hasattr(view, "shape") for view in X):
            return False
        if flat := [number for number, view in enumerate(X) if _dimensions(view) < 2]:
            raise ValueError(f"views have to be (N, features) at least, view {flat[0]} is not: a single feature is (N, 1)")
        return True

    def _split(self, X: Any, reset: bool) -> Views:  # noqa: N803
        """The views of a single matrix."""
        matrix = validate_data(
            self, X, reset=reset, dtype=_TYPES, copy=True, ensure_all_finite=False, ensure_min_samples=2 if reset else 1
        )
        if self.view_sizes is None:
            return [matrix]
        sizes = self._sizes()
        if sum(sizes) != matrix.shape[1] or min(sizes) < 1:
            raise ValueError(f"view_sizes={sizes} do not divide the {matrix.shape[1]} features of X")
        return [part.copy() for part in np.split(matrix, np.cumsum(sizes)[:-1], axis=1)]

    @staticmethod
    def _array(view: Any, name: str) -> NDArray[Any]:
        if isinstance(view, Tensor):
            view = view.detach().cpu()
        given = view.float() if getattr(view, "dtype", None) is torch.bfloat16 else view  # which NumPy has not
        array: NDArray[Any] = check_array(
            given, dtype=_TYPES, copy=True, allow_nd=True, ensure_all_finite=False, input_name=name
        )
        return array

    def _of(self, X: Any, mask: ArrayLike | None) -> ClustererOutput:  # noqa: N803
        check_is_fitted(self)
        return self._output(*self._views(X, mask, reset=False))

    @torch.no_grad()
    def _output(self, views: Views, there: NDArray[np.bool_] | None) -> ClustererOutput:
        parts = [self.clusterer_.cluster(part, present) for part, present in self._parts(views, there)]
        fused, assignments = (torch.cat([getattr(part, name) for part in parts]) for name in ("fused", "assignments"))
        return parts[0]._replace(fused=fused, assignments=assignments)

    def _parts(self, views: Views, there: NDArray[np.bool_] | None) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
        """The scaled views, and which are there, some samples at a time."""
        for first in range(0, len(views[0]), _ROWS):
            rows = slice(first, first + _ROWS)
            present = None if there is None else torch.from_numpy(there[rows])
            yield self.clusterer_.scaled([view[rows] for view in views], present), present

    def _inner_attack(self, attack: dict[str, Any]) -> dict[str, Any]:
        """An inner attack that names its budget, as published ones do, with that of this estimator, and steps in proportion."""
        settings = dict(attack.get("init_args", {}))
        if (published := settings.get("epsilon")) is not None:
            settings["epsilon"] = float(self.epsilon)
            if settings.get("step_size") is not None:
                settings["step_size"] *= float(self.epsilon) / published
        return {**attack, "init_args": settings}

    def _configuration(self, path: Path, samples: int, seed: int) -> list[Any]:
        """What ``ardmvc fit`` takes, later parts over earlier ones."""
        batch = max(min(_BATCH, samples), self.n_clusters) if self.batch_size is None else self.batch_size
        data = {
            "path": str(path),
            "scaling": self.scaling,
            "keep_constant": True,
            "num_clusters": int(self.n_clusters),
            "batch_size": int(batch),
            "epsilon": float(self.epsilon),
            "partition": "all",
        }
        trainer: dict[str, Any] = {"accelerator": self.accelerator, "enable_model_summary": False}
        if not self.verbose:
            trainer["enable_progress_bar"] = False
        shared = {"data": {"class_path": "FeatureViews", "init_args": data}, "trainer": trainer, "seed_everything": seed}
        named = (
            self.clusterer if isinstance(self.clusterer, str) else f"{self.clusterer.__module__}.{self.clusterer.__qualname__}"
        )
        epochs = _usual_epochs(named, max(1, samples // batch)) if self.epochs is None else int(self.epochs)
        arguments = dict(self.clusterer_settings or {})
        own_classes = self._own_classes()
        if own_classes:
            shared["allow"] = [named]  # a teacher's checkpoint names it
        kind = next(iter(own_classes), None) or getattr(clusterers, named, None)
        if kind is not None and "seed" in inspect.signature(kind).parameters:
            arguments.setdefault("seed", seed)  # of k-means, say, which the global one does not reach
        starts = int(self.n_init)
        if isinstance(kind, type) and issubclass(kind, NearestCentre) and starts > 1:
            arguments.setdefault("starts", starts)
            starts = 1
        settings = {"class_path": named, "init_args": arguments}
        model: dict[str, Any] = {"class_path": "VictimClusterer", "init_args": {"clusterer": settings}}
        victim = {"model": model, **_lasting(epochs), "starts": starts}
        if self.defence is None:
            return [victim, shared]
        defender = shipped().get(f"defenders/{self.defence}.yaml")
        if defender is None:
            known = [Path(name).stem for name in shipped() if name.startswith("defenders/")]
            meant = did_you_mean(str(self.defence), known)
            raise ValueError(f"defence must be one of {known}, got {self.defence!r}{meant}")
        defending = load_yaml(defender.read_text())["model"]["init_args"]
        if "teacher" in defending:
            # Of a clusterer that no network makes one epoch is enough, of its student not.
            student = max(3 * epochs, _FEWEST_EPOCHS) if self.epochs is None else epochs
            quietly = {key: value for key, value in trainer.items() if key.startswith("enable_")}
            teacher = {**victim, "trainer": {"max_epochs": epochs, **quietly}}
            own = {"model": {"init_args": {"teacher": [teacher]}}, **_lasting(student)}
        else:
            inner = self._inner_attack(defending["attack"])
            own = {**victim, "model": {"init_args": {"clusterer": settings, "attack": inner}}}
        return [defender, own, shared]


def _lasting(epochs: int) -> dict[str, Any]:
    """So many epochs, and a checkpoint of the last: nobody resumes from one of the others."""
    return {"trainer": {"max_epochs": epochs}, "checkpoint": {"every_n_epochs": epochs}}


def _usual_epochs(clusterer: str, steps: int) -> int:
    """Epochs of so many steps that make a training; those of its configuration for what needs more, or a single one."""
    enough = min(max(_STEPS // steps, _FEWEST_EPOCHS), _MOST_EPOCHS)
    for name, path in shipped().items():
        if name.startswith("victims/"):
            settings = load_yaml(path.read_text())
            if settings["model"]["init_args"]["clusterer"]["class_path"] == clusterer:
                own = int(settings["trainer"]["max_epochs"])
                return own if own == 1 or own > _WITHOUT_STAGES else enough
    return enough


def _in_own_terms(said: str) -> str:
    """What a configuration's error says, of the estimator's own parameters."""
    for option, parameter in _PARAMETERS.items():
        said = said.replace(option, parameter)
    return put_plainly(said)


def _present(views: Views, mask: ArrayLike | None) -> NDArray[np.bool_]:
    """Which views samples have, (N, V): by the mask, and where rows are not all NaN."""
    shape = (len(views[0]), len(views))
    there = np.ones(shape, bool) if mask is None else np.asarray(mask, bool)
    if there.shape != shape:
        raise ValueError(f"mask must have the shape {shape}, got {there.shape}")
    if not there.any(1).all():
        raise ValueError(f"mask leaves {int((~there.any(1)).sum())} samples without any view")
    there = there & ~np.stack([np.isnan(view).reshape(len(view), -1).all(1) for view in views], 1)
    if not there.any(1).all():
        raise ValueError("Input X contains NaN: every sample needs at least one of its views.")
    return there


def _columns(views: Any) -> list[list[str]] | None:
    """The columns of data frames, by view; None where one is no data frame.

    Raises:
        ValueError: their rows are not of the same samples, by their indices.
    """
    if not all(hasattr(view, "columns") for view in views):
        return None
    indices = [view.index for view in views if hasattr(view, "index")]
    if not all(index.equals(indices[0]) for index in indices):
        raise ValueError(
            "views are data frames with different indices: their rows have to be of the same samples in the same order"
        )
    return [[str(name) for name in view.columns] for view in views]


def _dimensions(view: Any) -> int:
    shape = getattr(view, "shape", None)
    return np.ndim(view) if shape is None else len(shape)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Lightning's remarks are left out; its warnings are not, but that of a cluster's front end."""
    with warnings_only(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        yield
