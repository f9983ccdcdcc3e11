"""Assignments from k-means rather than from a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ar_dmvc.errors import DivergedError


class ClusterCentres(nn.Module):
    """Cluster centres that k-means finds, and soft assignments to them: a softmax over negative squared distances.

    The nearest centre has the largest share, so hard assignments are those of k-means. The centres are buffers, kept in
    checkpoints. Before they are fitted all are zero and all assignments equal.

    Args:
        num_clusters: K.
        features: D, width of what is clustered.
        starts: k-means++ starts of a final fit, at least one; the best is kept.
        seed: of the starts.
        mini_batch_above: number of samples above which mini-batch k-means is used.

    Raises:
        ValueError: fewer than one start, or a negative seed.
    """

    centres: Tensor

    def __init__(
        self, num_clusters: int, features: int, starts: int = 10, seed: int = 0, mini_batch_above: int = 10_000
    ) -> None:
        super().__init__()
        if starts < 1 or seed < 0:
            raise ValueError(f"starts must be at least 1 and seed at least 0, got {starts} and {seed}")
        self.starts = starts
        self.seed = seed
        self.mini_batch_above = mini_batch_above
        self.register_buffer("centres", torch.zeros(num_clusters, features))

    def forward(self, features: Tensor) -> Tensor:
        """Soft assignments (N, K) of what is clustered, (N, D); rows sum to one."""
        differences = features[:, None, :] - self.centres
        return (-differences.square().sum(2)).softmax(1)

    def fit(self, features: Tensor, final: bool = True) -> None:
        """Find the centres of the training part.

        Args:
            features: (N, D), N at least K.
            final: take the best of ``starts`` starts; else one, for a look in between.

        Raises:
            ValueError: fewer samples than clusters.
            DivergedError: there are NaN or infinite values.
        """
        self.centres.copy_(k_means(features, len(self.centres), self.starts if final else 1, self.seed, self.mini_batch_above))


def k_means(features: Tensor, num_clusters: int, starts: int, seed: int, mini_batch_above: int = 10_000) -> Tensor:
    """The centres, (K, D), that k-means finds of features (N, D), N at least K.

    Args:
        features: what is clustered.
        num_clusters: K.
        starts: k-means++ starts, at least one; the best is kept.
        seed: of the starts.
        mini_batch_above: number of samples above which mini-batch k-means is used.

    Raises:
        ValueError: fewer samples than clusters.
        DivergedError: there are NaN or infinite values.
    """
    if not torch.isfinite(features).all():
        raise DivergedError("what is to be clustered is not finite any more; a smaller learning rate may help")
    from sklearn.cluster import KMeans, MiniBatchKMeans  # slow to import, and most runs do without
    from threadpoolctl import threadpool_limits

    kind = MiniBatchKMeans if len(features) > mini_batch_above else KMeans
    found = kind(num_clusters, n_init=starts, random_state=seed)
    # Several threads would add up in an order of their own in each run.
    with threadpool_limits(limits=1):
        found.fit(features.detach().float().cpu().numpy())
    return torch.from_numpy(found.cluster_centers_).to(features.device)
