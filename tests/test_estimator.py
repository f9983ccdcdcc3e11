"""The estimator keeps scikit-learn's conventions, takes views as users have them, and shares checkpoints with the command."""

import csv
import os
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score, make_scorer, normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_clustering, parametrize_with_checks

from ar_dmvc import MultiViewClustering, load_clusterer
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.errors import CheckpointError
from tests.conftest import CONFIGS, QUIET, Outcome
from tests.toys import Mine

Call = Callable[..., Outcome]
Views = list[np.ndarray]
ONE_CLUSTER = "the check asks for a single cluster, of which there is nothing to find"

pytestmark = pytest.mark.slow


def estimator(**settings: Any) -> MultiViewClustering:
    usual = {"n_clusters": 10, "clusterer": "KMeans", "random_state": 0, "accelerator": "cpu"}
    return MultiViewClustering(**{**usual, **settings})


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return load_digits().data[:300]


@pytest.fixture(scope="module")
def views(matrix: np.ndarray) -> Views:
    """Upper and lower half of 300 digits."""
    return [matrix[:, :32], matrix[:, 32:]]


def expected_failures(model: MultiViewClustering) -> dict[str, str]:
    checks = ("dont_overwrite_parameters", "methods_subset_invariance", "fit2d_1feature", "fit2d_predict1d")
    failures = {f"check_{name}": ONE_CLUSTER for name in checks}
    return failures if model.epochs is None else {**failures, "check_clustering": "one epoch finds no blobs; more do, below"}


@parametrize_with_checks(
    [estimator(n_clusters=3), estimator(n_clusters=3, clusterer="SiMVC", epochs=1)], expected_failed_checks=expected_failures
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # some checks have samples that are all the same
def test_scikit_learn_s_own_checks(estimator: object, check: Callable[[object], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("readonly", [False, True])
def test_networks_find_blobs(readonly: bool) -> None:
    check_clustering("SiMVC", estimator(clusterer="SiMVC", epochs=20), readonly_memmap=readonly)


class TestViews:
    def test_a_list_is_the_matrix_that_is_divided(self, matrix: np.ndarray, views: Views) -> None:
        one = estimator().fit(views)
        two = estimator(view_sizes=[32, 32]).fit(matrix)
        assert np.array_equal(one.labels_, two.labels_)
        assert one.n_features_in_ == two.n_features_in_ == 64
        assert np.array_equal(one.predict_proba(views), two.predict_proba(matrix))
        assert one.transform(views).shape == (300, 64)

    def test_images_tensors_and_frames_are_taken(self, matrix: np.ndarray) -> None:
        pandas = pytest.importorskip("pandas")
        images = torch.from_numpy(matrix.reshape(-1, 1, 8, 8))
        labels = estimator().fit_predict([images, pandas.DataFrame(matrix)])
        assert np.array_equal(labels, estimator().fit_predict([images.numpy(), matrix]))

    def test_scaled_views_in_place_of_raw_ones_are_doubted(self, matrix: np.ndarray) -> None:
        model = estimator().fit([matrix])
        with pytest.warns(UserWarning, match=r"view 0: .*; is it raw\?"):
            model.predict([matrix / 16])

    def test_a_standardised_view_is_told_from_a_raw_one(self, matrix: np.ndarray, tmp_path: Path) -> None:
        model = estimator(scaling="standardise").fit([matrix + 1_000])
        model.save(tmp_path / "mine.ckpt")
        clusterer = load_clusterer(tmp_path / "mine.ckpt")
        raw = torch.from_numpy(matrix + 1_000)
        clusterer(clusterer.scaled([raw]))
        with pytest.raises(ValueError, match=r"view 0 is not standardised, .*: give clusterer.scaled\(views\)"):
            clusterer([raw.float()])

    def test_rows_of_nan_and_a_mask_are_missing_views(self, views: Views) -> None:
        there = np.ones((300, 2), bool)
        there[::7, 1] = False
        gaps = [views[0], np.where(there[:, 1:], views[1], np.nan)]
        model = estimator(clusterer="SiMVC", epochs=1).fit(gaps)
        assert np.array_equal(model.labels_, estimator(clusterer="SiMVC", epochs=1).fit_predict(views, mask=there))
        assert np.array_equal(model.predict(views, mask=there), model.predict(gaps))
        with pytest.raises(ValueError, match="KMeans does not take"):
            estimator(epochs=1).fit(gaps)

    def test_a_mask_reaches_what_is_fitted_and_transformed_at_once(self, views: Views) -> None:
        there = np.ones((300, 2), bool)
        there[:200, 0] = False
        hidden = [np.where(there[:, :1], views[0], 9), views[1]]
        made = estimator(clusterer="SiMVC", epochs=1).fit_transform(hidden, mask=there)
        again = estimator(clusterer="SiMVC", epochs=1).fit(hidden, mask=there)
        assert np.array_equal(made, again.transform(hidden, mask=there))
        assert not np.array_equal(made, again.transform(hidden))

    def test_a_view_that_no_sample_has_is_said(self, views: Views) -> None:
        with pytest.raises(ValueError, match="view 0: no sample of the training part has it"):
            estimator(clusterer="SiMVC", epochs=1).fit([views[0] * np.nan, views[1]])

    def test_another_default_precision_changes_nothing(self, views: Views) -> None:
        made = []
        for precision in (torch.float32, torch.float64):
            torch.set_default_dtype(precision)
            try:
                model = estimator(epochs=1, defence="robust").fit(views)
                made.append((model.predict_proba(views), model.robustness([view[:5] for view in views], suite="standard")))
                assert torch.get_default_dtype() == precision
            finally:
                torch.set_default_dtype(torch.float32)
        np.testing.assert_allclose(made[0][0], made[1][0], atol=1e-5)
        np.testing.assert_array_equal(made[0][1], made[1][1])

    def test_columns_and_rows_of_frames_have_to_be_those_of_the_fit(self, views: Views) -> None:
        pandas = pytest.importorskip("pandas")
        frames = [pandas.DataFrame(view).add_prefix(f"v{number}_") for number, view in enumerate(views)]
        model = estimator().fit(frames)
        assert np.array_equal(model.predict(frames), model.predict(views))
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict([frames[0][frames[0].columns[::-1]], frames[1]])
        with pytest.raises(ValueError, match="different indices"):
            model.predict([frames[0], frames[1][::-1]])

    def test_few_digits_of_a_model_that_needs_many_are_doubted(self, matrix: np.ndarray) -> None:
        far = matrix + 1e9
        model = estimator().fit([far])
        assert np.array_equal(model.predict([far]), model.labels_)
        with pytest.warns(UserWarning, match="view 0: it is in single precision"):
            model.predict([far.astype(np.float32)])

    def test_tensors_of_any_type_and_modes_of_torch(self, matrix: np.ndarray) -> None:
        with torch.inference_mode():
            model = estimator(clusterer="SiMVC", epochs=1).fit([torch.from_numpy(matrix).bfloat16()])
        assert np.array_equal(model.predict([matrix]), model.labels_)  # whole numbers up to 16

    @pytest.mark.parametrize(
        ("spoil", "error"),
        [
            (lambda a, b: [a, b[:-1]], "inconsistent numbers of samples"),
            (lambda a, b: [a[:1], b[:1]], "n_samples=1"),
            (lambda a, b: [a[:9], b[:9]], "n_samples=9 should be >= n_clusters=10"),
            (lambda a, b: [a, np.full(b.shape, "a")], "could not convert string to float"),
            (lambda a, b: [a, np.where(b == b.max(), np.nan, b)], "contains NaN in view 1"),
            (
                lambda a, b: [np.where(a == a.max(), np.inf, a), b],
                "contains infinity or a value too large for float32",
            ),
            (lambda a, b: [a * np.nan, b * np.nan], "every sample needs at least one of its views"),
            (lambda a, b: [a[:, :0], b], "0 feature"),
            (lambda a, b: [a, b[:, 0]], r"view 1 is not: a single feature is \(N, 1\)"),
            (lambda a, b: [a[:, 0], b[:, 0]], r"view 0 is not: a single feature is \(N, 1\)"),
            (lambda a, b: {"left": a, "right": b}, r"a list of views, or one matrix, not a dict; give list\(X.values\(\)\)"),
        ],
    )
    def test_what_cannot_be_is_said_in_a_line(self, spoil: Callable[..., Views], error: str, views: Views) -> None:
        with pytest.raises(ValueError, match=error) as raised:
            estimator().fit(spoil(*views))
        assert len(str(raised.value).splitlines()) == 1

    def test_sparse_matrices_are_refused(self, views: Views) -> None:
        with pytest.raises(TypeError, match=r"[Ss]parse"):
            estimator().fit([scipy.sparse.csr_matrix(views[0]), views[1]])

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"n_clusters": 1}, "n_clusters must be an integer of at least 2, got 1"),
            ({"clusterer": "KMean"}, "^clusterer: there is no class KMean"),
            ({"clusterer_settings": {"start": 3}}, "^clusterer_settings: KMeans: .*'start' is not accepted"),
            ({"clusterer": "SEM", "epochs": 1}, r"^epochs = 1 ends before the last stage .*\(clusterer_settings\)"),
            ({"defence": "rubust"}, "defence must be one of .*robust.*, got 'rubust'; did you mean robust?"),
            ({"batch_size": 5}, "batch_size = 5 is smaller than the number of clusters"),
            ({"epsilon": 2.0}, "epsilon must be in"),
            ({"epochs": -1}, "epochs must be None or an integer of at least 1, got -1"),
            ({"batch_size": 0}, "batch_size must be None or an integer of at least 2, got 0"),
            ({"batch_size": 400}, "^X has 300 samples, fewer than a batch"),
            ({"defence": "robust_joint"}, "^KMeans has no network that training under attack could change"),
            ({"clusterer": "comvc"}, "^clusterer: there is no class comvc; did you mean CoMVC"),
            ({"clusterer": "tests.toys.Missing"}, "^clusterer: there is no class tests.toys.Missing"),
            ({"clusterer": "Purified"}, "^clusterer: Purified is made of a clusterer; name that, and set defence='purified'"),
            ({"clusterer_settings": [1]}, r"clusterer_settings must be None or a mapping, got \[1\]"),
            ({"clusterer_settings": {"num_clusters": 5}}, "clusterer_settings: num_clusters is that of n_clusters"),
            ({"scaling": "x"}, "^scaling: one of 'min_max'"),
            ({"scaling": "none", "defence": "robust"}, "fit with scaling='min_max'$"),
            ({"epsilon": "x"}, "epsilon must be a number"),
            ({"random_state": -1}, "random_state must be from 0 to"),
            ({"clusterer": None}, "clusterer must be the name of a clusterer or a class, got None"),
            ({"clusterer": int}, "clusterer must be the name of a clusterer or a class, got <class 'int'>"),
            ({"accelerator": "gpus"}, "accelerator"),
            ({"view_sizes": [31, 33]}, r"view_sizes=\[31, 33\] are not those of X, a list of views"),
        ],
    )
    def test_so_are_settings(self, settings: dict[str, Any], error: str, views: Views) -> None:
        with pytest.raises(ValueError, match=error):
            estimator(**settings).fit(views)

    def test_later_views_have_to_be_like_those_of_the_fit(self, matrix: np.ndarray, views: Views) -> None:
        model = estimator().fit(views)
        with pytest.raises(ValueError, match=r"shapes \[\(31,\), \(32,\)\], but MultiViewClustering was fitted on"):
            model.predict([views[0][:, 1:], views[1]])
        with pytest.raises(NotFittedError):
            estimator().predict(views)
        with pytest.raises(ValueError, match=r"view_sizes=\[32, 31\] do not divide the 64 features"):
            estimator(view_sizes=[32, 31]).fit(matrix)
        for wrong in (64, [32.5, 31.5], "64"):
            with pytest.raises(ValueError, match="view_sizes must be a list of numbers of columns, got"):
                estimator(view_sizes=wrong).fit(matrix)
        with pytest.raises(ValueError, match=r"mask must have the shape \(300, 2\)"):
            model.predict(views, mask=[True])
        with pytest.raises(ValueError, match="mask leaves 300 samples without any view"):
            model.predict(views, mask=np.zeros((300, 2), bool))


class TestConventions:
    def test_the_same_seed_gives_the_same_and_global_state_stays(self, views: Views) -> None:
        def state() -> tuple[object, ...]:
            return (
                os.environ.get("PL_GLOBAL_SEED"),
                random.getstate(),
                np.random.get_state()[1].tolist(),
                torch.random.get_rng_state().tolist(),
            )

        before = state()
        one, two, other = (estimator(clusterer="CoMVC", epochs=1, random_state=seed).fit(views) for seed in (0, 0, 1))
        assert state() == before
        assert np.array_equal(one.predict_proba(views), two.predict_proba(views))
        assert not np.array_equal(one.predict_proba(views), other.predict_proba(views))
        assert one.n_iter_ == 1
        noise = np.random.default_rng(0).random((200, 5))
        found = [estimator(n_clusters=6, random_state=seed).fit_predict(noise) for seed in (0, 0, 1)]
        assert np.array_equal(found[0], found[1])
        assert not np.array_equal(found[0], found[2])

    def test_threads_train_one_at_a_time_and_find_the_same(self, views: Views) -> None:
        models = [estimator(clusterer="CoMVC", epochs=1, random_state=seed) for seed in (0, 1, 2)]
        expected = [clone(model).fit(views).predict_proba(views) for model in models]
        with ThreadPoolExecutor(3) as pool:
            found = [model.predict_proba(views) for model in pool.map(lambda model: model.fit(views), models)]
        assert all(map(np.array_equal, found, expected))

    def test_what_was_found_stays_where_a_later_fit_fails(self, views: Views) -> None:
        model = estimator().fit(views)
        labels = model.labels_
        for wrong in ([views[0][:, 1:]], [views[0][:9], views[1][:9]]):
            with pytest.raises(ValueError, match=r"at least two|n_samples=9"):
                model.set_params(clusterer="CoMVC").fit(wrong)
        assert model.labels_ is labels
        assert np.array_equal(model.predict(views), labels)

    def test_names_of_features(self, matrix: np.ndarray, views: Views) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(matrix).add_prefix("pixel_")
        model = estimator().fit(frame)
        assert list(model.feature_names_in_) == list(frame.columns)
        names = model.get_feature_names_out()
        assert names[:2].tolist() == ["multiviewclustering0", "multiviewclustering1"]
        assert list(model.set_output(transform="pandas").transform(frame).columns) == list(names)
        assert not hasattr(model.fit(views), "feature_names_in_")

    def test_pipelines_searches_and_validation(self, matrix: np.ndarray) -> None:
        labels = load_digits().target[:300]
        model = make_pipeline(MinMaxScaler(), estimator(view_sizes=[32, 32]))
        scorer = make_scorer(adjusted_rand_score)
        assert cross_validate(model, matrix, labels, scoring=scorer, cv=2)["test_score"].min() > 0.4
        search = GridSearchCV(estimator(view_sizes=[32, 32]), {"n_clusters": [2, 10]}, scoring=scorer, cv=2)
        assert search.fit(matrix, labels).best_params_ == {"n_clusters": 10}

    def test_pickles_hold_a_checkpoint_and_clones_nothing(self, views: Views) -> None:
        model = estimator().fit(views)
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.predict(views), model.labels_)
        assert not hasattr(clone(model), "labels_")

    def test_nothing_is_printed_unless_asked_for(self, views: Views, capfd: pytest.CaptureFixture[str]) -> None:
        estimator().fit(views)
        estimator(defence="robust", epochs=1).fit(views)
        assert capfd.readouterr() == ("", "")
        estimator(verbose=True).fit(views)
        assert "epoch 1 of 1" in capfd.readouterr().err


class TestOwnClasses:
    @pytest.mark.parametrize("given", [Mine, "tests.toys.Mine"])
    def test_by_class_and_by_path(self, given: Any, views: Views, tmp_path: Path) -> None:
        model = estimator(clusterer=given, epochs=1).fit(views)
        assert type(model.clusterer_) is Mine
        for again in (pickle.loads(pickle.dumps(model)), clone(model).fit(views)):
            assert np.array_equal(again.predict(views), model.labels_)
        model.save(tmp_path / "mine.ckpt")
        assert np.array_equal(MultiViewClustering.load(tmp_path / "mine.ckpt", [Mine]).predict(views), model.labels_)
        with pytest.raises(CheckpointError, match="Mine"):
            MultiViewClustering.load(tmp_path / "mine.ckpt")

    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")  # after one epoch
    def test_it_teaches(self, views: Views) -> None:
        model = estimator(clusterer=Mine, epochs=1, defence="purified").fit(views)
        assert type(model.clusterer_.protected) is Mine
        assert np.array_equal(clone(model).fit_predict(views), model.labels_)


class TestDefences:
    def test_a_teacher_s_clusters_are_taught(self, views: Views) -> None:
        model = estimator(defence="robust", epochs=6).fit(views)
        assert type(model.clusterer_).__name__ == "SiMVC"
        assert normalized_mutual_info_score(estimator().fit_predict(views), model.labels_) > 0.5

    def test_a_clusterer_is_defended_as_it_is_trained(self, views: Views) -> None:
        model = estimator(defence="ar_dmvc_am", clusterer="CoMVC", epochs=1).fit(views)
        assert type(model.clusterer_).__name__ == "CoMVC"

    def test_published_defences_train_for_the_budget_that_is_given(self, views: Views, tmp_path: Path) -> None:
        estimator(clusterer="CoMVC", defence="ar_dmvc", epsilon=0.05, epochs=1).fit(views).save(tmp_path / "model.ckpt")
        assert MultiViewClustering.load(tmp_path / "model.ckpt").epsilon == 0.05
        attack = read_checkpoint(tmp_path / "model.ckpt")["config"]["model"]["init_args"]["attack"]["init_args"]
        assert attack["epsilon"] == 0.05
        assert attack["step_size"] == pytest.approx(0.005)

    def test_robustness_is_that_of_each_sample(self, views: Views, tmp_path: Path) -> None:
        model = estimator().fit(views)
        few = [view[:40] for view in views]
        kept = {epsilon: model.robustness(few, epsilon, "standard") for epsilon in (1e-6, 0.1, 0.5)}
        assert kept[1e-6].all()
        assert not kept[0.5].any()
        assert 0 < kept[0.1].sum() < 40
        assert np.all(kept[0.1] >= model.robustness(few, 0.1))
        with pytest.raises(ValueError, match="suite must be"):
            model.robustness(few, 0.1, "kind")  # type: ignore[arg-type]
        other = estimator(scaling="standardise").fit(views)
        other.save(tmp_path / "other.ckpt")
        for one in (other, MultiViewClustering.load(tmp_path / "other.ckpt")):
            with pytest.raises(ValueError, match="fit with scaling='min_max'"):
                one.robustness(few, 0.1)


class TestCheckpoints:
    def test_its_own_opens_in_the_command(self, views: Views, ardmvc: Call, tmp_path: Path) -> None:
        model = estimator(clusterer="CoMVC", epochs=1).fit(views)
        model.save(tmp_path / "mine.ckpt")
        np.savez(tmp_path / "new.npz", view_0=views[0], view_1=views[1])
        outcome = ardmvc("predict", "--ckpt_path=mine.ckpt", *QUIET)
        assert "trained on arrays in memory; say on which data, --data.path FILE" in outcome.err
        outcome = ardmvc("predict", "--ckpt_path=mine.ckpt", "--data.path=new.npz", *QUIET)
        assert outcome.code == 0, outcome.err
        with next(tmp_path.glob("runs/predict/*/predictions.csv")).open() as file:
            assert [int(row["cluster"]) for row in csv.DictReader(file)] == model.labels_.tolist()

    def test_the_command_s_opens_in_it(self, views: Views, ardmvc: Call, tmp_path: Path) -> None:
        np.savez(tmp_path / "mine.npz", view_0=views[0], view_1=views[1])
        settings = ["--data=FeatureViews", "--data.path=mine.npz", "--data.num_clusters=10", "--data.keep_constant=true"]
        assert ardmvc("fit", f"--config={CONFIGS}/victims/kmeans.yaml", *settings, *QUIET).code == 0
        checkpoint = tmp_path / "runs/kmeans/version_0/checkpoints/last.ckpt"
        model = MultiViewClustering.load(checkpoint)
        clusterer = load_clusterer(checkpoint)
        expected = clusterer(clusterer.scaled(views)).assignments.argmax(1).detach().numpy()
        assert np.array_equal(model.predict(views), expected)
        assert model.get_params()["clusterer"] == "KMeans"
        assert np.array_equal(model.predict(np.hstack(views)), expected)
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            MultiViewClustering.load(tmp_path / "none.ckpt")
