"""``python -m benchmarks.small_sets``: does depth pay on small public sets? The estimator's defaults, baselines beside them.

Four sets that packages ship: scikit-learn's digits as two views and its breast cancer features as three, Scene-15 (its
``.mat``), and UCI multiple features (an ``.npz``, docs/data.md). Appends a row to a CSV for each clustering, and does those
that are missing; then prints the table. mvlearn's two clusterers are measured where it can be imported; its k-means takes two
views, the first ones.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import normalized_mutual_info_score

from ar_dmvc import MultiViewClustering
from ar_dmvc.data import Digits, FeatureViews, MultiViewDataModule
from ar_dmvc.metrics import ClusterAccuracy

BASELINES = ("KMeans", "SpectralClustering")
SHORTER: dict[str, dict[str, Any]] = {
    "SEM": {"epochs": 100, "clusterer_settings": {"pretraining_epochs": 25, "round_epochs": 25}},
}
"""A quarter of the published epochs, as in configs/benchmark/digits_victims.yaml."""
DEEP = ("SiMVC", "CoMVC", "EAMC", "MultiVAE", "AECoDDC", "InfoDDC", "SEM")
Views = list[np.ndarray]


def arrays(data: MultiViewDataModule) -> tuple[Views, np.ndarray]:
    """All samples of a data set, raw views and labels."""
    data.prepare_data()
    data.setup("predict")
    batches = list(data.predict_dataloader())
    views = [np.concatenate([batch.views[number].numpy() for batch in batches]) for number in range(len(data.view_shapes))]
    return views, np.concatenate([batch.labels.numpy() for batch in batches])


def breast_cancer() -> tuple[Views, np.ndarray]:
    """Mean, standard error and worst value of ten measurements: three views of ten features."""
    loaded = load_breast_cancer()
    return [loaded.data[:, first : first + 10] for first in (0, 10, 20)], loaded.target


def methods() -> dict[str, Callable[[Views, int, int], np.ndarray]]:
    """By name: views, number of clusters and seed to clusters."""
    found: dict[str, Callable[[Views, int, int], np.ndarray]] = {}
    try:
        from mvlearn.cluster import MultiviewKMeans, MultiviewSpectralClustering
    except ImportError:
        print("mvlearn is not installed: its clusterers are left out")
    else:

        def scaled(views: Views) -> Views:
            """To [0, 1], as the estimator does."""
            flat = [view.reshape(len(view), -1) for view in views]
            return [(view - view.min(0)) / np.maximum(np.ptp(view, axis=0), 1e-9) for view in flat]

        def k_means(views: Views, count: int, seed: int) -> np.ndarray:
            return MultiviewKMeans(count, random_state=seed).fit_predict(scaled(views)[:2])

        def spectral(views: Views, count: int, seed: int) -> np.ndarray:
            return MultiviewSpectralClustering(count, random_state=seed).fit_predict(scaled(views))

        found |= {"mvlearn k-means": k_means, "mvlearn spectral": spectral}
    for name in (*BASELINES, *DEEP):
        found[name] = lambda views, count, seed, name=name: MultiViewClustering(
            count, clusterer=name, random_state=seed, accelerator="cpu", **SHORTER.get(name, {})
        ).fit_predict(views)
    return found


def accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """The share of samples that are right when clusters are matched with classes."""
    from torch import as_tensor

    metric = ClusterAccuracy()
    metric.update(as_tensor(clusters).long(), as_tensor(labels).long())
    return float(metric.compute())


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """ACC / NMI, mean and standard deviation over seeds, and seconds; a row a method, a column a data set."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    groups = defaultdict(list)
    for row in rows:
        groups[row["method"], row["data"]].append(row)
    yield "| clusterer | " + " | ".join(sets) + " |"
    yield "| --- " * (1 + len(sets)) + "|"
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for name in sets:
            there = groups[method, name]
            values = [[float(row[key]) for row in there] for key in ("acc", "nmi")]
            spread = [
                f"{mean(value):.2f}±{stdev(value) if len(value) > 1 else 0:.2f}".replace("±0.", "±.")
                for value in values
                if value
            ]
            cells.append(" / ".join(spread) + f" ({mean(float(row['seconds']) for row in there):.0f} s)" if there else "-")
        yield f"| {method} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.small_sets", description=__doc__)
    parser.add_argument("--scene-15", type=Path, help="Scene-15.mat")
    parser.add_argument("--mfeat", type=Path, help="mfeat.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", help="those alone, by the names of the table")
    parser.add_argument("--output", type=Path, default=Path("runs/small_sets.csv"))
    settings = parser.parse_args()
    warnings.filterwarnings("ignore")
    sets: dict[str, Callable[[], tuple[Views, np.ndarray]]] = {
        "digits": lambda: arrays(Digits()),
        "breast cancer": breast_cancer,
    }
    for name, path in (("mfeat", settings.mfeat), ("Scene-15", settings.scene_15)):
        if path is not None:
            sets[name] = lambda path=path: arrays(FeatureViews(str(path), scaling="none"))
    rows = list(csv.DictReader(settings.output.open())) if settings.output.exists() else []
    done = {(row["data"], row["method"], int(row["seed"])) for row in rows}
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(settings.seeds):
        for data, load in sets.items():
            views, labels = load()
            for method, cluster in methods().items():
                if (data, method, seed) in done or (settings.methods and method not in settings.methods):
                    continue
                begun = time.perf_counter()
                clusters = cluster(views, len(np.unique(labels)), seed)
                row = {
                    "data": data,
                    "method": method,
                    "seed": seed,
                    "acc": round(accuracy(labels, clusters), 4),
                    "nmi": round(float(normalized_mutual_info_score(labels, clusters)), 4),
                    "seconds": round(time.perf_counter() - begun, 1),
                }
                with settings.output.open("a") as file:
                    writer = csv.DictWriter(file, row)
                    if not rows:
                        writer.writeheader()
                    writer.writerow(row)
                rows.append(row)
                print(row, flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
