import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from ar_dmvc.data import BatchLoader, MultiViewData, MultiViewDataset
from ar_dmvc.metrics import AdjustedRandIndex, ClusterAccuracy, ClusterPurity, NormalizedMutualInformation, clustering_metrics

Labels = list[int]
labels = st.integers(-4, 4) | st.sampled_from([-(10**9), 10**9, 2**40])
samples = st.lists(st.tuples(labels, labels), min_size=1, max_size=60)


def reference(preds: np.ndarray, target: np.ndarray) -> dict[str, float]:
    table = contingency_matrix(target, preds)
    rows, columns = linear_sum_assignment(table, maximize=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of labels that look continuous
        return {
            "acc": table[rows, columns].sum() / table.sum(),
            "nmi": normalized_mutual_info_score(target, preds),
            "ari": adjusted_rand_score(target, preds),
            "purity": table.max(axis=0).sum() / table.sum(),
        }


def check(pairs: list[tuple[int, int]], result: dict[str, torch.Tensor]) -> None:
    preds, target = np.array(pairs, dtype=np.int64).T
    for name, expected in reference(preds, target).items():
        assert float(result[name]) == pytest.approx(expected, abs=1e-6), name


@given(pairs=samples, batches=st.integers(1, 4))
def test_equal_to_scikit_learn_and_scipy_in_any_batches(pairs: list[tuple[int, int]], batches: int) -> None:
    metrics = clustering_metrics()
    for batch in np.array_split(np.array(pairs, dtype=np.int64), batches):
        if len(batch):
            metrics.update(torch.from_numpy(batch[:, 0]), torch.from_numpy(batch[:, 1]))
    check(pairs, metrics.compute())


@given(pairs=samples)
def test_each_metric_alone_equals_the_collection(pairs: list[tuple[int, int]]) -> None:
    preds, target = torch.tensor(pairs).T
    together = clustering_metrics()
    together.update(preds, target)
    kinds = {"acc": ClusterAccuracy, "nmi": NormalizedMutualInformation, "ari": AdjustedRandIndex, "purity": ClusterPurity}
    for name, kind in kinds.items():
        assert kind()(preds, target) == together.compute()[name]


@given(pairs=samples, seed=st.integers(0, 1000))
def test_renaming_clusters_and_shuffling_samples_change_nothing(pairs: list[tuple[int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    preds, target = np.array(pairs, dtype=np.int64).T
    names, place = np.unique(preds, return_inverse=True)
    order = random.permutation(len(preds))
    renamed = random.permutation(len(names))[place]
    one, other = clustering_metrics(), clustering_metrics()
    one.update(torch.from_numpy(preds.copy()), torch.from_numpy(target.copy()))
    other.update(torch.from_numpy(renamed[order]), torch.from_numpy(target[order]))
    for name, value in one.compute().items():
        assert float(other.compute()[name]) == pytest.approx(float(value), abs=1e-6)


def test_collection_shares_one_state_whose_size_does_not_grow_with_samples() -> None:
    metrics = clustering_metrics()
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        metrics.update(torch.randint(5, (500,), generator=random), torch.randint(3, (500,), generator=random))
    assert len(metrics.compute_groups) == 1
    (cells,) = metrics["acc"].cells
    assert cells.shape == (15, 3)
    assert cells[:, 2].sum() == 20 * 500


def test_reset_forgets() -> None:
    metric = ClusterAccuracy()
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    metric.reset()
    metric.update(torch.tensor([1, 1]), torch.tensor([0, 0]))
    assert metric.compute() == 1


def test_refuses_what_is_no_label() -> None:
    with pytest.raises(ValueError, match="integer labels"):
        ClusterAccuracy().update(torch.tensor([0.5]), torch.tensor([0]))
    with pytest.raises(ValueError, match="one shape"):
        ClusterAccuracy().update(torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"preds: labels from 0 to 3 .* \[0, 3\)"):
        ClusterAccuracy(num_clusters=3).update(torch.tensor([0, 3]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"target: labels from -1"):
        ClusterAccuracy(num_classes=3).update(torch.tensor([0, 3]), torch.tensor([-1, 1]))


def _count_share(rank: int, processes: int, pairs: list[tuple[int, int]], file: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=processes)
    metrics = clustering_metrics()
    clusters, labels = torch.tensor(pairs).unbind(1)
    dataset = MultiViewDataset(MultiViewData((torch.zeros(len(pairs), 1),), labels))
    for batch in BatchLoader(dataset, batch_size=2, process=rank, processes=processes):
        metrics.update(clusters[batch.index], batch.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of the process without samples
        check(pairs, metrics.compute())
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("count", [1, 4, 7, 21], ids=["a process without samples", "even shares", "uneven shares", "more"])
def test_processes_add_up_to_the_whole(count: int, tmp_path: object) -> None:
    pairs = [(index * 7 % 4, index % 3) for index in range(count)]
    work = partial(_count_share, processes=2, pairs=pairs, file=f"{tmp_path}/store")
    # A check that fails in a process raises here.
    processes = torch.multiprocessing.start_processes(work, nprocs=2, start_method="fork", join=False)
    while not processes.join():
        pass
    assert [process.exitcode for process in processes.processes] == [0, 0]
