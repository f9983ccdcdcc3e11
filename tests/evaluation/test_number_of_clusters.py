"""A number of clusters is suggested by how well clusterings repeat."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import make_blobs

from ar_dmvc.evaluation import suggest_n_clusters
from tests.conftest import CONFIGS, Outcome

Views = tuple[torch.Tensor, ...]


@pytest.fixture(scope="module")
def blobs() -> Views:
    """Two views of five clouds of points."""
    points, _ = make_blobs(300, 6, centers=5, cluster_std=1.5, random_state=1)
    return torch.from_numpy(points[:, :3]).float(), torch.from_numpy(points[:, 3:]).float()


@pytest.mark.parametrize("clusterer", ["KMeans", "SpectralClustering"])
def test_clouds_of_points_are_counted(clusterer: str, blobs: Views) -> None:
    found = suggest_n_clusters(blobs, range(2, 9), clusterer, runs=4)
    assert found.n_clusters == 5
    assert found.stability[5].mean > 0.99
    assert found.stability[8].mean < 0.95
    again = suggest_n_clusters([view.flip(1) for view in blobs][::-1], range(2, 9), clusterer, runs=4)
    assert again.n_clusters == 5


def test_what_is_one_cloud_repeats_for_no_number_above_two() -> None:
    noise = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    assert max(value.mean for value in suggest_n_clusters([noise], range(3, 8), "KMeans").stability.values()) < 0.6


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"runs": 1}, "at least 2"),
        ({"candidates": [1, 2]}, "at least 2"),
        ({"share": 0.0}, r"share in \(0, 1"),
        ({"clusterer": "CoMVC"}, "one of KMeans, SpectralClustering, got 'CoMVC'"),
        ({"candidates": [300]}, "240 samples are too few for 300 clusters"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], error: str, blobs: Views) -> None:
    with pytest.raises(ValueError, match=error):
        suggest_n_clusters(blobs, **settings)


def test_five_kinds_of_digits_are_five(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = ardmvc("data", "suggest-clusters", f"{CONFIGS}/data/digits.yaml", "--data.classes=[0,1,2,3,4]", "--most=7")
    assert outcome.code == 0, outcome.err
    assert "Suggested: 5 clusters (--data.num_clusters 5)" in outcome.out
    assert (tmp_path / "clusters.png").read_bytes().startswith(b"\x89PNG")


def test_of_incomplete_samples_those_with_all_views_are_looked_at(ardmvc: Callable[..., Outcome]) -> None:
    few = ("--data.classes=[0,1,2]", "--most=4")
    outcome = ardmvc("data", "suggest-clusters", "Digits", "--data.missing_rate=0.3", *few)
    assert outcome.code == 0, outcome.err
    complete = re.search(r"those (\d+) of 537 samples that have all views", outcome.out)
    assert complete is not None
    assert 0 < int(complete[1]) < 537
    assert re.search(r"Suggested: [234] clusters", outcome.out)
    outcome = ardmvc("data", "suggest-clusters", "Digits", "--data.missing_rate=0.999", *few)
    assert outcome.code == 1
    assert "subsamples of 0 samples are too few for 4 clusters" in outcome.err
