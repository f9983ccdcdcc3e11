import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ar_dmvc import load_clusterer
from ar_dmvc.clusterers import SEM, Clusterer, ClustererOutput, CoMVC, ProductOfExperts, SiMVC
from ar_dmvc.clusterers.loading import BUILT_IN
from ar_dmvc.errors import CheckpointError

Arrays = dict[str, torch.Tensor]
SHAPES = {
    "digits": [(1, 8, 8)] * 2,
    "mnist": [(1, 28, 28)] * 3,
    "colour": [(3, 32, 32)] * 2,
    "large": [(1, 64, 64)] * 2,
    "people": [(3, 128, 64)] * 2,
    "features of different widths": [(20,), (59,), (40,)],
    "images beside features": [(1, 8, 8), (20,), (1, 28, 28)],
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def random_views(shapes: list[tuple[int, ...]], samples: int = 6) -> list[torch.Tensor]:
    return [torch.rand(samples, *shape, generator=torch.Generator().manual_seed(1)) for shape in shapes]


@pytest.mark.parametrize("kind", BUILT_IN)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_contract(kind: type[Clusterer], shapes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    clusterer = kind(view_shapes=shapes, num_clusters=3)
    views = random_views(shapes)
    output = clusterer(views)
    assert len(output.latents) == len(shapes)
    assert {len(latent) for latent in (*output.latents, output.fused, output.hidden)} == {6}
    assert output.assignments.shape == (6, 3)
    torch.testing.assert_close(output.assignments.sum(1), torch.ones(6))
    terms = clusterer.losses(views, output)
    sum(terms.values()).backward()
    assert all(term.dim() == 0 for term in terms.values())
    assert all(parameter.grad is not None for parameter in clusterer.parameters())


@pytest.mark.parametrize("kind", BUILT_IN)
@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_assignments_do_not_depend_on_the_company_in_evaluation_mode(kind: type[Clusterer], seed: int) -> None:
    torch.manual_seed(seed)
    clusterer = kind([(5,), (7,)], num_clusters=3)
    views = random_views([(5,), (7,)])
    clusterer(views)
    clusterer.eval()
    with torch.no_grad():
        clusterer.fit_clusters([views], final=False)
        whole = clusterer(views)
        alone = clusterer([view[2:3] for view in views])
    torch.testing.assert_close(alone.assignments, whole.assignments[2:3])
    torch.testing.assert_close(alone.hidden, whole.hidden[2:3])


@pytest.mark.parametrize("kind", BUILT_IN)
def test_attacks_find_a_gradient_in_every_output(kind: type[Clusterer]) -> None:
    torch.manual_seed(0)
    clusterer = kind([(1, 8, 8)] * 2, num_clusters=3).eval()
    views = random_views([(1, 8, 8)] * 2)
    with torch.no_grad():
        clusterer.fit_clusters([views], final=False)
    for choose in (lambda output: output.assignments[:, 0], lambda output: output.hidden, lambda output: output.latents[1]):
        attacked = [view.clone().requires_grad_() for view in views]
        gradients = torch.autograd.grad(choose(clusterer(attacked)).square().sum(), attacked, allow_unused=True)
        assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN if kind not in (SiMVC, ProductOfExperts)])
def test_methods_that_relate_views_need_two(kind: type[Clusterer]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} relates views to each other: it needs at least two"):
        kind([(1, 28, 28)], 10)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_one_cluster_is_none(kind: type[Clusterer]) -> None:
    with pytest.raises(ValueError, match="num_clusters must be at least 2, got 1"):
        kind([(1, 28, 28)] * 2, 1)


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN if kind is not SEM])
def test_encoders_and_decoders_that_do_not_fit_are_said(kind: type[Clusterer]) -> None:
    with pytest.raises(ValueError, match="cnn_small uses up images"):
        kind([(1, 8, 8)] * 2, 3, encoder="cnn_small")


def test_clusterer_keeps_its_arguments_however_they_are_given() -> None:
    one = CoMVC([(1, 28, 28)] * 2, 10, temperature=0.5)
    other = CoMVC(view_shapes=[[1, 28, 28], [1, 28, 28]], num_clusters=10, temperature=0.5)
    assert one.description() == other.description() == copy.deepcopy(one).description()
    description = one.description()
    assert description["class_path"] == "ar_dmvc.clusterers.CoMVC"
    assert description["init_args"]["temperature"] == 0.5
    assert description["init_args"]["view_shapes"] == [[1, 28, 28], [1, 28, 28]]


def test_arguments_that_are_handed_on_by_name_are_kept_too() -> None:
    class Handing(CoMVC):
        def __init__(self, view_shapes: list[tuple[int, ...]], num_clusters: int, **settings: float) -> None:
            super().__init__(view_shapes, num_clusters, **settings)

    kept = Handing([(3,), (3,)], 2, temperature=0.7).description()["init_args"]
    assert kept == {"view_shapes": [[3], [3]], "num_clusters": 2, "temperature": 0.7}


def test_arguments_must_be_plain_values() -> None:
    class Odd(SiMVC):
        def __init__(self, view_shapes: list[tuple[int, ...]], num_clusters: int, extra: object) -> None:
            super().__init__(view_shapes, num_clusters)

    with pytest.raises(TypeError, match="plain values"):
        Odd([(3,)], 2, extra=torch.nn.ReLU()).description()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"contrastive_weight": -1.0}, "contrastive_weight must be at least 0"),
        ({"hidden_features": 0}, "hidden_features must be positive"),
        ({"relative_width": float("nan")}, "relative_width must be positive"),
        ({"view_shapes": []}, "at least one view"),
        ({"view_shapes": [(1, 28, 28)]}, "needs at least two"),
        ({"view_shapes": [(1, 28), (1, 28)]}, r"\(features,\) or \(channels, height, width\)"),
        ({"view_shapes": [(1, 4, 4)] * 2}, "at least 8 pixels"),
        ({"view_shapes": [(0,), (3,)]}, "not"),
        ({"encoder": "resnet"}, "'resnet' is not one of auto, cnn_tiny"),
        ({"encoder": "mlp"}, "does not take views of shape"),
        ({"encoder": "cnn_large"}, "uses up images"),
    ],
)
def test_what_cannot_be_clustered_is_said(options: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"view_shapes": [(1, 28, 28)] * 2, "num_clusters": 10, **options}
    with pytest.raises(ValueError, match=message):
        CoMVC(**arguments)


class TestGolden:
    def test_forward_and_losses(self, golden_step: Arrays, golden_comvc: CoMVC) -> None:
        views = [golden_step["view0"], golden_step["view1"]]
        output = golden_comvc(views)
        torch.testing.assert_close(output.hidden, golden_step["clean.hidden"], **CLOSE)
        torch.testing.assert_close(output.assignments, golden_step["clean.assignments"], **CLOSE)
        torch.testing.assert_close(output.fused.norm(dim=1), golden_step["clean.fused_norm"], **CLOSE)
        for view, latent in enumerate(output.latents):
            torch.testing.assert_close(latent.norm(dim=1), golden_step[f"clean.latent{view}_norm"], **CLOSE)
        terms = golden_comvc.losses(views, output)
        for name in ("ddc_separation", "ddc_orthogonality", "ddc_simplex"):
            torch.testing.assert_close(terms[name], golden_step[f"clean.loss_{name}"], **CLOSE)
        torch.testing.assert_close(terms["contrastive"], golden_step["clean.loss_contrastive_weighted_01"], **CLOSE)
        torch.testing.assert_close(sum(terms.values()), golden_step["clean.loss_total"], **CLOSE)


class TestLoading:
    def test_a_checkpoint_alone_is_enough(self, victim: Path) -> None:
        clusterer = load_clusterer(victim)
        assert isinstance(clusterer, CoMVC)
        assert not any(module.training for module in clusterer.modules())
        content = torch.load(victim, weights_only=True)
        for name, value in clusterer.state_dict().items():
            assert torch.equal(value, content["state_dict"][f"clusterer.{name}"])

    def test_of_an_attacker_it_is_the_victim(self, victim: Path, attacker: Path) -> None:
        attacked, original = load_clusterer(attacker), load_clusterer(victim)
        for value, old in zip(attacked.state_dict().values(), original.state_dict().values(), strict=True):
            assert torch.equal(value, old)

    def test_views_that_cannot_have_been_trained_on_unscaled_are_doubted(self, victim: Path) -> None:
        clusterer = load_clusterer(victim)
        views = random_views([(1, 8, 8)] * 2)
        assert torch.equal(clusterer.scaled(views)[1], views[1])
        with pytest.warns(UserWarning, match=r"view 1 has values outside of \[0, 1\]"):
            clusterer.scaled([views[0], 16 * views[1]])

    def test_missing_and_damaged_files_are_said(self, victim: Path, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            load_clusterer(tmp_path / "none.ckpt")
        whole = victim.read_bytes()
        for keep in (0, 10, len(whole) // 2, len(whole) - 100):
            damaged = tmp_path / f"{keep}.ckpt"
            damaged.write_bytes(whole[:keep])
            with pytest.raises(CheckpointError, match=f"{keep}.ckpt"):
                load_clusterer(damaged)

    def test_pickled_code_does_not_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (marker,))

        torch.save({"state_dict": {}, "clusterer": Hostile()}, tmp_path / "evil.ckpt")
        with pytest.raises(CheckpointError, match="never run"):
            load_clusterer(tmp_path / "evil.ckpt")
        assert not marker.exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([1, 2], "no 'state_dict'"),
            ({"weights": {}}, "no 'state_dict'"),
            ({"state_dict": {}}, "does not say which class"),
            ({"state_dict": {}, "clusterer": {"class_path": "os.system", "init_args": {}}}, "not among the allowed"),
            (
                {"state_dict": {}, "clusterer": {"class_path": "ar_dmvc.clusterers.CoMVC", "init_args": {"x": 1}}},
                "cannot be made from the arguments",
            ),
            (
                {
                    "state_dict": {},
                    "clusterer": {
                        "class_path": "ar_dmvc.clusterers.CoMVC",
                        "init_args": {"view_shapes": [[3], [3]], "num_clusters": 2},
                    },
                },
                "do not fit CoMVC",
            ),
        ],
    )
    def test_other_content_is_said(self, content: object, message: str, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(CheckpointError, match=message):
            load_clusterer(tmp_path / "other.ckpt")

    def test_a_class_of_one_s_own_has_to_be_allowed(self, tmp_path: Path) -> None:
        clusterer = Mine([(3,), (3,)], 2)
        state = {f"clusterer.{name}": value for name, value in clusterer.state_dict().items()}
        torch.save({"state_dict": state, "clusterer": clusterer.description()}, tmp_path / "mine.ckpt")
        with pytest.raises(CheckpointError, match="not among the allowed"):
            load_clusterer(tmp_path / "mine.ckpt")
        assert isinstance(load_clusterer(tmp_path / "mine.ckpt", allowed=[Mine]), Mine)


class Mine(SiMVC):
    def losses(self, views: list[torch.Tensor], output: ClustererOutput) -> dict[str, torch.Tensor]:
        return {"mine": output.fused.square().mean()}
