"""Clusterers without a network, to see whether depth pays: clusters are found once, on all features as they are."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput, TrainingViews, check_positive
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import k_means
from ar_dmvc.seeding import numpy_generator

_FEWEST = 1e-12


class NearestCentre(Clusterer):
    """Base of the baselines: assigns samples to centres in the space of all views' features, concatenated.

    Features are standardised by mean and variance of the training part. Assignments are a softmax over negative squared
    distances, divided by the mean squared distance of a training sample to its centre, so that attacks have a gradient.
    Latents are the views' features, the hidden representation is all of them. What training steps minimise is that distance;
    the clusters themselves are found at the end of an epoch, so one is enough.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        standardise: bring each feature to mean zero and variance one; False leaves them as they are.
        starts: starts of k-means, at least one.
        seed: of k-means and of samples drawn.

    Raises:
        ValueError: a value out of range.
    """

    number_of_views: ClassVar[int | None] = None
    """That it takes; None: any."""

    offset: Tensor
    factor: Tensor
    softness: Tensor

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        standardise: bool = True,
        starts: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        check_positive(starts=starts)
        if self.number_of_views not in (None, len(self.view_shapes)):
            raise ValueError(f"{type(self).__name__} takes {self.number_of_views} views, got {len(self.view_shapes)}")
        self.standardise = standardise
        self.starts = starts
        self.seed = seed
        self.widths = [torch.Size(shape).numel() for shape in self.view_shapes]
        features = sum(self.widths)
        self.centres = nn.Parameter(torch.zeros(num_clusters, features))
        self.register_buffer("offset", torch.zeros(features))
        self.register_buffer("factor", torch.ones(features))
        self.register_buffer("softness", torch.ones(()))

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), all of which the samples have."""
        self.check_complete(mask)
        features = (_flat(views) - self.offset) * self.factor
        assignments = (-self._squared_distances(features) / self.softness).softmax(1)
        return ClustererOutput(tuple(torch.split(features, self.widths, 1)), features, features, assignments)

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The mean squared distance of a sample to its centre."""
        return {"distance": self._squared_distances(output.fused).amin(1).mean()}

    def fit_clusters(self, training_views: TrainingViews, final: bool) -> None:
        """Find the centres of the training part."""
        features = torch.cat([_flat(views) for views in training_views])
        if self.standardise:
            mean, spread = features.double().mean(0), features.double().std(0, correction=0)
            self.offset.copy_(mean)
            self.factor.copy_(torch.where(spread > _FEWEST, 1 / spread.clamp(min=_FEWEST), 1.0))
        features = (features - self.offset) * self.factor
        self.centres.copy_(self.find_centres(features, final))
        self.softness.copy_(self._squared_distances(features).amin(1).mean().clamp(min=_FEWEST))

    @abstractmethod
    def find_centres(self, features: Tensor, final: bool) -> Tensor:
        """The centres (K, D) of all features of the training part, (N, D); see :meth:`Clusterer.fit_clusters`."""

    def _squared_distances(self, features: Tensor) -> Tensor:
        """Of features (N, D) from the centres, (N, K)."""
        products = features @ self.centres.T
        squared = features.square().sum(1, keepdim=True) - 2 * products + self.centres.square().sum(1)
        return squared.clamp(min=0)


class KMeans(NearestCentre):
    """k-means on all views' features, concatenated; mini-batch k-means beyond 10,000 samples. See :class:`NearestCentre`."""

    def find_centres(self, features: Tensor, final: bool) -> Tensor:
        """Those of the best of several starts."""
        return k_means(features, self.num_clusters, self.starts if final else 1, self.seed)


class SpectralClustering(NearestCentre):
    """Spectral clustering on the mean of the views' affinities, each the graph of a sample's nearest neighbours.

    New samples, and those of the training part, go to the nearest of the clusters' means: see :class:`NearestCentre`.

    Source: von Luxburg, "A tutorial on spectral clustering", Statistics and Computing, 2007; the mean of views' graphs as in
    Zhou & Burges, "Spectral clustering and transductive learning with multiple views", ICML 2007.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        neighbours: of a sample in each view's graph, itself counted, at least two.
        samples: of the training part that the graph is of, drawn at random where there are more.
        standardise: bring each feature to mean zero and variance one; False leaves them as they are.
        starts: starts of k-means, at least one.
        seed: of k-means and of samples drawn.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        neighbours: int = 10,
        samples: int = 5000,
        standardise: bool = True,
        starts: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters, standardise, starts, seed)
        check_positive(samples=samples)
        if neighbours < 2:
            raise ValueError(f"neighbours must be at least 2, as a sample is its own first, got {neighbours}")
        self.neighbours = neighbours
        self.samples = samples

    def find_centres(self, features: Tensor, final: bool) -> Tensor:
        """The means of the clusters."""
        from sklearn import cluster, neighbors
        from threadpoolctl import threadpool_limits

        if len(features) > self.samples:
            chosen = numpy_generator(self.seed).choice(len(features), self.samples, replace=False)
            features = features[torch.from_numpy(chosen).to(features.device)]
        count = min(self.neighbours, len(features) - 1)
        views = torch.split(features.float().cpu(), self.widths, 1)
        with (
            threadpool_limits(limits=1),
            warnings.catch_warnings(),
        ):  # several would add up in an order of their own in each run
            graphs = [neighbors.kneighbors_graph(view.numpy(), count, include_self=True) for view in views]
            affinity = sum(graph + graph.T for graph in graphs) / (2 * len(graphs))
            # Of a graph in several parts, each is a cluster: nothing to warn of.
            warnings.filterwarnings("ignore", message="Graph is not fully connected")
            found = cluster.SpectralClustering(
                self.num_clusters, affinity="precomputed", n_init=self.starts, random_state=self.seed, assign_labels="kmeans"
            ).fit_predict(affinity)
        return _means(features, found, self.num_clusters)


class MultiViewKMeans(NearestCentre):
    """mvlearn's multi-view k-means, where that is installed: co-EM of two views. See :class:`NearestCentre`.

    New samples, and those of the training part, go to the nearest of the clusters' means.

    Source: Bickel & Scheffer, "Multi-view clustering", ICDM 2004, as ``mvlearn.cluster.MultiviewKMeans`` has it.

    Raises:
        ValueError: not two views, or a value out of range.
    """

    number_of_views = 2

    def find_centres(self, features: Tensor, final: bool) -> Tensor:
        """The means of the clusters.

        Raises:
            ConfigurationError: mvlearn is not installed.
        """
        try:
            from mvlearn.cluster import MultiviewKMeans
        except ImportError as error:
            raise ConfigurationError(
                "MultiViewKMeans needs mvlearn, whose bounds on packages are old: pip install --no-deps mvlearn seaborn"
            ) from error
        views = [view.double().cpu().numpy() for view in torch.split(features, self.widths, 1)]
        theirs = MultiviewKMeans(self.num_clusters, n_init=self.starts if final else 1, random_state=self.seed)
        with warnings.catch_warnings():  # an empty cluster is given a sample below
            warnings.filterwarnings("ignore", message="Number of distinct cluster")
            found = theirs.fit_predict(views)
        return _means(features, found, self.num_clusters)


def _means(features: Tensor, clusters: NDArray[Any], count: int) -> Tensor:
    """The means (K, D) of clusters (N,) of features (N, D); of an empty one, the sample that is farthest from its own."""
    labels = torch.from_numpy(clusters).to(features.device).long()
    members = torch.nn.functional.one_hot(labels, count).to(features.dtype)
    centres = (members.T @ features) / members.sum(0).clamp(min=1)[:, None]
    distances = (features - centres[labels]).square().sum(1)
    for empty in (members.sum(0) == 0).nonzero()[:, 0]:  # else it would have the origin, where no sample need be
        farthest = distances.argmax()
        centres[empty], distances[farthest] = features[farthest], 0
    return centres


def _flat(views: Sequence[Tensor]) -> Tensor:
    return torch.cat([view.flatten(1) for view in views], 1)
