"""MATLAB files of both generations: version 5 to 7.2 through SciPy, version 7.3, which is HDF5, through h5py.

A cell array holds the views, a vector the labels, in whichever orientation; what is which follows from the number of labels.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ar_dmvc.data.readers.arrays import Array, Arrays, check_labels, check_view
from ar_dmvc.data.readers.expansion import check_expansion
from ar_dmvc.errors import DataError

Orientation = Literal["auto", "samples_first", "features_first"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_COMPRESSED = 15


def read_mat(path: Path, views_key: str = "X", labels_key: str = "Y", orientation: Orientation = "auto") -> Arrays:
    """Read the views and, where they are there, the labels of a MATLAB file.

    Args:
        path: the file.
        views_key: name of the cell array of views.
        labels_key: name of the labels; a cell array of equal ones will do.
        orientation: of the views; ``auto`` decides by the number of labels, without labels by the size that the views share.

    Raises:
        DataError: the file is missing, damaged, holds other things, or leaves the orientation open.
    """
    try:
        with path.open("rb") as file:
            is_hdf5 = _is_hdf5(file)
            if not is_hdf5:
                _check_elements(file, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    content = _read_hdf5(path, (views_key, labels_key)) if is_hdf5 else _read_v5(path, (views_key, labels_key))
    if views_key not in content:
        raise DataError(f"{path}: holds no {views_key!r}; views_key names the cell array of views")
    views = [_plain(view, f"{path}: {views_key}{{{number + 1}}}") for number, view in enumerate(content[views_key])]
    labels = _labels(content[labels_key], f"{path}: {labels_key}") if labels_key in content else None
    samples = None if labels is None else len(labels)
    transposed = _is_transposed(views, samples, orientation, path)
    oriented = tuple(
        check_view(view.T if transposed else view, f"{path}: {views_key}{{{number + 1}}}") for number, view in enumerate(views)
    )
    # Rows contiguous, so that gathering samples is fast.
    return Arrays(tuple(np.ascontiguousarray(view) for view in oriented), labels)


def _is_transposed(views: list[Array], samples: int | None, orientation: Orientation, path: Path) -> bool:
    """Whether views are features by samples."""
    if not views:
        raise DataError(f"{path}: the cell array of views is empty")
    if orientation != "auto":
        return orientation == "features_first"
    shapes = [view.shape for view in views]
    if samples is None:
        first, second = ({shape[axis] for shape in shapes} for axis in (0, 1))
        fits = len(first) == 1, len(second) == 1
    else:
        fits = all(shape[0] == samples for shape in shapes), all(shape[1] == samples for shape in shapes)
    if fits[0] != fits[1]:
        return fits[1]
    why = f"there are {samples} labels" if samples is not None else "there are no labels"
    how = "both ways fit" if fits[0] else "neither way fits"
    raise DataError(f"{path}: views are of shapes {shapes}, {why}: {how} (samples or features first); give the orientation")


def _labels(cells: list[Array], source: str) -> Array:
    labels = [check_labels(_plain(cell, source), source) for cell in cells]
    if not labels or any(not np.array_equal(labels[0], other) for other in labels[1:]):
        raise DataError(f"{source}: has to be one vector of labels, or a cell array of equal ones")
    return labels[0]


def _plain(array: Any, source: str) -> Array:
    """A matrix of numbers as it is."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{source}: holds {kind}, not a matrix of numbers")
    if array.dtype.kind == "c":
        raise DataError(f"{source}: holds complex numbers")
    if array.ndim != 2:
        raise DataError(f"{source}: is of shape {array.shape}, not a matrix")
    return array


def _is_hdf5(file: IO[bytes]) -> bool:
    """Whether the HDF5 signature is where MATLAB or HDF5 put it."""
    for offset in (0, 512):
        file.seek(offset)
        if file.read(len(_HDF5)) == _HDF5:
            return True
    return False


def _check_elements(file: IO[bytes], path: Path) -> None:
    """Check that the elements of a version-5 file are there in full, and expand to no more than they announce.

    Raises:
        DataError: they are cut short, damaged, or expand further.
    """
    file.seek(0)
    header = file.read(128)
    if len(header) < 128 or header[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: not a MATLAB file of version 5 or 7.3")
    order = "<" if header[126:128] == b"IM" else ">"
    while tag := file.read(8):
        kind, size = struct.unpack(f"{order}II", tag) if len(tag) == 8 else (0, 1 << 62)
        if size > path.stat().st_size - file.tell():
            raise DataError(f"{path}: cut short")
        if kind == _COMPRESSED:
            _check_compressed(file.read(size), order, path)
        else:
            file.seek(size, 1)


def _check_compressed(content: bytes, order: str, path: Path) -> None:
    inflater = zlib.decompressobj()
    try:
        tag = inflater.decompress(content, 8)
        announced = struct.unpack(f"{order}II", tag)[1] if len(tag) == 8 else -1
        if announced < 0:
            raise DataError(f"{path}: holds something compressed that is damaged")
        check_expansion(len(content), announced, str(path))
        expanded = 0
        while piece := inflater.decompress(inflater.unconsumed_tail, 1 << 20):
            expanded += len(piece)
            if expanded > announced:
                raise DataError(f"{path}: expands beyond the {announced} bytes that it announces")
    except zlib.error as error:
        raise DataError(f"{path}: damaged ({error})") from error
    if expanded != announced:
        raise DataError(f"{path}: cut short")


def _read_v5(path: Path, names: tuple[str, str]) -> dict[str, list[Any]]:
    from scipy.io import loadmat

    try:
        content = loadmat(str(path), variable_names=names, appendmat=False)
    except Exception as error:
        raise DataError(f"{path}: damaged, or no MATLAB file that can be read ({type(error).__name__}: {error})") from error
    return {name: _cells_v5(content[name]) for name in names if name in content}


def _cells_v5(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_dense(cell) for cell in value.reshape(-1)]
    return [_dense(value)]


def _dense(value: Any) -> Any:
    from scipy.sparse import issparse

    if not issparse(value):
        return value
    if np.prod(value.shape, dtype=object) > 100 * max(1, value.nnz):
        raise DataError(f"a sparse matrix of shape {value.shape} with {value.nnz} values is too empty to be a view")
    return value.toarray()


def _read_hdf5(path: Path, names: tuple[str, str]) -> dict[str, list[Any]]:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: MATLAB files of version 7.3 need h5py: pip install 'ar-dmvc[mat73]'") from error

    try:
        with h5py.File(path, "r") as file:
            return {name: _cells_hdf5(file, name, path) for name in names if name in file}
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: damaged, or no MATLAB file that can be read ({type(error).__name__}: {error})") from error


def _cells_hdf5(file: Any, name: str, path: Path) -> list[Any]:
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{path}: {name} is no array of this file")
    dataset = file[name]
    if dataset.dtype != h5py.ref_dtype:
        return [_array_hdf5(dataset, path)]
    if dataset.size > 10_000:
        raise DataError(f"{path}: {name} is a cell array of {dataset.size} cells, too many for views")
    cells = [file[reference] for reference in dataset[()].reshape(-1, order="F")]
    check_expansion(path.stat().st_size, sum(cell.nbytes for cell in cells if isinstance(cell, h5py.Dataset)), str(path))
    return [_array_hdf5(cell, path) for cell in cells]


def _array_hdf5(dataset: Any, path: Path) -> Array:
    """A matrix; MATLAB's columns are HDF5's rows."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biufc":
        raise DataError(f"{path}: {dataset.name} is no matrix of numbers")
    if dataset.external is not None or dataset.is_virtual:
        raise DataError(f"{path}: {dataset.name} is kept in other files, which are not read")
    check_expansion(dataset.id.get_storage_size(), dataset.nbytes, f"{path}: {dataset.name}")
    return np.asarray(dataset[()]).T
