"""Other samples of the same clusters: of what they are made, and of what they are not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ar_dmvc.defences import GaussianNoise, WithinCluster

CLUSTERS = torch.tensor([0, 1, 0, 2, 1, 0, 0, 1])


def views(number: int = 2) -> list[torch.Tensor]:
    """Of each sample its position, a tenth per view more."""
    return [torch.arange(len(CLUSTERS)).double()[:, None].expand(-1, 3) + view / 10 for view in range(number)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 99), number=st.integers(1, 3))
def test_exchanged_views_are_those_of_the_cluster_in_another_order(seed: int, number: int) -> None:
    batch = views(number)
    first, *others = WithinCluster(mix=0).augment(batch, None, CLUSTERS, generator(seed))
    assert torch.equal(first, batch[0])
    for other, view in zip(others, batch[1:], strict=True):
        for cluster in range(3):
            members = cluster == CLUSTERS
            assert torch.equal(other[members].sort(0).values, view[members])


@given(seed=st.integers(0, 99), mix=st.floats(0.01, 1))
def test_mixed_views_lie_between_two_of_the_cluster(seed: int, mix: float) -> None:
    batch = views()
    for mixed, view in zip(WithinCluster(0, mix).augment(batch, None, CLUSTERS, generator(seed)), batch, strict=True):
        assert torch.equal(mixed[3], view[3])  # alone in its cluster
        for sample, cluster in enumerate(CLUSTERS):
            members = view[cluster == CLUSTERS]
            assert members.amin() - 1e-9 <= mixed[sample].amin()
            assert mixed[sample].amax() <= members.amax() + 1e-9
            assert (mixed[sample] - view[sample]).abs().amax() <= mix * (members.amax() - members.amin()) + 1e-9


def test_the_share_that_is_exchanged_is_the_one_asked_for() -> None:
    clusters = torch.zeros(4000, dtype=torch.int64)
    view = torch.arange(4000.0)[:, None]
    _, other = WithinCluster(exchange=0.3, mix=0).augment([view, view], None, clusters, generator())
    assert float((other != view).float().mean()) == pytest.approx(0.3, abs=0.03)


def test_what_a_sample_lacks_goes_nowhere() -> None:
    mask = torch.ones(len(CLUSTERS), 2, dtype=torch.bool)
    mask[0, 1] = mask[1, 0] = False
    batch = [torch.where(there[:, None], view, torch.nan) for view, there in zip(views(), mask.unbind(1), strict=True)]
    for seed in range(20):
        changed = WithinCluster().augment(batch, mask, CLUSTERS, generator(seed))
        for view, there in zip(changed, mask.unbind(1), strict=True):
            assert torch.isfinite(view[there]).all()


def test_noise_has_the_deviation_asked_for_and_stays_in_the_box() -> None:
    views = [torch.full((500, 40), 0.5), torch.rand(500, 40, generator=generator())]
    first, second = GaussianNoise(0.1).augment(views, None, torch.zeros(500), generator(1))
    assert float((first - views[0]).std()) == pytest.approx(0.1, rel=0.03)
    assert second.min() == 0
    assert second.max() == 1
    with pytest.raises(ValueError, match="sigma must be positive"):
        GaussianNoise(0.0)


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"exchange and mix must be in \[0, 1\], got 1.0 and 1.5"):
        WithinCluster(mix=1.5)
