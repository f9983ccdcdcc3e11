"""Multi-VAE: variational autoencoders that share a discrete code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ar_dmvc.clusterers.base import (
    Clusterer,
    ClustererOutput,
    TrainingViews,
    check_not_negative,
    check_positive,
    needs_several_views,
)
from ar_dmvc.losses import variational_terms
from ar_dmvc.networks import ClusterCentres, Encoder, EncoderName, SteppedNoise, build_decoder, build_encoder


class MultiVAE(Clusterer):
    """Variational autoencoders with a continuous code a view and a discrete one that all views share.

    Codes are held to capacities that grow with the training step. Clusters come from k-means on the discrete code and the
    continuous codes' means; assignments are a softmax over negative squared distances to its centres. The discrete code is the
    one-hot of its largest probability, with a straight-through gradient, so that attacks have one. The latents are the
    continuous codes' means, the hidden representation the discrete code's probabilities.

    Source: Xu et al., "Multi-VAE: Learning disentangled view-common and view-peculiar visual representations for multi-view
    clustering", ICCV 2021.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders, which decoders mirror; ``auto`` chooses by shape.
        features: width between encoders and codes.
        code_features: width of each continuous code.
        temperature: of the Gumbel softmax that the discrete code is drawn with, positive.
        continuous_weight: weight of the continuous codes' distances from their capacity, at least zero.
        discrete_weight: the same for the discrete code.
        continuous_capacity: that capacity in the end, in nats, at least zero; the discrete code's is log K.
        capacity_steps: training steps until capacities are reached, at least one.
        starts: starts of k-means, at least one.
        seed: of the codes drawn in training, and of k-means.

    Raises:
        ValueError: a value out of range, fewer than two views, or an encoder that does not take the views.
    """

    usual_learning_rate: ClassVar[float] = 5e-4
    reproduces_unit_range: ClassVar[bool] = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        features: int = 256,
        code_features: int = 10,
        temperature: float = 0.67,
        continuous_weight: float = 30.0,
        discrete_weight: float = 30.0,
        continuous_capacity: float = 5.0,
        capacity_steps: int = 25_000,
        starts: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        needs_several_views(self)
        check_positive(temperature=temperature, features=features, code_features=code_features, capacity_steps=capacity_steps)
        check_not_negative(
            continuous_weight=continuous_weight, discrete_weight=discrete_weight, continuous_capacity=continuous_capacity
        )
        self.temperature = temperature
        self.continuous_weight = continuous_weight
        self.discrete_weight = discrete_weight
        self.continuous_capacity = continuous_capacity
        self.discrete_capacity = math.log(num_clusters)
        self.capacity_steps = capacity_steps
        views = len(self.view_shapes)
        encoders = [build_encoder(shape, encoder) for shape in self.view_shapes]
        self.encoders = nn.ModuleList(_encoder(network, features) for network in encoders)
        self.means = nn.ModuleList(nn.Linear(features, code_features) for _ in range(views))
        self.log_variances = nn.ModuleList(nn.Linear(features, code_features) for _ in range(views))
        self.discrete = nn.Linear(features * views, num_clusters)
        self.decoders = nn.ModuleList(
            _decoder(code_features + num_clusters, features, network.out_features, build_decoder(shape, encoder))
            for network, shape in zip(encoders, self.view_shapes, strict=True)
        )
        self.clusters = ClusterCentres(num_clusters, num_clusters + code_features * views, starts, seed)
        self.noise = SteppedNoise(seed)

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), all of which the samples have."""
        self.check_complete(mask)
        features = [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]
        means = tuple(layer(feature) for layer, feature in zip(self.means, features, strict=True))
        log_variances = tuple(layer(feature) for layer, feature in zip(self.log_variances, features, strict=True))
        probabilities: Tensor = self.discrete(torch.cat(features, 1)).softmax(1)
        largest = one_hot(probabilities.argmax(1), self.num_clusters)
        discrete = largest + (probabilities - probabilities.detach())
        fused = torch.cat([discrete, *means], 1)
        return ClustererOutput(means, fused, probabilities, self.clusters(fused), extra={"log_variances": log_variances})

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Distances of the codes from their capacities, and reconstruction from codes drawn at random."""
        log_variances = output.extra["log_variances"]
        discrete = self._draw_discrete(output.hidden)
        codes = [self._draw_continuous(*moments) for moments in zip(output.latents, log_variances, strict=True)]
        reconstructions = [decoder(torch.cat([code, discrete], 1)) for decoder, code in zip(self.decoders, codes, strict=True)]
        share = self.capacity_share()
        terms = variational_terms(
            output.latents,
            log_variances,
            output.hidden,
            views,
            reconstructions,
            share * self.continuous_capacity,
            share * self.discrete_capacity,
        )
        return {
            "continuous": self.continuous_weight * terms.continuous,
            "discrete": self.discrete_weight * terms.discrete,
            "reconstruction": terms.reconstruction,
        }

    def capacity_share(self) -> float:
        """Share of the final capacities at this step, in [0, 1]."""
        return min(1.0, self.noise.step / self.capacity_steps)

    def after_step(self) -> None:
        """Count the step."""
        self.noise.advance()

    def fit_clusters(self, training_views: TrainingViews, final: bool) -> None:
        """k-means on the codes of the training part."""
        self.clusters.fit(torch.cat([self(views).fused for views in training_views]), final)

    def _draw_continuous(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return mean + (log_variance / 2).exp() * self.noise.normal(mean)

    def _draw_discrete(self, probabilities: Tensor) -> Tensor:
        """Relaxed one-hot rows of the Gumbel softmax (Jang et al., ICLR 2017; Maddison et al., ICLR 2017)."""
        gumbel = -(-self.noise.uniform(probabilities).clamp(min=1e-20).log()).log()
        return (((probabilities + 1e-12).log() + gumbel) / self.temperature).softmax(1)


def _encoder(network: Encoder, features: int) -> nn.Sequential:
    return nn.Sequential(network, nn.Linear(network.out_features, features), nn.ReLU())


def _decoder(code_features: int, features: int, latent_features: int, network: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(code_features, features), nn.ReLU(), nn.Linear(features, latent_features), nn.ReLU(), network
    )
