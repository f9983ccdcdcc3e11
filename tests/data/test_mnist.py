"""Data sets made of MNIST's and Fashion-MNIST's images, against scikit-image and SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_dilation
from skimage.transform import rescale
from skimage.util import view_as_blocks

from ar_dmvc.data import EdgeFashion, EdgeMNIST, NoisyFashion, NoisyMNIST, PatchedMNIST
from ar_dmvc.data.readers.idx import read_idx
from ar_dmvc.errors import DataError
from tests.conftest import SHARED
from tests.data.test_data import write_mnist


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mnist(tmp_path / "idx", samples=60)


def images(root: Path) -> np.ndarray:
    return read_idx(root / "t10k-images-idx3-ubyte", 3) / 255


def test_patches_are_scikit_image_s(root: Path) -> None:
    data = PatchedMNIST(root=root, splits=["test"], select_views=range(12)).load()
    labels = read_idx(root / "t10k-labels-idx1-ubyte", 1)
    assert data.labels.tolist() == labels[labels < 3].tolist()
    blocks = [view_as_blocks(rescale(image, 4, order=1), (28, 28)) for image in images(root)[labels < 3]]
    whole = np.stack(blocks).reshape(-1, 16, 28, 28)
    kept = [number for number in range(16) if number not in (0, 3, 12, 15)]
    for view, number in zip(data.views, kept, strict=True):
        patch = whole[:, number]
        expected = (patch - patch.min()) / (patch.max() - patch.min())
        np.testing.assert_allclose(view[:, 0].numpy(), expected, atol=1e-6)


def test_patches_to_view_are_selected(root: Path) -> None:
    data = PatchedMNIST(root=root, splits=["test"])
    assert data.view_shapes == ((1, 28, 28),) * 3
    assert data.num_clusters == 3
    every = PatchedMNIST(root=root, splits=["test"], select_views=range(12)).load().views
    assert all(torch.equal(view, every[number]) for view, number in zip(data.load().views, (0, 1, 3), strict=True))
    for odd in ([], [12], [-1]):
        with pytest.raises(DataError, match="select_views must be some of 0 to 11"):
            PatchedMNIST(root=root, select_views=odd)


@pytest.mark.parametrize("kind", [EdgeMNIST, EdgeFashion])
def test_edges_are_scipy_s(kind: type[EdgeMNIST], root: Path) -> None:
    data = kind(root=root, splits=["test"]).load()
    expected = images(root)
    np.testing.assert_allclose(data.views[0][:, 0].numpy(), expected, atol=1e-6)
    edges = np.stack([grey_dilation(image, size=(3, 3)) - image for image in expected])
    np.testing.assert_allclose(data.views[1][:, 0].numpy(), edges, atol=1e-6)


def test_noisy_fashion_is_made_as_noisy_mnist(root: Path) -> None:
    one, other = NoisyFashion(root=root, splits=["test"]), NoisyMNIST(root=root, splits=["test"])
    assert all(torch.equal(*pair) for pair in zip(one.load().views, other.load().views, strict=True))
    assert (one.epsilon, other.epsilon) == (0.15, 0.3)


def test_splits_are_put_together(tmp_path: Path) -> None:
    root = write_mnist(tmp_path, samples=30)
    for stem in ("images-idx3", "labels-idx1"):
        (root / f"train-{stem}-ubyte").write_bytes((root / f"t10k-{stem}-ubyte").read_bytes())
    data = EdgeMNIST(root=root).load()
    assert len(data.labels) == 60
    assert torch.equal(data.views[0][:30], data.views[0][30:])


def test_each_set_has_its_files_and_where_to_get_them() -> None:
    assert NoisyFashion().root == EdgeFashion().root == Path("data/fashion_mnist")
    assert NoisyMNIST().root == PatchedMNIST().root == Path("data/mnist")
    assert NoisyFashion.sha256.keys() == NoisyMNIST.sha256.keys()
    assert not set(NoisyFashion.sha256.values()) & set(NoisyMNIST.sha256.values())
    assert NoisyFashion().mirrors != NoisyMNIST().mirrors


def test_real_images() -> None:
    folder = SHARED / "data"
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"{folder} has no MNIST files; set AR_DMVC_SHARED")
    data = PatchedMNIST(root=folder, splits=["test"]).data
    assert [tuple(view.shape) for view in data.views] == [(980 + 1135 + 1032, 1, 28, 28)] * 3
    # In the upper row of patches digits only reach the lower edge.
    assert data.views[0][:, :, 14:].mean() > data.views[0][:, :, :14].mean()
