"""Clusterers without a network find what scikit-learn does, and the rest of the package takes them as any other."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import cluster, preprocessing
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import PGD
from ar_dmvc.clusterers import KMeans, MultiViewKMeans, SpectralClustering
from ar_dmvc.clusterers.baselines import NearestCentre
from ar_dmvc.data import Digits
from ar_dmvc.errors import ConfigurationError
from tests.conftest import CONFIGS, QUIET

Views = tuple[torch.Tensor, ...]


@pytest.fixture(scope="module")
def digits() -> Views:
    """Two views of 400 digits: the upper half, and the whole image turned on its side."""
    pixels = torch.from_numpy(load_digits().images[:400]).float() / 16
    return pixels[:, :4].flatten(1), pixels[:, None].transpose(2, 3)


def fitted(kind: type[NearestCentre], views: Views, clusters: int, **settings: object) -> NearestCentre:
    made = kind([view.shape[1:] for view in views], clusters, **settings).eval()
    with torch.no_grad():
        made.fit_clusters([[view[:100] for view in views], [view[100:] for view in views]], final=True)
    return made


def clusters_of(clusterer: NearestCentre, views: Views) -> np.ndarray:
    with torch.no_grad():
        return clusterer(views).assignments.argmax(1).numpy()


@pytest.mark.parametrize("standardise", [True, False])
def test_k_means_is_that_of_scikit_learn(digits: Views, standardise: bool) -> None:
    features = torch.cat([view.flatten(1) for view in digits], 1).numpy()
    if standardise:
        features = preprocessing.StandardScaler().fit_transform(features)
    expected = cluster.KMeans(10, n_init=10, random_state=0).fit_predict(features)
    assert adjusted_rand_score(expected, clusters_of(fitted(KMeans, digits, 10, standardise=standardise), digits)) > 0.99


def test_spectral_clustering_finds_what_k_means_does_not() -> None:
    data = Digits().data
    k_means, spectral = (
        normalized_mutual_info_score(data.labels, clusters_of(fitted(kind, data.views, 10), data.views))
        for kind in (KMeans, SpectralClustering)
    )
    assert spectral > k_means + 0.05


@pytest.mark.parametrize("kind", [KMeans, SpectralClustering])
class TestBaselines:
    def test_the_order_of_samples_and_views_changes_nothing(self, kind: type[NearestCentre], digits: Views) -> None:
        order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
        one = clusters_of(fitted(kind, digits, 3), digits)
        other = tuple(view[order] for view in digits[::-1])
        assert adjusted_rand_score(one[order.numpy()], clusters_of(fitted(kind, other, 3), other)) > 0.97

    def test_the_scale_of_a_feature_changes_nothing(self, kind: type[NearestCentre], digits: Views) -> None:
        other = (digits[0] * 7 - 3, digits[1] / 9)
        one, two = (clusters_of(fitted(kind, views, 3), views) for views in (digits, other))
        assert adjusted_rand_score(one, two) > 0.97

    def test_attacks_have_a_gradient_and_keep_within_their_budget(self, kind: type[NearestCentre], digits: Views) -> None:
        clusterer = fitted(kind, digits, 10)
        attacked = PGD("cross_entropy", 0.03, steps=10)(clusterer, digits)
        moved = clusters_of(clusterer, attacked) != clusters_of(clusterer, digits)
        noise = tuple((view + 0.03 * torch.randn_like(view).sign()).clamp(0, 1) for view in digits)
        assert moved.mean() > 2 * (clusters_of(clusterer, noise) != clusters_of(clusterer, digits)).mean()
        assert all(float((a - b).abs().max()) <= 0.03 + 1e-6 for a, b in zip(attacked, digits, strict=True))

    def test_impossible_settings_are_refused(self, kind: type[NearestCentre]) -> None:
        with pytest.raises(ValueError, match="starts must be positive"):
            kind([(3,)], 2, starts=0)


def test_more_samples_than_the_graph_takes_are_drawn(digits: Views) -> None:
    whole, part = (fitted(SpectralClustering, digits, 3, samples=samples) for samples in (5000, 300))
    assert not torch.equal(whole.centres, part.centres)
    assert torch.equal(part.centres, fitted(SpectralClustering, digits, 3, samples=300).centres)


@pytest.mark.filterwarnings("ignore:Number of distinct cluster")  # mvlearn's own of an empty one
def test_multi_view_k_means_is_mvlearn_s(digits: Views) -> None:
    mvlearn = pytest.importorskip("mvlearn.cluster", reason="mvlearn is installed by hand")
    ours = fitted(MultiViewKMeans, digits, 10, standardise=False)
    views = [view.flatten(1).double().numpy() for view in digits]
    theirs = mvlearn.MultiviewKMeans(10, n_init=10, random_state=0).fit_predict(views)
    assert adjusted_rand_score(theirs, clusters_of(ours, digits)) > 0.8  # the nearest means are not its own centres


def test_what_it_needs_is_said(digits: Views) -> None:
    with pytest.raises(ValueError, match="takes 2 views, got 1"):
        MultiViewKMeans([(1, 8, 8)], 10)
    if find_spec("mvlearn") is None:
        with pytest.raises(ConfigurationError, match="pip install --no-deps mvlearn"):
            fitted(MultiViewKMeans, digits, 10)


@pytest.mark.parametrize(("name", "kind"), [("kmeans", KMeans), ("spectral", SpectralClustering)])
def test_it_is_fitted_tested_taught_and_loaded_like_any_other(name: str, kind: type, ardmvc, tmp_path: Path) -> None:
    outcome = ardmvc("fit", f"--config={CONFIGS}/victims/{name}.yaml", f"--config={CONFIGS}/data/digits.yaml", *QUIET)
    assert outcome.code == 0, outcome.err
    checkpoint = tmp_path / "runs" / name / "version_0" / "checkpoints" / "last.ckpt"
    assert isinstance(load_clusterer(checkpoint), kind)
    outcome = ardmvc("test", f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1", "--card", *QUIET)
    assert outcome.code == 0, outcome.err
    assert "apgd_cross_entropy" in outcome.out
    card = (tmp_path / "runs/test/version_0/MODEL_CARD.md").read_text()
    assert checkpoint.with_suffix(".md").read_text() == card
    assert "* trained on: Digits, partition victim of 1797 samples" in card
    assert "* views: 1 x 8 x 8, 1 x 8 x 8" in card
    assert f"# {kind.__name__} on Digits" in card
    assert "Digits; licence: CC BY 4.0" in card
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]
    robust = ["fit", f"--config={CONFIGS}/defenders/robust.yaml", f"--config={CONFIGS}/data/digits.yaml"]
    outcome = ardmvc(*robust, f"--model.teacher={checkpoint}", "--seed_everything=3", *few)
    assert outcome.code == 0, outcome.err
    student = tmp_path / "runs/robust/version_0/checkpoints/last.ckpt"
    outcome = ardmvc("test", f"--ckpt_path={student}", "--trainer.limit_test_batches=1", "--card", "--model.attacks={}", *QUIET)
    assert outcome.code == 0, outcome.err
    card = student.with_suffix(".md").read_text()
    noisy = ardmvc("test", f"--ckpt_path={student}", "--card", "--sigma=0.1", *QUIET)
    assert noisy.code == 1
    assert "error: card: it is of what load_clusterer gives, without noise" in noisy.err
    for fact in (
        "* epochs: 1",
        "* seed: 3",
        "* inner attack: PGD(objective=cross_entropy, ",
        "* inner budget: at most 2.0 times the data's",
        f"* teacher: {kind.__name__}",
    ):
        assert fact in card
