"""Every victim on views of other kinds: real features of different widths, images of people's size, MNIST's size."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.io import loadmat

from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import Clusterer, MultiVAE
from ar_dmvc.clusterers.loading import BUILT_IN
from ar_dmvc.data import MultiViewData, MultiViewDataModule
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from tests.conftest import SHARED
from tests.modules.test_modules import trainer

FEW = {"limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1, "num_sanity_val_steps": 0}


class Scene15(MultiViewDataModule):
    """Scene-15: 4,485 samples, 15 classes, three views of 20, 59 and 40 features."""

    view_shapes = ((20,), (59,), (40,))
    num_classes = 15

    def load(self) -> MultiViewData:
        path = SHARED / "data" / "Scene-15.mat"
        if not path.is_file():
            pytest.skip(f"{path} is not there; set AR_DMVC_SHARED")
        content = loadmat(path)
        views = [torch.from_numpy(view).float() for view in content["X"].ravel()]
        scaled = [(view - view.amin(0)) / (view.amax(0) - view.amin(0)).clamp(min=1e-12) for view in views]
        return MultiViewData(tuple(scaled), torch.from_numpy(content["Y"].ravel().astype("int64")))


class Images(MultiViewDataModule):
    """Random images."""

    num_classes = 3

    def __init__(self, shape: tuple[int, ...], **settings: Any) -> None:
        super().__init__(batch_size=3, **settings)
        self.shape = shape

    @property
    def view_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.shape,) * 2

    def load(self) -> MultiViewData:
        random = torch.Generator().manual_seed(0)
        views = tuple(torch.rand(6, *self.shape, generator=random) for _ in range(2))
        return MultiViewData(views, torch.arange(6) % 3)


def without_pretraining(kind: type[Clusterer], data: MultiViewDataModule) -> Clusterer:
    torch.manual_seed(0)
    clusterer = kind(data.view_shapes, data.num_clusters)
    arguments = clusterer.description()["init_args"]
    shorter = {name: value for name, value in {"pretraining_epochs": 0, "rounds": 1, "starts": 1}.items() if name in arguments}
    return kind(**{**arguments, **shorter})


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is
@pytest.mark.filterwarnings("ignore:Number of distinct clusters.*")  # two steps may leave all samples in one place
@pytest.mark.parametrize(
    ("kind", "make_data"),
    [
        *(pytest.param(kind, Scene15, id=f"{kind.__name__}-Scene-15") for kind in BUILT_IN),
        *(pytest.param(kind, partial(Images, (1, 28, 28)), id=f"{kind.__name__}-28x28") for kind in BUILT_IN),
        # Slow; this one has both encoders and decoders, which the others share.
        pytest.param(MultiVAE, partial(Images, (3, 128, 64)), id="MultiVAE-3x128x64"),
    ],
)
def test_is_trained_attacked_and_defended(kind: type[Clusterer], make_data: Any, tmp_path: Path) -> None:
    data = make_data()
    module = VictimClusterer(without_pretraining(kind, data))
    run = trainer(tmp_path, max_epochs=1, **FEW)
    run.fit(module, data)
    assert torch.isfinite(run.callback_metrics["train/loss"])
    suite = {"pgd": PGD("assignment_divergence", 0.1, steps=1)}
    attacker = GANAttacker(module.clusterer, epsilon=0.1, attacks=suite)
    run = trainer(tmp_path, max_epochs=1, **FEW)
    run.fit(attacker, make_data(partition="attacker"))
    assert run.callback_metrics["train/attack"] > 0
    run.test(attacker, data, verbose=False)
    assert list(attacker.report.scores) == ["clean", "pgd", "gan"]
    defender = RobustDefender(without_pretraining(kind, data), PGD("attack_distance", 0.1, steps=1))
    run = trainer(tmp_path, max_epochs=1, **FEW)
    run.fit(defender, data)
    assert torch.isfinite(run.callback_metrics["train/loss"])
