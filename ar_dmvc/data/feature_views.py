"""The user's own data, from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # type: ignore[attr-defined]
from torch import Tensor

from ar_dmvc.data.datamodule import MultiViewDataModule
from ar_dmvc.data.dataset import MultiViewData
from ar_dmvc.data.readers import ArrayFile, Arrays, Orientation, read_mat, read_npy_folder, read_npz
from ar_dmvc.data.scaling import Scaling, ScalingName, as_numbers, first_doubt, fit_scaling
from ar_dmvc.errors import DataError
from ar_dmvc.networks import Shape, check_shapes

IN_MEMORY = "arrays in memory"
"""The path of data that was never in a file."""


class FeatureViews(MultiViewDataModule):
    """Views from a file, or from a folder that is mapped rather than read.

    * ``.npz``: arrays ``view_0``, ``view_1`` and so on, (samples, features) or (samples, channels, height, width), and where
      they are there ``labels`` (samples) and ``mask`` (samples, views), which views each sample has.
    * a folder: the same as ``view_0.npy`` and so on; views are mapped into memory, for data that does not fit there.
    * ``.mat``, version 5 or 7.3 (which needs h5py: ``pip install 'ar-dmvc[mat73]'``): a cell array of views and a vector of
      labels, samples or features first.

    Labels are integers of any coding. Without them all works but the metrics; the number of clusters has to be given then.

    Views are scaled by what was fitted on the training part, which is the victims' half unless all samples are trained on.
    Checkpoints keep it, so that new samples are scaled alike; values beyond the training part's range are clipped.

    Args:
        path: the file or folder.
        scaling: of each view: ``min_max`` takes each feature to [0, 1], which attacks and some decoders need, ``standardise``
            to mean zero and variance one, ``unit_length`` each sample to length one; ``none`` leaves all as it is.
        keep_constant: take features that are constant on the training part to zero rather than refuse them.
        views_key: in ``.mat`` files, the name of the views.
        labels_key: in ``.mat`` files, the name of the labels.
        orientation: in ``.mat`` files; ``auto`` decides by the number of labels.
        licence: of the data, in words, for model cards.
        kwargs: see :class:`MultiViewDataModule`.

    Raises:
        DataError: an unknown scaling or orientation; on loading, whatever is wrong with the file.
    """

    loads_unit_range: ClassVar[bool] = False

    def __init__(
        self,
        path: str | Path,
        scaling: ScalingName = "min_max",
        keep_constant: bool = False,
        views_key: str = "X",
        labels_key: str = "Y",
        orientation: Orientation = "auto",
        licence: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, choices in (("scaling", scaling, ScalingName), ("orientation", orientation, Orientation)):
            if value not in get_args(choices):
                raise DataError(f"{name}: {value!r} is not one of {', '.join(get_args(choices))}")
        self.path = Path(path)
        self.scaling: ScalingName = scaling
        self.keep_constant = keep_constant
        self.views_key = views_key
        self.labels_key = labels_key
        self.orientation: Orientation = orientation
        self.licence = licence
        self._scalings: list[Scaling] | None = None

    @cached_property
    def arrays(self) -> Arrays:
        """What the file holds.

        Raises:
            DataError: it is missing, damaged, or holds other things.
        """
        if str(self.path) == IN_MEMORY:
            raise DataError("path: the clusterer was trained on arrays in memory; say on which data, --data.path FILE")
        try:
            is_folder, is_file = self.path.is_dir(), self.path.is_file()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        if is_folder:
            return read_npy_folder(self.path)
        if not is_file:
            raise DataError(f"{self.path}: no such file or folder")
        if self.path.suffix == ".npz":
            return read_npz(self.path)
        if self.path.suffix == ".mat":
            return read_mat(self.path, self.views_key, self.labels_key, self.orientation)
        raise DataError(f"{self.path}: neither an .npz nor a .mat file, nor a folder of .npy files")

    @property
    def view_shapes(self) -> tuple[Shape, ...]:
        """The views' shapes."""
        try:
            return check_shapes(view.shape[1:] for view in self.arrays.views)
        except ValueError as error:
            raise DataError(f"{self.path}: {error}") from error

    @property
    def num_classes(self) -> int | None:
        """Number of different labels."""
        return None if self.arrays.labels is None else len(np.unique(self.arrays.labels))

    def load(self) -> MultiViewData:
        """What the file holds, as tensors."""
        arrays = self.arrays
        return MultiViewData(
            tuple(as_numbers(view) for view in arrays.views),
            None if arrays.labels is None else torch.from_numpy(arrays.labels),
            None if arrays.mask is None else torch.from_numpy(arrays.mask),
            files=None if arrays.files is None else _Files(arrays.files),
        )

    @property
    def scalings(self) -> Sequence[Scaling]:
        """What is applied to each view, fitted on the training part or taken from a checkpoint."""
        if self._scalings is None:
            samples = len(self.data.views[0])
            chosen = torch.zeros(samples, dtype=torch.bool)
            chosen[torch.from_numpy(self.halves(samples, "all" if self.partition == "all" else "victim"))] = True
            self._scalings = [
                fit_scaling(self.scaling, self.data.pieces(number, chosen), f"{self.path}: view {number}", self.keep_constant)
                for number in range(len(self.data.views))
            ]
        return self._scalings

    @property
    def source(self) -> str:
        """What messages call the data: where it is."""
        return str(self.path)

    @property
    def is_incomplete(self) -> bool:
        """Whether samples are without some of the views, by the file or at random."""
        return super().is_incomplete or self.arrays.mask is not None

    @property
    def in_unit_range(self) -> bool:
        """Whether views are in [0, 1]: with ``min_max`` always, else where the file's values happen to be."""
        if self.scaling == "min_max":
            return True
        if self.scaling == "standardise":
            return False
        high = 1.0 if self.scaling == "none" else np.inf
        numbers = range(len(self.data.views))
        return all(piece.min() >= 0 and piece.max() <= high for number in numbers for piece in self.data.pieces(number))

    def prepare_data(self) -> None:
        """Read and scale once, so that what is wrong shows before anything is written."""
        super().prepare_data()
        if self.trains:
            _ = self.scalings

    def state_dict(self) -> dict[str, Any]:
        """The scalings, for checkpoints."""
        return {"scalings": [scaling.state() for scaling in self.scalings]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Scale as a checkpoint says.

        Raises:
            DataError: it scales other views.
        """
        try:
            scalings = [Scaling(**state) for state in state_dict["scalings"]]
            shapes = [tuple(scaling.offset.shape) for scaling in scalings]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the checkpoint's scaling of views cannot be read ({error!r})") from error
        if len(shapes) != len(self.view_shapes) or any(
            shape not in ((), view) for shape, view in zip(shapes, self.view_shapes, strict=False)
        ):
            raise DataError(f"{self.path}: the checkpoint scales views of shapes {shapes}, here they are {self.view_shapes}")
        self._scalings = scalings
        if (names := {scaling.name for scaling in scalings}) != {self.scaling}:
            rank_zero_warn(f"data.scaling = {self.scaling}: the checkpoint's, {', '.join(sorted(names))}, is what counts")
        some = [next(self.data.pieces(number), view[:0]) for number, view in enumerate(self.data.views)]
        if doubt := first_doubt(scalings, some):
            rank_zero_warn(f"{self.path}: {doubt}")


class _Files(NamedTuple):
    """Mapped files, as tensors."""

    files: tuple[ArrayFile, ...]

    def pieces(self, number: int) -> Iterator[Tensor]:
        return map(as_numbers, self.files[number].pieces())

    def rows(self, number: int, index: Tensor) -> Tensor:
        return as_numbers(self.files[number].rows(index.numpy()))
