"""Damaged files: valid data or a clear error, never another exception, a hang, or memory beyond what the file announces.

``make fuzz`` runs many more cases (AR_DMVC_FUZZ=N, for each kind of file).
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_dmvc.data import FeatureViews
from ar_dmvc.data.readers import read_idx
from ar_dmvc.errors import DataError
from tests.conftest import SHARED
from tests.data.test_data import write_idx
from tests.data.test_feature_views import WRITERS, labels, views, write_mat5

CASES = int(os.environ.get("AR_DMVC_FUZZ", "25"))
FEW = {"batch_size": 2, "num_clusters": 2, "keep_constant": True}
ROOM = 1 << 30

pytestmark = pytest.mark.filterwarnings("ignore")  # SciPy warns of what it finds odd in a damaged file; errors are what counts
fuzz = settings(max_examples=CASES, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=20_000)


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Room for a gigabyte beyond what is used, so that a file cannot ask for more unnoticed."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def damage(content: bytes, data: st.DataObject) -> bytes:
    """Cut, flip bits, repeat or drop a stretch."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        if not changed:
            break
        place = data.draw(st.integers(0, len(changed) - 1))
        if data.draw(st.booleans()):  # headers are where it hurts
            place %= min(len(changed), 700)
        kind = data.draw(st.sampled_from(["cut", "flip", "byte", "drop", "repeat"]))
        if kind == "cut":
            del changed[place:]
        elif kind == "flip":
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            changed[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
        elif kind == "drop":
            del changed[place : place + data.draw(st.integers(1, 64))]
        else:
            changed[place:place] = changed[place : place + data.draw(st.integers(1, 64))]
    return bytes(changed)


def valid_or_said(path: Path) -> bool:
    try:
        data = FeatureViews(path=path, **FEW)
        data.prepare_data()
        batch = data.subset("all").batch(torch.arange(2))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017  either outcome is right
    else:
        assert all(torch.isfinite(view).all() and view.dtype == torch.float32 for view in batch.views)
    return True


@pytest.mark.parametrize("kind", ["npz", "mat of version 5", "mat of version 5, a column", "mat of version 7.3"])
@fuzz
@given(data=st.data())
def test_files_of_feature_views(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / ("original.npz" if kind == "npz" else "original.mat")
    if not path.is_file():
        WRITERS[kind](tmp_path, views(), labels()).rename(path)
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(damage(path.read_bytes(), data))
    assert valid_or_said(damaged)


@fuzz
@given(data=st.data())
def test_folders(data: st.DataObject, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if not folder.is_dir():
        WRITERS["folder"](tmp_path, views(), labels())
    file = folder / f"{data.draw(st.sampled_from(['view_0', 'view_1', 'labels']))}.npy"
    whole = file.read_bytes()
    try:
        file.write_bytes(damage(whole, data))
        assert valid_or_said(folder)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@fuzz
@given(data=st.data())
def test_idx_files(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    path = write_idx(tmp_path / f"x{suffix}", np.arange(120).reshape(5, 4, 6))
    path.write_bytes(damage(path.read_bytes(), data))
    try:
        assert read_idx(path, 3).ndim == 3
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  either outcome is right


@fuzz
@given(data=st.data())
def test_real_file(data: st.DataObject, tmp_path: Path) -> None:
    path = SHARED / "data" / "Scene-15.mat"
    whole = path.read_bytes() if path.is_file() else write_mat5(tmp_path, views(), labels()).read_bytes()
    damaged = tmp_path / "damaged.mat"
    damaged.write_bytes(damage(whole, data))
    assert valid_or_said(damaged)
