"""A frozen clusterer behind networks that clean its views."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import PGD
from ar_dmvc.checkpoint import build, read_checkpoint
from ar_dmvc.clusterers import SEM, Clusterer, CoMVC, MultiVAE, Purified, SiMVC
from ar_dmvc.data import Digits
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.modules import VictimClusterer
from tests.conftest import QUIET, Outcome, fit_arguments
from tests.modules.test_teaching import StopsAfterOneEpoch

Call = Callable[..., Outcome]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "digits": [(1, 8, 8)] * 2,
    "uneven": [(1, 25, 19), (3, 25, 19)],
    "features": [(20,), (59,)],
}


def random_views(shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
    return [torch.rand(5, *shape, generator=torch.Generator().manual_seed(1)) for shape in shapes]


def stirred(purified: Purified) -> Purified:
    """With denoising networks that do something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in purified.denoisers.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return purified


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_a_fresh_one_is_the_clusterer_and_any_other_that_of_cleaned_views(shapes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    clusterer, views = SiMVC(shapes, 3).eval(), random_views(shapes)
    purified = Purified(shapes, 3, clusterer).eval()
    assert torch.equal(purified(views).assignments, clusterer(views).assignments)
    stirred(purified)
    cleaned = purified.purify(views)
    assert [view.shape for view in cleaned] == [view.shape for view in views]
    assert not any(torch.equal(view, other) for view, other in zip(views, cleaned, strict=True))
    assert torch.equal(purified(views).hidden, clusterer(cleaned).hidden)


@pytest.mark.parametrize("kind", [CoMVC, SEM, MultiVAE])
def test_training_leaves_the_clusterer_as_it_is_and_attacks_see_through_both(kind: type[Clusterer]) -> None:
    torch.manual_seed(0)
    shapes = SHAPES["digits"]
    clusterer, views = kind(shapes, 3).eval(), random_views(shapes)
    with torch.no_grad():
        clusterer.fit_clusters([views], final=False)
    purified = stirred(Purified(shapes, 3, clusterer).train())
    before = clusterer(views)
    attacked = [view.clone().requires_grad_() for view in views]
    purified(attacked).assignments[:, 0].sum().backward()
    assert all(view.grad is not None and view.grad.abs().max() > 0 for view in attacked)
    assert all(parameter.grad is not None for parameter in purified.denoisers.parameters())
    assert purified.protected is not None
    assert all(parameter.grad is None for parameter in purified.protected.parameters())
    assert torch.equal(purified.protected(views).assignments, before.assignments)
    attack = PGD("cross_entropy", 0.1)
    through, around = (attack(target, views) for target in (purified, purified.protected))
    assert not torch.equal(through[0], around[0])


def test_views_that_are_missing_count_for_nothing() -> None:
    shapes = SHAPES["digits"]
    purified = stirred(Purified(shapes, 3, SiMVC(shapes, 3))).eval()
    views, mask = random_views(shapes), torch.tensor([[True, True], [True, False]] * 2 + [[False, True]])
    other = [torch.where(there.view(-1, 1, 1, 1), view, 0.3) for view, there in zip(views, mask.unbind(1), strict=True)]
    assert torch.equal(purified(views, mask).assignments, purified(other, mask).assignments)
    assert not Purified(shapes, 3, MultiVAE(shapes, 3)).takes_incomplete


def test_a_checkpoint_keeps_the_clusterer_and_names_known_classes_alone() -> None:
    shapes = SHAPES["features"]
    purified = Purified(shapes, 3, CoMVC(shapes, 3, temperature=0.7))
    description: dict[str, Any] = purified.description()
    again = build(description, [Purified, CoMVC], "it")
    assert again.description() == description
    assert again.protected.temperature == 0.7
    again.load_state_dict(purified.state_dict())
    with pytest.raises(CheckpointError, match=r"made from class 'ar_dmvc\.clusterers\.CoMVC', which is not among"):
        build(description, [Purified, SiMVC], "it")
    description["init_args"]["protected"]["class_path"] = "os.system"
    with pytest.raises(CheckpointError, match=r"made from class 'os\.system', which is not among"):
        build(description, [Purified, CoMVC], "it")
    for _ in range(2000):
        description = {"class_path": "ar_dmvc.clusterers.Purified", "init_args": {"protected": description}}
    with pytest.raises(CheckpointError, match="cannot be made from the arguments kept in it"):
        build(description, [Purified, CoMVC], "it")


def test_wrong_use_is_said() -> None:
    with pytest.raises(ConfigurationError, match="Purified has no clusterer to protect"):
        VictimClusterer(Purified(SHAPES["digits"], 3)).clusterer(random_views(SHAPES["digits"]))
    with pytest.raises(ValueError, match="protected: takes views of shapes"):
        Purified(SHAPES["digits"], 3, SiMVC(SHAPES["features"], 3))


def test_one_command_trains_it_and_its_checkpoint_does_without_the_teacher(victim: Path, ardmvc: Call, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.ckpt"
    teacher.write_bytes(victim.read_bytes())
    few = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.max_epochs=2")
    arguments = [*fit_arguments("defenders/purified.yaml", "data/digits.yaml"), f"--model.teacher={teacher}", *few]
    for more in ([f"--trainer.callbacks+={StopsAfterOneEpoch.__module__}.StopsAfterOneEpoch"], ["--ckpt_path=last"], []):
        outcome = ardmvc(*arguments, *more)
        assert outcome.code == 0, outcome.err
    stopped, resumed, whole = (tmp_path / f"runs/purified/version_{number}/checkpoints/last.ckpt" for number in range(3))
    states = [read_checkpoint(path)["state_dict"] for path in (stopped, resumed, whole)]
    for name, value in states[2].items():
        assert torch.equal(value, states[1][name]), name
    assert not torch.equal(states[0]["clusterer.denoisers.0.first.weight"], states[2]["clusterer.denoisers.0.first.weight"])
    teacher.unlink()
    purified, protected = load_clusterer(whole), load_clusterer(victim)
    assert isinstance(purified, Purified)
    assert purified.protected is not None
    views = next(iter(Digits(batch_size=20).test_dataloader())).views
    assert torch.equal(purified.protected(views).assignments, protected(views).assignments)
    for command in ("test", "predict"):
        outcome = ardmvc(
            command, f"--ckpt_path={whole}", f"--trainer.limit_{command}_batches=1", "--data.batch_size=20", *QUIET
        )
        assert outcome.code == 0, outcome.err
