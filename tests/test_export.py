"""What is exported computes what the checkpoint does, for raw views in batches of any size, without this package."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ar_dmvc import MultiViewClustering, load_clusterer
from ar_dmvc.checkpoint import write_checkpoint
from ar_dmvc.clusterers import Clusterer, CoMVC, Purified, Smoothed
from ar_dmvc.clusterers.loading import BASELINES, BUILT_IN
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.export import export
from tests.conftest import Outcome

SHAPES = [(1, 8, 8), (1, 8, 8)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is deprecated"),  # torch's own use of its onnx parts
]


def checkpoint_of(clusterer: Clusterer, path: Path) -> Path:
    state = {f"clusterer.{name}": value for name, value in clusterer.state_dict().items()}
    write_checkpoint({"clusterer": clusterer.description(), "state_dict": state}, path)
    return path


def run(path: Path, views: tuple[torch.Tensor, ...]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["assignments"], {f"raw_view_{number}": view.numpy() for number, view in enumerate(views)})[0]


@pytest.mark.parametrize("kind", [*BUILT_IN, *BASELINES])
def test_every_clusterer(kind: type[Clusterer], tmp_path: Path) -> None:
    torch.manual_seed(0)
    clusterer = kind(SHAPES, 4).eval()
    if isinstance(clusterer, BASELINES):
        torch.nn.init.normal_(clusterer.centres)
    checkpoint = checkpoint_of(clusterer, tmp_path / "it.ckpt")
    assert export(checkpoint, tmp_path / "it.onnx") <= 1e-5
    views = tuple(torch.rand(13, *shape) for shape in SHAPES)
    with torch.no_grad():
        np.testing.assert_allclose(run(tmp_path / "it.onnx", views), clusterer(views).assignments, atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_wrapped_ones(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inner = CoMVC(SHAPES, 4)
    purified = Purified(SHAPES, 4)
    purified.learn_from(inner)
    assert export(checkpoint_of(purified.eval(), tmp_path / "it.ckpt"), tmp_path / "it", form) <= 1e-5


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_smoothed_ones_with_noise_that_stays(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inner = CoMVC(SHAPES, 4).eval()
    checkpoint = checkpoint_of(inner, tmp_path / "it.ckpt")
    assert export(checkpoint, tmp_path / "it", form, sigma=0.25, draws=7) <= 1e-5
    smoothed = checkpoint_of(Smoothed(inner, 0.25, draws=7), tmp_path / "smoothed.ckpt")
    assert export(smoothed, tmp_path / "same", form) <= 1e-5
    views = tuple(torch.rand(5, *shape) for shape in SHAPES)
    if form == "onnx":
        made = run(tmp_path / "it", views)
        np.testing.assert_allclose(made, run(tmp_path / "same", views), atol=1e-6)
        np.testing.assert_allclose(made[3:], run(tmp_path / "it", tuple(view[3:] for view in views)), atol=1e-6)
        export(checkpoint, tmp_path / "many", sigma=0.25, draws=2000)
        with torch.no_grad():
            expected = Smoothed(inner, 0.25, draws=2000)(views).assignments
        np.testing.assert_allclose(run(tmp_path / "many", views), expected, atol=0.02)


def test_views_that_may_leave_the_box_are_not_smoothed(tmp_path: Path) -> None:
    views = [np.random.default_rng(0).normal(size=(60, 5)), np.random.default_rng(1).normal(size=(60, 3))]
    for scaling in ("standardise", "unit_length", "none"):
        model = MultiViewClustering(n_clusters=3, clusterer="KMeans", scaling=scaling, random_state=0).fit(views)
        model.save(tmp_path / "mine.ckpt")
        with pytest.raises(ConfigurationError, match=r"sigma: noisy views are clipped to \[0, 1\]"):
            export(tmp_path / "mine.ckpt", tmp_path / "mine.onnx", sigma=0.1)
    with pytest.raises(ValueError, match="sigma must be positive and finite"):
        export(checkpoint_of(CoMVC(SHAPES, 4), tmp_path / "it.ckpt"), tmp_path / "mine.onnx", sigma=float("inf"))
    with pytest.raises(ConfigurationError, match="is a folder; give a file"):
        export(tmp_path / "it.ckpt", tmp_path)
    assert not (tmp_path / "mine.onnx").exists()


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_a_random_part_is_found_wherever_it_is(sigma: float | None, tmp_path: Path) -> None:
    purified = Purified(SHAPES, 4)
    purified.learn_from(Smoothed(CoMVC(SHAPES, 4), 0.1))
    assert purified.is_stochastic
    with pytest.raises(ConfigurationError, match=r"output of (Purified|Smoothed) is random"):
        export(checkpoint_of(purified, tmp_path / "it.ckpt"), tmp_path / "it.onnx", sigma=sigma)


def test_raw_views_are_scaled_as_in_training(tmp_path: Path) -> None:
    """And a program of torch.export needs nothing of this package."""
    generator = np.random.default_rng(0)
    views = [generator.normal(50, 9, (60, 5)), generator.normal(-3, 0.1, (60, 3))]
    model = MultiViewClustering(n_clusters=3, clusterer="SiMVC", epochs=1, random_state=0, accelerator="cpu").fit(views)
    model.save(tmp_path / "mine.ckpt")
    given = tuple(torch.from_numpy(view).float() for view in views)
    for form in ("onnx", "torch_export"):
        export(tmp_path / "mine.ckpt", tmp_path / form, form)
    np.testing.assert_allclose(run(tmp_path / "onnx", given), model.predict_proba(views), atol=1e-5)
    np.savez(tmp_path / "views.npz", *given)
    code = (
        "import sys, numpy, torch\n"
        "views = [torch.from_numpy(view) for view in numpy.load('views.npz').values()]\n"
        "numpy.save('out.npy', torch.export.load('torch_export').module()(*views).detach().numpy())\n"
        "assert not any(name.startswith('ar_dmvc') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.predict_proba(views), atol=1e-5)


def test_a_large_offset_takes_double_precision(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    near = [generator.normal(0, 9, (60, 5)), generator.normal(0, 9, (60, 3))]
    far = [near[0] + 1_600_000_000, near[1]]
    model = MultiViewClustering(n_clusters=3, clusterer="SiMVC", epochs=1, random_state=0, accelerator="cpu").fit(far)
    model.save(tmp_path / "mine.ckpt")
    export(tmp_path / "mine.ckpt", tmp_path / "mine.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "mine.onnx", providers=["CPUExecutionProvider"])
    assert [value.type for value in session.get_inputs()] == ["tensor(double)", "tensor(float)"]
    made = session.run(["assignments"], {"raw_view_0": far[0], "raw_view_1": far[1].astype(np.float32)})[0]
    np.testing.assert_allclose(made, model.predict_proba(far), atol=1e-5)
    same = MultiViewClustering(n_clusters=3, clusterer="SiMVC", epochs=1, random_state=0, accelerator="cpu").fit(near)
    np.testing.assert_allclose(same.predict_proba(near), model.predict_proba(far), atol=1e-4)


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_rows_of_nan_are_missing_views_where_the_clusterer_takes_that(form: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    views = [generator.normal(50, 9, (60, 5)).astype(np.float32), generator.normal(-3, 1, (60, 3)).astype(np.float32)]
    views[0][::7] = np.nan
    views[1][3::7] = np.nan
    model = MultiViewClustering(n_clusters=3, epochs=1, random_state=0, accelerator="cpu").fit(views)
    model.save(tmp_path / "mine.ckpt")
    export(tmp_path / "mine.ckpt", tmp_path / "mine", form)
    given = tuple(torch.from_numpy(view) for view in views)
    with torch.no_grad():
        made = run(tmp_path / "mine", given) if form == "onnx" else _program(tmp_path / "mine")(*given).numpy()
    np.testing.assert_allclose(made, model.predict_proba(views), atol=1e-5)


def _program(path: Path) -> torch.nn.Module:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def test_from_the_command_line(victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = ardmvc("export", f"--ckpt_path={victim}", "--output=mine.onnx")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("mine.onnx: raw views in, assignments out; the same as the checkpoint's to ")
    views = tuple(torch.rand(3, 1, 8, 8) for _ in range(2))
    with torch.no_grad():
        expected = load_clusterer(victim)(views).assignments
    np.testing.assert_allclose(run(tmp_path / "mine.onnx", views), expected, atol=1e-5)
    for wrong, error in (("--format=tf", "one of"), ("--ckpt_path=none.ckpt", "none.ckpt: no such checkpoint")):
        right = [] if "ckpt_path" in wrong else [f"--ckpt_path={victim}"]
        outcome = ardmvc("export", *right, "--output=other.onnx", wrong)
        assert outcome.code in (1, 2)
        assert error in outcome.err
    outcome = ardmvc("export", f"--ckpt_path={victim}", "--output=nowhere/other.onnx")
    assert "output: nowhere: no such folder" in outcome.err
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["mine.onnx"]
    assert not list(tmp_path.glob(".*"))


def test_hostile_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "it.ckpt").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    with pytest.raises(CheckpointError):
        export(tmp_path / "it.ckpt", tmp_path / "it.onnx")
