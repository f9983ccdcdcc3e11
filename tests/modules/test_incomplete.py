"""Samples that do not have all views: fused from what is there, attacked where they have something."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ar_dmvc.attacks import PGD, GeneratorAttack, UniformNoise
from ar_dmvc.clusterers import AECoDDC, Clusterer, CoMVC, ProductOfExperts, SiMVC
from ar_dmvc.clusterers.loading import BUILT_IN
from ar_dmvc.data.datamodule import there_at_random
from ar_dmvc.errors import ConfigurationError, DataError
from ar_dmvc.losses import contrastive_alignment, contrastive_terms, reconstruction_error
from ar_dmvc.modules import GANAttacker, RobustDefender, VictimClusterer
from ar_dmvc.networks import Generator, WeightedMean
from tests.modules.test_modules import FewDigits, trainer

SHAPES = [(1, 8, 8)] * 2
ABLE = [SiMVC, CoMVC, AECoDDC, ProductOfExperts]
MASK = torch.tensor([[True, True], [True, False], [False, True], [True, True], [True, True], [False, True]])


def clusterer(kind: type[Clusterer]) -> Clusterer:
    torch.manual_seed(0)
    return kind(SHAPES, num_clusters=10)


def views(samples: int = 6) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.rand(samples, *shape, generator=random) for shape in SHAPES]


class TestMask:
    @given(samples=st.integers(1, 200), number=st.integers(1, 5), rate=st.floats(0, 0.99), seed=st.integers(0, 99))
    def test_every_sample_keeps_a_view_and_the_seed_decides(self, samples: int, number: int, rate: float, seed: int) -> None:
        there = there_at_random(samples, number, rate, seed)
        assert there.shape == (samples, number)
        assert there.any(1).all()
        assert torch.equal(there, there_at_random(samples, number, rate, seed))

    def test_the_rate_is_the_share_that_is_missing(self) -> None:
        assert float(there_at_random(20_000, 5, 0.2, 7).float().mean()) == pytest.approx(0.8, abs=0.01)

    def test_batches_have_it_and_nothing_where_it_is_not(self) -> None:
        data = FewDigits(missing_rate=0.4)
        for batch in data.train_dataloader():
            assert torch.equal(batch.mask, data.data.mask[batch.index])
            for view, there in zip(batch.views, batch.mask.unbind(1), strict=True):
                assert (view[~there] == 0).all()
                assert (view[there].flatten(1).amax(1) > 0).all()

    @pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
    def test_impossible_rates_are_said(self, rate: float) -> None:
        with pytest.raises(DataError, match="missing_rate"):
            FewDigits(missing_rate=rate)


class TestClusterers:
    @pytest.mark.parametrize("kind", ABLE)
    @pytest.mark.parametrize("training", [False, True])
    def test_what_is_not_there_does_not_matter(self, kind: type[Clusterer], training: bool) -> None:
        one, other = clusterer(kind).train(training), clusterer(kind).train(training)
        batch = views()
        spoilt = [
            torch.where(there[:, None, None, None], view, 77.0) for view, there in zip(batch, MASK.unbind(1), strict=True)
        ]
        output, again = one(batch, MASK), other(spoilt, MASK)
        torch.testing.assert_close(output.assignments, again.assignments)
        torch.testing.assert_close(sum(one.losses(batch, output).values()), sum(other.losses(spoilt, again).values()))
        for value, same in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(value, same)

    @pytest.mark.parametrize("kind", ABLE)
    def test_with_all_views_a_mask_changes_nothing(self, kind: type[Clusterer]) -> None:
        module, batch = clusterer(kind).eval(), views()
        plain, masked = module(batch), module(batch, torch.ones(6, 2, dtype=torch.bool))
        torch.testing.assert_close(plain.assignments, masked.assignments)
        torch.testing.assert_close(module.losses(batch, plain), module.losses(batch, masked))

    def test_a_sample_with_one_view_is_that_view_s_latent(self) -> None:
        module = clusterer(SiMVC).eval()
        output = module(views(), MASK)
        torch.testing.assert_close(output.fused[1], output.latents[0][1])
        torch.testing.assert_close(output.fused[2], output.latents[1][2])
        torch.testing.assert_close(output.fused[0], (output.latents[0][0] + output.latents[1][0]) / 2)

    def test_a_lone_sample_of_a_view_is_no_trouble(self) -> None:
        mask = torch.tensor([[True, False]] * 5 + [[True, True]])
        torch.manual_seed(0)
        module = CoMVC([(5,), (7,)], num_clusters=3).train()
        batch = [torch.rand(6, 5), torch.rand(6, 7)]
        loss = sum(module.losses(batch, module(batch, mask)).values())
        assert torch.isfinite(loss)

    def test_shares_of_fusion_are_those_of_the_views_that_are_there(self) -> None:
        fusion = WeightedMean(3)
        with torch.no_grad():
            fusion.weights.copy_(torch.tensor([2.0, 1.0, 3.0]).log())
        latents = [torch.full((1, 1), float(number)) for number in (1, 10, 100)]
        assert fusion(latents, torch.tensor([[True, False, True]])).item() == pytest.approx((2 * 1 + 3 * 100) / 5)


class TestLosses:
    def test_alignment_is_that_of_the_samples_with_both_views(self) -> None:
        latents = [torch.randn(6, 4) for _ in range(2)]
        both = MASK.all(1)
        masked = contrastive_alignment(latents, mask=MASK)
        torch.testing.assert_close(masked, contrastive_alignment([latent[both] for latent in latents]))
        terms = contrastive_terms(latents, mask=MASK)
        assert (terms[~both] == 0).all()
        assert contrastive_alignment(latents, mask=torch.tensor([[True, False]] * 6)) == 0

    def test_reconstruction_is_that_of_the_views_that_are_there(self) -> None:
        batch, other = views(), [view.flip(0) for view in views()]
        expected = sum(
            (view[there] - again[there]).square().mean()
            for view, again, there in zip(batch, other, MASK.unbind(1), strict=True)
        )
        torch.testing.assert_close(reconstruction_error(batch, other, MASK), expected)


class TestAttacks:
    @pytest.mark.parametrize(
        "attack",
        [
            PGD("assignment_divergence", 0.1, steps=2),
            PGD("contrastive_alignment", 0.1, steps=2),
            PGD("attack_distance", 0.1, steps=2, restarts=2),
            UniformNoise(0.1),
            GeneratorAttack(Generator(SHAPES), 0.1),
        ],
        ids=["divergence", "contrastive", "distance", "noise", "gan"],
    )
    def test_missing_views_are_left_alone(self, attack: PGD) -> None:
        batch = views()
        attacked = attack(clusterer(CoMVC).eval(), batch, mask=MASK)
        for view, other, there in zip(batch, attacked, MASK.unbind(1), strict=True):
            assert torch.equal(view[~there], other[~there])
            assert not torch.equal(view[there], other[there])

    def test_a_clusterer_with_a_mask_is_left_as_it_was(self) -> None:
        module = clusterer(CoMVC).train()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        PGD("attack_distance", 0.1, steps=1)(module, views(), mask=MASK)
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")  # an attacker's victim is
@pytest.mark.parametrize("kind", ABLE)
def test_is_trained_attacked_tested_and_defended(kind: type[Clusterer], tmp_path: Path) -> None:
    data = FewDigits(missing_rate=0.3)
    module = VictimClusterer(clusterer(kind), epsilon=0.1)
    module.schedule.stages, module.schedule.starts = module.schedule.stages[-1:], [0]
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, data)
    assert torch.isfinite(run.callback_metrics["train/loss"])
    run.test(module, data, verbose=False)
    worst, clean = module.report.worst, module.report.scores["clean"]
    assert worst["acc"] <= clean["acc"]
    assert module.report.record.index.tolist() == sorted(data.subset("attacker").indices.tolist())
    attacker = GANAttacker(module.clusterer, epsilon=0.1)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(attacker, FewDigits(missing_rate=0.3, partition="attacker"))
    assert torch.isfinite(run.callback_metrics["train/loss"])
    defender = RobustDefender(clusterer(kind), PGD("assignment_divergence", 0.1, steps=1))
    run = trainer(tmp_path, max_epochs=21 if kind is AECoDDC else 1, limit_train_batches=1)
    run.fit(defender, data)
    assert torch.isfinite(run.callback_metrics["train/loss"])


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN if kind not in ABLE])
def test_the_others_refuse(kind: type[Clusterer], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"which {kind.__name__} does not take; SiMVC, CoMVC, AECoDDC, Product"):
        trainer(tmp_path, max_epochs=1000).fit(VictimClusterer(clusterer(kind)), FewDigits(missing_rate=0.2))
