"""SEM: contrastive learning between views that weighs pairs of views by their agreement."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations_with_replacement
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ar_dmvc.clusterers.base import (
    Clusterer,
    ClustererOutput,
    Stage,
    TrainingViews,
    check_not_negative,
    check_positive,
    needs_several_views,
)
from ar_dmvc.losses import (
    info_nce,
    jensen_shannon_divergence,
    maximum_mean_discrepancy,
    reconstruction_error,
    robust_info_nce,
    spectral_contrastive,
)
from ar_dmvc.networks import ClusterCentres, SteppedNoise, fully_connected

Agreement = Literal["class_mutual_information", "jensen_shannon", "mean_discrepancy"]
Contrastive = Literal["info_nce", "spectral", "robust"]
Noise = Literal["none", "gaussian", "mask"]

_CONTRASTIVE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info_nce": info_nce,
    "spectral": spectral_contrastive,
    "robust": robust_info_nce,
}
_WIDTHS = (500, 500, 2000)
_MASKED = 0.3
_DISCREPANCY_SAMPLES = 2000


class SEM(Clusterer):
    """Self-weighted contrastive learning with reconstruction.

    Autoencoders learn to reproduce the views; then, in rounds, their representations are also pulled together, each pair of
    views with a weight that is measured over the training part before the round. Clusters come from k-means on the views'
    normalised representations; assignments are a softmax over negative squared distances to its centres. These
    representations are the latents; concatenated they are both the fused and the hidden representation.

    Source: Xu et al., "Self-weighted contrastive learning among multiple views for mitigating representation degeneration",
    NeurIPS 2023.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each; images are flattened.
        num_clusters: K, at least two.
        features: width of the autoencoders' representations.
        latent_features: width of the latents.
        contrastive: the contrastive loss: InfoNCE, the spectral one (PSCL) or the robust one (RINCE).
        agreement: what pairs of views are weighed by: mutual information of the views' k-means labels, Jensen-Shannon
            divergence, or maximum mean discrepancy (of at most 2,000 samples).
        noise: what the views to reconstruct are disturbed with: nothing, standard normal noise, or 30% of the values masked.
        pretraining_epochs: epochs of reconstruction alone; zero leaves them out.
        rounds: how many rounds follow, at least one.
        round_epochs: epochs of each round but the last, which takes those that are left; at least one.
        starts: starts of k-means, at least one.
        seed: of noise and k-means.

    Raises:
        ValueError: a value out of range, or fewer than two views.
    """

    usual_learning_rate: ClassVar[float] = 3e-4
    aligns_contrastively: bool = True

    weights: Tensor

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        features: int = 512,
        latent_features: int = 128,
        contrastive: Contrastive = "info_nce",
        agreement: Agreement = "class_mutual_information",
        noise: Noise = "none",
        pretraining_epochs: int = 100,
        rounds: int = 3,
        round_epochs: int = 100,
        starts: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        needs_several_views(self)
        for name, value, choices in (
            ("contrastive", contrastive, Contrastive),
            ("agreement", agreement, Agreement),
            ("noise", noise, Noise),
        ):
            if value not in get_args(choices):
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(get_args(choices))}")
        check_positive(features=features, latent_features=latent_features, rounds=rounds, round_epochs=round_epochs)
        check_not_negative(pretraining_epochs=pretraining_epochs)
        self.contrastive = contrastive
        self.agreement = agreement
        self.disturbance = noise
        self.pretraining_epochs = pretraining_epochs
        self.rounds = rounds
        self.round_epochs = round_epochs
        sizes = [math.prod(shape) for shape in self.view_shapes]
        self.encoders = nn.ModuleList(fully_connected(size, *_WIDTHS, features) for size in sizes)
        self.decoders = nn.ModuleList(fully_connected(features, *reversed(_WIDTHS), size) for size in sizes)
        self.heads = nn.ModuleList(nn.Linear(features, latent_features) for _ in sizes)
        self.clusters = ClusterCentres(num_clusters, latent_features * len(sizes), starts, seed)
        self.noise = SteppedNoise(seed)
        self.register_buffer("weights", torch.ones(len(sizes), len(sizes)))

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), all of which the samples have."""
        self.check_complete(mask)
        representations = self._represent(views)
        latents = tuple(
            normalize(head(representation), dim=1) for head, representation in zip(self.heads, representations, strict=True)
        )
        fused = torch.cat(latents, 1)
        return ClustererOutput(latents, fused, fused, self.clusters(fused), extra={"representations": representations})

    def stages(self) -> Sequence[Stage]:
        """Reconstruction, then the rounds; optimisers start afresh in every epoch of these."""
        rounds = [
            Stage(
                f"round {number + 1}",
                self.losses,
                self.round_epochs if number + 1 < self.rounds else None,
                prepare=self.weigh_latents if number else self.weigh_representations,
                restart_every_epoch=True,
            )
            for number in range(self.rounds)
        ]
        pretraining = Stage("pretraining", self.pretraining_losses, self.pretraining_epochs, has_clusters=False)
        return (pretraining, *rounds)

    def pretraining_losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Reconstruction."""
        representations = output.extra["representations"]
        if self.disturbance != "none":
            representations = self._represent([self._disturb(view) for view in views])
        reconstructions = [
            decoder(representation).view_as(view)
            for decoder, representation, view in zip(self.decoders, representations, views, strict=True)
        ]
        return {"reconstruction": reconstruction_error(views, reconstructions)}

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Contrastive losses of all ordered pairs of views, equal ones included, each with its weight, and reconstruction."""
        contrast = _CONTRASTIVE[self.contrastive]
        terms = [
            (self.weights[u, v] + self.weights[v, u] if u != v else self.weights[u, v])
            * contrast(output.latents[u], output.latents[v])
            for u, v in combinations_with_replacement(range(len(views)), 2)
        ]
        return {"contrastive": torch.stack(terms).sum(), **self.pretraining_losses(views, output)}

    def weigh_representations(self, training_views: TrainingViews) -> None:
        """Weigh pairs of views by the agreement of the autoencoders' representations of the training part."""
        batches = [self._represent(views) for views in training_views]
        self._weigh([torch.cat(view) for view in zip(*batches, strict=True)])

    def weigh_latents(self, training_views: TrainingViews) -> None:
        """Weigh pairs of views by the agreement of the latents of the training part."""
        batches = [self(views).latents for views in training_views]
        self._weigh([torch.cat(view) for view in zip(*batches, strict=True)])

    def after_step(self) -> None:
        """Count the step."""
        self.noise.advance()

    def fit_clusters(self, training_views: TrainingViews, final: bool) -> None:
        """k-means on the concatenated latents of the training part."""
        self.clusters.fit(torch.cat([self(views).fused for views in training_views]), final)

    def _represent(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(encoder(view.flatten(1)) for encoder, view in zip(self.encoders, views, strict=True))

    def _disturb(self, view: Tensor) -> Tensor:
        if self.disturbance == "gaussian":
            return view + self.noise.normal(view)
        return view * (self.noise.uniform(view) >= _MASKED)

    def _weigh(self, representations: Sequence[Tensor]) -> None:
        """Set the weights of all pairs of views from representations (N, D) of each."""
        measured = self._labels(representations) if self.agreement == "class_mutual_information" else representations
        for u, v in combinations_with_replacement(range(len(measured)), 2):
            self.weights[u, v] = self.weights[v, u] = self._agreement(measured[u], measured[v])

    def _agreement(self, first: Tensor, second: Tensor) -> float:
        if self.agreement == "class_mutual_information":
            from sklearn.metrics import normalized_mutual_info_score  # slow to import, and most runs do without

            return math.exp(normalized_mutual_info_score(first.numpy(), second.numpy())) - 1
        if self.agreement == "jensen_shannon":
            return math.exp(1 - float(jensen_shannon_divergence(first, second))) - 1
        few = slice(_DISCREPANCY_SAMPLES)  # the training part comes in random order
        return math.exp(-float(maximum_mean_discrepancy(first[few], second[few])))

    def _labels(self, representations: Sequence[Tensor]) -> list[Tensor]:
        """The k-means labels (N,) of each view's representation."""
        labels = []
        for representation in representations:
            clusters = ClusterCentres(self.num_clusters, representation.shape[1], self.clusters.starts, self.clusters.seed)
            clusters.fit(representation)
            labels.append(clusters(representation.cpu()).argmax(1))
        return labels
