"""The user's own files: every format, orientation and scaling, and everything that can be wrong with them."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from ar_dmvc.data import FeatureViews
from ar_dmvc.data.scaling import Scaling, fit_scaling
from ar_dmvc.errors import DataError
from tests.conftest import SHARED

SAMPLES, WIDTHS = 30, (4, 7, 5)
FEW = {"batch_size": 10, "num_clusters": 3}


def views(dtype: str = "float64") -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(random.normal(3, 20, (SAMPLES, width)) * 10).astype(dtype) for width in WIDTHS]


def labels() -> np.ndarray:
    return np.arange(SAMPLES) % 3 + 1


def cells(arrays: list[np.ndarray], row: bool = True) -> np.ndarray:
    cell = np.empty((1, len(arrays)) if row else (len(arrays), 1), dtype=object)
    for number, array in enumerate(arrays):
        cell[(0, number) if row else (number, 0)] = array
    return cell


def write_npz(path: Path, arrays: list[np.ndarray], **others: np.ndarray) -> Path:
    file = path / "views.npz"
    np.savez_compressed(file, **{f"view_{number}": array for number, array in enumerate(arrays)}, **others)
    return file


def write_folder(path: Path, arrays: list[np.ndarray], **others: np.ndarray) -> Path:
    folder = path / "folder"
    folder.mkdir()
    for name, array in {**{f"view_{number}": array for number, array in enumerate(arrays)}, **others}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def write_mat5(path: Path, arrays: list[np.ndarray], labels: np.ndarray | None = None, row: bool = True) -> Path:
    file = path / "views.mat"
    content = {"X": cells(arrays, row)} | ({} if labels is None else {"Y": labels[:, None]})
    savemat(file, content, do_compression=row)
    return file


def write_mat73(path: Path, arrays: list[np.ndarray], labels: np.ndarray | None = None) -> Path:
    """As MATLAB writes it: a header before the HDF5 part, cells as references, matrices transposed."""
    file = path / "views73.mat"
    with h5py.File(file, "w", userblock_size=512) as content:
        references = []
        for number, array in enumerate(arrays):
            content.create_dataset(f"#refs#/{number}", data=array.T, compression="gzip")
            references.append([content[f"#refs#/{number}"].ref])
        content.create_dataset("X", data=np.array(references, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
        if labels is not None:
            content.create_dataset("Y", data=labels[None, :])
    with file.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<HH", 0x0200, 0x4D49))
    return file


WRITERS: dict[str, Callable[..., Path]] = {
    "npz": lambda path, arrays, y: write_npz(path, arrays, labels=y),
    "folder": lambda path, arrays, y: write_folder(path, arrays, labels=y),
    "mat of version 5": write_mat5,
    "mat of version 5, a column": lambda path, arrays, y: write_mat5(path, arrays, y, row=False),
    "mat of version 7.3": write_mat73,
    "mat, features first": lambda path, arrays, y: write_mat5(path, [array.T for array in arrays], y),
    "mat 7.3, features first": lambda path, arrays, y: write_mat73(path, [array.T for array in arrays], y),
}


class TestFormats:
    @pytest.mark.parametrize("kind", WRITERS)
    @pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8"])
    def test_every_format_gives_the_same_views(self, kind: str, dtype: str, tmp_path: Path) -> None:
        arrays = [np.abs(view).clip(0, 250).astype(dtype) for view in views()]
        data = FeatureViews(path=WRITERS[kind](tmp_path, arrays, labels()), scaling="none", **FEW)
        assert data.view_shapes == tuple((width,) for width in WIDTHS)
        assert data.num_classes == 3
        (batch,) = (b for b in [data.subset("all").batch(torch.arange(SAMPLES))])
        for view, array in zip(batch.views, arrays, strict=True):
            assert view.dtype == torch.float32
            np.testing.assert_array_equal(view.numpy(), array.astype(np.float32))
        assert batch.labels.tolist() == labels().tolist()

    @pytest.mark.parametrize("coding", ["uint8", "int64", "float32", "bool"])
    @pytest.mark.parametrize("shape", [(SAMPLES,), (SAMPLES, 1), (1, SAMPLES)])
    def test_labels_come_in_any_integer_coding(self, coding: str, shape: tuple[int, ...], tmp_path: Path) -> None:
        coded = (labels() > 1).astype(coding) if coding == "bool" else (labels() * 7).astype(coding)
        data = FeatureViews(path=write_npz(tmp_path, views(), labels=coded.reshape(shape)), **FEW)
        assert data.data.labels.tolist() == coded.astype(int).tolist()
        assert data.num_classes == len(set(coded.tolist()))

    def test_images_keep_their_shape(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).random((SAMPLES, 3, 10, 12)).astype(np.float32)
        data = FeatureViews(path=write_npz(tmp_path, [images, views()[0]]), **FEW)
        assert data.view_shapes == ((3, 10, 12), (4,))

    def test_without_labels_the_number_of_clusters_has_to_be_given(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path, views())
        with pytest.raises(DataError, match=r"number of clusters has to be given \(data.num_clusters\)"):
            FeatureViews(path=path, batch_size=10).prepare_data()
        data = FeatureViews(path=path, **FEW)
        assert next(iter(data.train_dataloader())).labels is None

    def test_a_folder_is_mapped_and_its_files_are_never_changed(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path, views())
        before = (folder / "view_0.npy").read_bytes()
        data = FeatureViews(path=folder, scaling="none", **FEW).data
        assert data.files is not None
        data.views[0].zero_()
        assert (folder / "view_0.npy").read_bytes() == before

    def test_labels_as_a_cell_array_of_equal_vectors(self, tmp_path: Path) -> None:
        file = tmp_path / "cells.mat"
        savemat(file, {"X": cells(views()), "Y": cells([labels()[:, None]] * 3)})
        assert FeatureViews(path=file, **FEW).data.labels.tolist() == labels().tolist()
        savemat(file, {"X": cells(views()), "Y": cells([labels()[:, None], labels()[::-1, None]])})
        with pytest.raises(DataError, match="cell array of equal ones"):
            FeatureViews(path=file, **FEW).prepare_data()

    def test_other_names(self, tmp_path: Path) -> None:
        file = tmp_path / "names.mat"
        savemat(file, {"data": cells(views()), "gt": labels()[:, None]})
        with pytest.raises(DataError, match="holds no 'X'; views_key names"):
            FeatureViews(path=file, **FEW).prepare_data()
        assert len(FeatureViews(path=file, views_key="data", labels_key="gt", **FEW).data.views) == 3

    def test_scene_15(self) -> None:
        path = SHARED / "data" / "Scene-15.mat"
        if not path.is_file():
            pytest.skip(f"{path} is not there; set AR_DMVC_SHARED")
        data = FeatureViews(path=path)
        data.prepare_data()
        assert data.view_shapes == ((20,), (59,), (40,))
        assert data.num_clusters == 15
        assert len(data.data.labels) == 4485


class TestOrientation:
    def test_where_both_ways_fit_it_is_refused_and_can_be_given(self, tmp_path: Path) -> None:
        square = np.random.default_rng(0).random((SAMPLES, SAMPLES))
        file = write_mat5(tmp_path, [square, square], labels())
        with pytest.raises(DataError, match=r"both ways fit \(samples or features first\); give the orientation"):
            FeatureViews(path=file, **FEW).prepare_data()
        first = FeatureViews(path=file, orientation="samples_first", **FEW).data.views[0]
        assert torch.equal(FeatureViews(path=file, orientation="features_first", **FEW).data.views[0], first.T)

    def test_one_view_that_is_not_square_settles_it(self, tmp_path: Path) -> None:
        square = np.random.default_rng(0).random((SAMPLES, SAMPLES))
        data = FeatureViews(path=write_mat5(tmp_path, [square, views()[0].T], labels()), **FEW).data
        np.testing.assert_array_equal(data.views[0].numpy(), square.T)

    @pytest.mark.parametrize("transpose", [False, True])
    def test_without_labels_the_shared_size_settles_it(self, transpose: bool, tmp_path: Path) -> None:
        arrays = [view.T if transpose else view for view in views()]
        data = FeatureViews(path=write_mat5(tmp_path, arrays), **FEW)
        assert data.view_shapes == tuple((width,) for width in WIDTHS)
        with pytest.raises(DataError, match="there are no labels: both ways fit"):
            FeatureViews(path=write_mat5(tmp_path, [arrays[0], arrays[0]]), **FEW).prepare_data()


class TestScaling:
    @pytest.mark.parametrize(
        ("scaling", "reference"),
        [("min_max", MinMaxScaler(clip=True)), ("standardise", StandardScaler()), ("unit_length", Normalizer())],
    )
    @pytest.mark.parametrize("kind", ["npz", "folder"])
    def test_is_scikit_learn_s_fitted_on_the_victims_half(
        self, scaling: str, reference: Any, kind: str, tmp_path: Path
    ) -> None:
        data = FeatureViews(path=WRITERS[kind](tmp_path, views(), labels()), scaling=scaling, **FEW)
        part = data.subset("victim").indices.numpy()
        batch = data.subset("all").batch(torch.arange(SAMPLES))
        for view, array in zip(batch.views, views(), strict=True):
            expected = reference.fit(array[part]).transform(array)
            np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)

    def test_attackers_scale_as_victims_do(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path, views())
        one, other = FeatureViews(path=path, **FEW), FeatureViews(path=path, partition="attacker", **FEW)
        assert torch.equal(one.scalings[1].factor, other.scalings[1].factor)
        whole = FeatureViews(path=path, partition="all", **FEW)
        assert not torch.equal(one.scalings[1].factor, whole.scalings[1].factor)

    def test_pieces_do_not_change_it(self) -> None:
        values = torch.from_numpy(views()[0])
        for name in ("min_max", "standardise"):
            one, other = fit_scaling(name, [values], "v"), fit_scaling(name, values.split(7), "v")
            torch.testing.assert_close(one.offset, other.offset)
            torch.testing.assert_close(one.factor, other.factor)

    def test_is_kept_in_checkpoints_and_applied_to_new_samples(self, tmp_path: Path) -> None:
        data = FeatureViews(path=write_npz(tmp_path, views()), **FEW)
        torch.save(data.state_dict(), tmp_path / "state.pt")
        (tmp_path / "new").mkdir()
        new = FeatureViews(path=write_npz(tmp_path / "new", [view * 1.5 for view in views()]), **FEW)
        new.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        batch = new.subset("all").batch(torch.arange(SAMPLES))
        other = FeatureViews(path=tmp_path / "views.npz", scaling="standardise", **FEW)
        with pytest.warns(UserWarning, match=r"data.scaling = standardise: the checkpoint's, min_max, is what counts"):
            other.load_state_dict(data.state_dict())
        scaling = data.scalings[0]
        expected = ((torch.from_numpy(views()[0]) * 1.5 - scaling.offset) * scaling.factor).clamp(0, 1)
        torch.testing.assert_close(batch.views[0], expected.float(), atol=1e-5, rtol=1e-5)
        other = FeatureViews(path=write_npz(tmp_path, views()[1:]), **FEW)
        for state in (data.state_dict(), {}, {"scalings": [1]}):
            with pytest.raises(DataError, match="checkpoint"):
                other.load_state_dict(state)

    @pytest.mark.parametrize("dtype", ["float64", "int64"])
    @pytest.mark.parametrize("scaling", ["min_max", "standardise"])
    def test_what_varies_little_around_a_large_number_keeps_its_digits(self, scaling: str, dtype: str, tmp_path: Path) -> None:
        near = [view.round() for view in views()]
        far = [(view + 1_600_000_000).astype(dtype) for view in near]  # as time stamps are
        for name, arrays in (("near", near), ("far", far)):
            (tmp_path / name).mkdir()
            write_npz(tmp_path / name, arrays)
        one, other = (
            FeatureViews(path=tmp_path / name / "views.npz", scaling=scaling, **FEW).subset("all") for name in ("near", "far")
        )
        everything = torch.arange(SAMPLES)
        for expected, view in zip(one.batch(everything).views, other.batch(everything).views, strict=True):
            assert view.dtype == torch.float32
            torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("scaling", ["min_max", "standardise"])
    def test_new_samples_that_are_scaled_already_are_doubted(self, scaling: str, tmp_path: Path) -> None:
        path = write_npz(tmp_path, [view + 5_000 for view in views()])
        data = FeatureViews(path=path, scaling=scaling, **FEW)
        state = data.state_dict()
        data.load_state_dict(state)
        scaled = [view.numpy() for view in data.subset("all").batch(torch.arange(SAMPLES)).views]
        (tmp_path / "scaled").mkdir()
        again = FeatureViews(path=write_npz(tmp_path / "scaled", scaled), scaling=scaling, **FEW)
        with pytest.warns(UserWarning, match=r"view 0: most of its values lie outside of the range .*; is it raw\?"):
            again.load_state_dict(state)

    def test_so_are_scaled_ones_within_the_range_of_raw_ones(self) -> None:
        """Pixels from 0 to 16, say, that somebody brought to [0, 1]."""
        raw = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)) * 16
        for name in ("min_max", "standardise"):
            scaling = fit_scaling(name, [raw], "v")
            assert scaling.doubt(raw) is scaling.doubt(raw[:3]) is scaling.doubt(raw[:0]) is scaling.doubt(raw[:1] / 16) is None
            assert "next to nothing of the range" in str(scaling.doubt(raw / 16))
        for name in ("unit_length", "none"):
            assert fit_scaling(name, [raw], "v").doubt(raw / 16) is None

    def test_constant_features_are_refused_or_kept(self, tmp_path: Path) -> None:
        arrays = views()
        arrays[1][:, 2] = 5
        path = write_npz(tmp_path, arrays)
        with pytest.raises(DataError, match=r"view 1: 1 of 7 features are constant .* number 2; .*keep_constant"):
            FeatureViews(path=path, **FEW).prepare_data()
        batch = FeatureViews(path=path, keep_constant=True, **FEW).subset("all").batch(torch.arange(SAMPLES))
        assert (batch.views[1][:, 2] == 0).all()

    def test_which_scalings_give_the_box_that_attacks_need(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path, views())
        inside = {
            name: FeatureViews(path=path, scaling=name, **FEW).in_unit_range for name in ("min_max", "standardise", "none")
        }
        assert inside == {"min_max": True, "standardise": False, "none": False}
        positive = write_npz(tmp_path, [np.abs(view) for view in views()])
        assert FeatureViews(path=positive, scaling="unit_length", **FEW).in_unit_range

    def test_pixels(self) -> None:
        from ar_dmvc.data.scaling import pixels

        assert torch.equal(pixels()(torch.tensor([[0, 255]], dtype=torch.uint8)), torch.tensor([[0.0, 1.0]]))
        assert isinstance(pixels(), Scaling)


class TestMask:
    def test_of_a_file_reaches_batches_and_hides_values(self, tmp_path: Path) -> None:
        arrays, mask = views(), np.ones((SAMPLES, 3), dtype=bool)
        mask[::2, 1] = False
        arrays[1][::2] = np.nan
        data = FeatureViews(path=write_npz(tmp_path, arrays, labels=labels(), mask=mask), **FEW)
        batch = next(iter(data.train_dataloader()))
        assert torch.equal(batch.mask, torch.from_numpy(mask)[batch.index])
        assert (batch.views[1][~batch.mask[:, 1]] == 0).all()
        assert torch.isfinite(batch.views[1]).all()

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.zeros((SAMPLES, 3), dtype=bool), f"leaves {SAMPLES} samples without any view"),
            (np.ones((SAMPLES, 2), dtype=bool), r"the mask is of shape \(30, 2\), not \(30, 3\)"),
            (np.ones(SAMPLES, dtype=bool), "truth values, samples by views"),
            (np.ones((SAMPLES, 3)), "truth values, samples by views"),
        ],
    )
    def test_wrong_ones_are_said(self, mask: np.ndarray, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=message):
            FeatureViews(path=write_npz(tmp_path, views(), mask=mask), **FEW).prepare_data()


def spoilt(number: int, change: Callable[[np.ndarray], Any]) -> list[np.ndarray]:
    arrays = views()
    arrays[number] = change(arrays[number])
    return arrays


class TestBadFiles:
    @pytest.mark.parametrize("kind", ["npz", "folder"])
    @pytest.mark.parametrize(
        ("arrays", "y", "message"),
        [
            (spoilt(1, lambda view: view[:-1]), labels(), r"different numbers of samples: \[30, 29, 30, 30\]"),
            (views(), labels()[:-3], r"different numbers of samples: \[30, 30, 30, 27\]"),
            (spoilt(0, lambda view: view * np.nan), labels(), "view 0 has NaN or infinite values"),
            (spoilt(2, lambda view: view * np.inf), labels(), "view 2 has NaN or infinite values"),
            (spoilt(2, lambda view: view * 1e300), labels(), "view 2 has values too large for single precision"),
            (spoilt(0, lambda view: view * 1j), labels(), "real numbers, not of type complex128"),
            (spoilt(0, lambda view: view.astype("U8")), labels(), "real numbers, not of type <U8"),
            (spoilt(1, lambda view: view[0]), labels(), r"not of shape \(7,\)"),
            (spoilt(1, lambda view: view[:, :0]), labels(), r"not of shape \(30, 0\)|announces 0 bytes"),
            (views(), labels() / 2, "labels have to be integers, and some are not"),
            (views(), labels().astype("U2"), "labels have to be integers, not of type"),
            (views(), np.ones((10, 3)), r"labels have to be a vector, not of shape \(10, 3\)"),
        ],
    )
    def test_content(self, kind: str, arrays: list[np.ndarray], y: np.ndarray, message: str, tmp_path: Path) -> None:
        path = WRITERS[kind](tmp_path, arrays, y)
        with pytest.raises(DataError, match=message) as caught:
            FeatureViews(path=path, **FEW).prepare_data()
        assert "\n" not in str(caught.value)

    def test_channels_that_seem_to_be_last_are_said(self, tmp_path: Path) -> None:
        for narrow in ((30, 64, 4, 4), (30, 512, 1, 1)):
            FeatureViews(path=write_npz(tmp_path, [np.random.default_rng(0).random(narrow), *views()]), **FEW).prepare_data()
        data = FeatureViews(path=write_npz(tmp_path, [np.random.default_rng(0).random((30, 8, 8, 3)), *views()]), **FEW)
        with pytest.warns(UserWarning, match=r"view_0: of shape \(30, 8, 8, 3\), its channels seem to be last; .*transpose"):
            data.prepare_data()

    @pytest.mark.parametrize("kind", ["npz", "folder"])
    def test_what_is_not_read_is_said(self, kind: str, tmp_path: Path) -> None:
        path = {"npz": write_npz, "folder": write_folder}[kind](tmp_path, views(), y=labels(), names=np.arange(3))
        data = FeatureViews(path=path, **FEW)
        with pytest.warns(UserWarning, match="not read, as it is no view_N, labels or mask: names, y"):
            data.prepare_data()
        assert data.num_classes is None

    def test_arrays_of_objects_are_never_unpickled(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (marker,))

        objects = np.array([Hostile()] * SAMPLES, dtype=object)[:, None]
        for path in (write_npz(tmp_path, [objects, *views()]), write_folder(tmp_path, [objects, *views()])):
            with pytest.raises(DataError, match="arrays of objects are never read"):
                FeatureViews(path=path, **FEW).prepare_data()
        assert not marker.exists()

    def test_cells_that_are_no_matrices(self, tmp_path: Path) -> None:
        file = tmp_path / "x.mat"
        for odd, message in (
            ("text", "not a matrix of numbers"),
            (np.ones((3, 3)) * 1j, "complex"),
            (cells(views()), "not a matrix of numbers"),
            (np.ones((3, 3, 3)), "not a matrix"),
        ):
            cell = cells(views())
            cell[0, 1] = odd
            savemat(file, {"X": cell, "Y": labels()[:, None]})
            with pytest.raises(DataError, match=message):
                FeatureViews(path=file, **FEW).prepare_data()
        savemat(file, {"X": cells(spoilt(1, lambda view: view[:-2])), "Y": labels()[:, None]})
        with pytest.raises(DataError, match="neither way fits"):
            FeatureViews(path=file, **FEW).prepare_data()

    def test_a_zip_that_claims_to_expand_without_end(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 30, 4)})
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("view_0.npy", header.getvalue() + bytes(1000))
        with pytest.raises(DataError, match="announces 34359738368 bytes and holds 1000"):
            FeatureViews(path=path, **FEW).prepare_data()
        # A directory entry that lies about the size of what is inside.
        content = bytearray(path.read_bytes())
        place = content.rindex(b"PK\x01\x02")
        content[place + 24 : place + 28] = struct.pack("<I", 500)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"bomb\.npz"):
            FeatureViews(path=path, **FEW).prepare_data()

    def test_a_compressed_mat_that_expands_beyond_what_it_announces(self, tmp_path: Path) -> None:
        file = write_mat5(tmp_path, views(), labels())
        content = bytearray(file.read_bytes())
        size = struct.unpack("<I", content[132:136])[0]
        inner = bytearray(zlib.decompress(content[136 : 136 + size]))
        packed = zlib.compress(bytes(inner) + bytes(1 << 20))
        file.write_bytes(bytes(content[:132]) + struct.pack("<I", len(packed)) + packed)
        with pytest.raises(DataError, match="expands beyond the"):
            FeatureViews(path=file, **FEW).prepare_data()

    def test_hdf5_that_points_elsewhere_or_claims_too_much(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.h5"
        with h5py.File(secret, "w") as file:
            file["X"] = np.ones((3, 3))
        (tmp_path / "raw").write_bytes(bytes(72))
        for name in ("link", "external", "huge"):
            path = tmp_path / f"{name}.mat"
            with h5py.File(path, "w") as file:
                if name == "link":
                    file["X"] = h5py.ExternalLink(str(secret), "X")
                elif name == "external":
                    file.create_dataset("X", (3, 3), "f8", external=[(str(tmp_path / "raw"), 0, 72)])
                else:
                    file.create_dataset("X", (1 << 20, 1 << 20), "f8", chunks=(1024, 1024))
            with pytest.raises(DataError, match=r"is no array of this file|kept in other files|would expand from 0"):
                FeatureViews(path=path, **FEW).prepare_data()

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("none.npz", None, "no such file or folder"),
            ("text.npz", b"hello", "damaged, or no .npz file"),
            ("text.mat", b"hello", "not a MATLAB file"),
            ("views.csv", b"1,2", "neither an .npz nor a .mat file"),
        ],
    )
    def test_files_of_other_kinds(self, name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            FeatureViews(path=tmp_path / name, **FEW).prepare_data()

    def test_views_have_to_be_numbered_from_zero(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "gap.npz", view_0=views()[0], view_2=views()[1])
        with pytest.raises(DataError, match="view_0, view_1 and so on, each once; found"):
            FeatureViews(path=tmp_path / "gap.npz", **FEW).prepare_data()
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="view_0, view_1 and so on"):
            FeatureViews(path=tmp_path / "empty", **FEW).prepare_data()

    @pytest.mark.parametrize("kind", ["npz", "folder", "mat of version 5", "mat of version 7.3"])
    def test_without_permission(self, kind: str, tmp_path: Path) -> None:
        """Root may read everything, so root becomes nobody meanwhile."""
        path = WRITERS[kind](tmp_path, views(), labels())
        path.chmod(0)
        data = FeatureViews(path=path, **FEW)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(DataError, match=r"cannot be read|no such file"):
                data.prepare_data()
        finally:
            if is_root:
                os.seteuid(0)
            path.chmod(0o700)

    @pytest.mark.parametrize("settings", [{"scaling": "loud"}, {"orientation": "sideways"}])
    def test_unknown_settings(self, settings: dict[str, str], tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is not one of"):
            FeatureViews(path=tmp_path, **settings)
