"""That half precision changes little: losses, directions of attacks, gradients of every optimiser."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch.nn.functional import cosine_similarity

from ar_dmvc.attacks import PGD, perturb_with
from ar_dmvc.attacks.objectives import OBJECTIVES
from ar_dmvc.callbacks.prediction import PredictionWriter
from ar_dmvc.clusterers import EAMC, SEM, AECoDDC, Clusterer, CoMVC, InfoDDC, MultiVAE, SiMVC
from ar_dmvc.modules.base import ClustererModule
from tests.modules.test_distributed import MAKE
from tests.modules.test_modules import FewDigits, trainer
from tests.modules.test_training import small

ALL = [SiMVC, CoMVC, EAMC, MultiVAE, AECoDDC, InfoDDC, SEM]
HALF = {torch.bfloat16: 0.02, torch.float16: 0.003}

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is


def clusterer(kind: type[Clusterer]) -> Clusterer:
    made = small(kind).train()
    if hasattr(made, "clusters"):
        made.clusters.centres.normal_(std=0.1)
    return made


def views() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.rand(40, 1, 8, 8, generator=random) for _ in range(2)]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("kind", ALL)
class TestClusterers:
    def test_every_loss_is_near_that_in_single_precision(self, kind: type[Clusterer], dtype: torch.dtype) -> None:
        made = clusterer(kind)
        expected = made.losses(views(), made(views()))
        with torch.autocast("cpu", dtype):
            terms = made.losses(views(), made(views()))
        for name, term in terms.items():
            assert term.dtype == torch.float32
            torch.testing.assert_close(term, expected[name], rtol=HALF[dtype], atol=HALF[dtype] / 10, msg=name)

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_attacks_take_nearly_the_same_direction(self, kind: type[Clusterer], objective: Any, dtype: torch.dtype) -> None:
        made = clusterer(kind)
        if not OBJECTIVES[objective].applies(made):
            pytest.skip("does not apply")
        if objective == "margin" and dtype == torch.bfloat16:
            pytest.skip("of an untrained clusterer's nearly equal clusters, rounding says which is second")
        attack = PGD(objective, 0.1, step_size=0.1, steps=1)
        start = attack.random_start(views())
        expected = attack(made, views(), start)
        with torch.autocast("cpu", dtype):
            attacked = attack(made, views(), start)
        same = [(one == other).float().mean() for one, other in zip(attacked, expected, strict=True)]
        assert min(same) > (0.85 if dtype == torch.bfloat16 else 0.95)


class FirstGradients(Callback):
    """Keeps the gradients of each optimiser's first step, as the optimiser gets them."""

    def __init__(self) -> None:
        self.gradients: dict[int, torch.Tensor] = {}

    def on_before_optimizer_step(self, _: object, module: ClustererModule, optimizer: torch.optim.Optimizer) -> None:
        own = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.gradients.setdefault(id(optimizer), torch.cat(own).clone())


def first_gradients(module: ClustererModule, folder: Path, **settings: Any) -> list[torch.Tensor]:
    keep = FirstGradients()
    trainer(folder, max_steps=1, max_epochs=None, limit_val_batches=0, callbacks=[keep], **settings).fit(
        module, FewDigits(batch_size=30)
    )
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    return list(keep.gradients.values())


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("kind", [CoMVC, EAMC])
def test_every_optimiser_gets_gradients_that_are_not_scaled_any_more(kind: type[Clusterer], what: str, tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    mixed = first_gradients(MAKE[what](kind), tmp_path, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    single = first_gradients(MAKE[what](kind), tmp_path)
    assert len(mixed) == len(single) == (1 if kind is CoMVC and what != "attacker" else 2)
    for gradient, expected in zip(mixed, single, strict=True):
        assert float(cosine_similarity(gradient, expected, dim=0)) > 0.6
        assert float(gradient.norm() / expected.norm()) == pytest.approx(1, abs=0.5)


def test_a_discriminator_that_is_wrong_and_sure_keeps_its_gradient() -> None:
    made = clusterer(EAMC)
    with torch.no_grad():
        made.discriminators[0][-2].bias.fill_(7)
    with torch.autocast("cpu", torch.bfloat16):
        made.discriminator_losses(views(), made(views()))["discriminator"].backward()
    assert made.discriminators[0][-2].bias.grad.abs() > 0.5


def test_losses_of_the_attacker_are_in_single_precision() -> None:
    module = MAKE["attacker"](CoMVC)
    with torch.autocast("cpu", torch.bfloat16):
        perturbed = perturb_with(module.generator, views(), module.gan.threat)
        terms = [module.discriminator_loss(views(), perturbed.views)]
        terms += module.generator_losses(views(), perturbed.perturbations, perturbed.views)
    assert {term.dtype for term in terms} == {torch.float32}


def test_predictions_in_half_precision_are_written(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    trainer(tmp_path, precision="bf16-mixed", callbacks=[writer]).predict(MAKE["victim"](CoMVC), FewDigits())
    assert (tmp_path / "predictions.csv").is_file()
