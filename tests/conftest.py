"""Shared fixtures: golden values, small data, trained checkpoints, the real command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from ar_dmvc.cli import main
from ar_dmvc.clusterers import CoMVC

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs"
NOT_INSTALLED = set() if find_spec("mvlearn") else {"multi_view_kmeans"}
VICTIMS = sorted({path.stem for path in CONFIGS.glob("victims/*.yaml")} - NOT_INSTALLED)
"""Configurations of victims that run here."""
SHARED = Path(os.environ.get("AR_DMVC_SHARED", REPOSITORY.parent / "shared"))

settings.register_profile("tests", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("tests")
torch.set_num_threads(1)


_FIXTURES_THAT_TRAIN = {"ardmvc", "trained", "victim", "attacker"}
_FILES_THAT_TRAIN = {"test_methods", "test_sweeps", "test_scripts", "test_wandb", "test_api", "test_safety", "test_extending"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what trains, or starts processes, which ``make test-quick`` leaves out; what takes longest comes first."""
    for item in items:
        trains = _FIXTURES_THAT_TRAIN & set(getattr(item, "fixturenames", ()))
        if trains or item.path.stem in _FILES_THAT_TRAIN or item.path.parent.name == "modules":
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.stem != "test_site")  # the longest first, lest all wait for them in the end


def load_arrays(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


@pytest.fixture(scope="session", params=["losses_2views", "losses_3views"])
def golden_losses(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    return load_arrays(REPOSITORY / "tests" / "golden" / f"{request.param}.npz")


@pytest.fixture(scope="session")
def golden_step() -> dict[str, torch.Tensor]:
    return load_arrays(REPOSITORY / "tests" / "golden" / "comvc_defender_gan_step.npz")


@pytest.fixture
def golden_comvc(golden_step: dict[str, torch.Tensor]) -> CoMVC:
    """The clusterer of the golden step, in training mode."""
    clusterer = CoMVC([(1, 28, 28)] * 2, num_clusters=10)
    load_parts(clusterer, golden_step, "state.", ("encoder0", "encoders.0"), ("encoder1", "encoders.1"))
    return clusterer.train()


def load_parts(module: torch.nn.Module, arrays: dict[str, torch.Tensor], prefix: str, *renames: tuple[str, str]) -> None:
    """Load golden parameters and buffers into a module; batch counters are not among them."""
    state = {}
    for name, value in arrays.items():
        if name.startswith(prefix):
            key = name.removeprefix(prefix)
            for old, new in renames:
                key = key.replace(old, new)
            state[key] = value
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)


@pytest.fixture
def small_clusterer() -> CoMVC:
    torch.manual_seed(0)
    return CoMVC([(1, 8, 8)] * 2, num_clusters=4, hidden_features=16)


@pytest.fixture
def small_views() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(12, 1, 8, 8, generator=generator) for _ in range(2))


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def ardmvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """The command line, in a folder of the test's own, whose modules no other test sees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield call
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(f"{tmp_path}{os.sep}"):
            del sys.modules[name]


QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu")
ONE_STEP = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
ONE_BATCH = ("--trainer.limit_test_batches=1", "--data.batch_size=10", *QUIET)


def fit_arguments(*configs: str) -> Sequence[str]:
    return ("fit", *(f"--config={CONFIGS / config}" for config in configs), *QUIET)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CoMVC on Digits that has learned: its folder."""
    root = tmp_path_factory.mktemp("trained")
    code = main(
        [
            *fit_arguments("victims/comvc.yaml", "data/digits.yaml"),
            "--trainer.max_epochs=10",
            f"--trainer.logger.save_dir={root}",
        ]
    )
    assert code == 0
    return root / "comvc" / "version_0"


@pytest.fixture(scope="session")
def victim(trained: Path) -> Path:
    """The checkpoint of that run."""
    return trained / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="session")
def attacker(victim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a generator trained against it, briefly."""
    root = tmp_path_factory.mktemp("attacker")
    code = main(
        [
            *fit_arguments("attackers/gan.yaml", "data/digits.yaml"),
            f"--model.victim={victim}",
            "--trainer.max_epochs=2",
            f"--trainer.logger.save_dir={root}",
        ]
    )
    assert code == 0
    return root / "gan" / "version_0" / "checkpoints" / "last.ckpt"
