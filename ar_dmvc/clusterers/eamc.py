"""EAMC: latents aligned by adversaries, fused by attention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ar_dmvc.clusterers.base import (
    Clusterer,
    ClustererOutput,
    OptimizerSettings,
    check_not_negative,
    check_positive,
    needs_several_views,
)
from ar_dmvc.distributed import gather_rows
from ar_dmvc.losses import (
    attention_loss,
    ddc_terms,
    discriminator_loss,
    full_precision,
    generator_loss,
    mean_off_diagonal_product,
)
from ar_dmvc.networks import DDCHead, EncoderName, ViewAttention, build_encoders

_DISCRIMINATOR_WIDTHS = (256, 256, 128)


class EAMC(Clusterer):
    """End-to-end adversarial-attention network for multi-modal clustering.

    For each view but the first a discriminator learns to tell its latents from the first view's, which the encoders learn to
    prevent; discriminators and the rest alternate in every step. Attention weighs the views: over the batch at hand in
    training, as a running mean in evaluation.

    Source: Zhou and Shen, CVPR 2020.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width as a share of the median squared distance, positive.
        attention_weight: weight of the attention loss, at least zero.
        generator_weight: weight of the encoders' part of the adversarial game, at least zero.
        attention_learning_rate: of the attention layers, positive.
        discriminator_learning_rate: of the discriminators, positive.

    Raises:
        ValueError: a value out of range, fewer than two views, or an encoder that does not take the views.
    """

    usual_learning_rate: ClassVar[float] = 1e-5

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        attention_weight: float = 1.0,
        generator_weight: float = 10.0,
        attention_learning_rate: float = 1e-4,
        discriminator_learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        needs_several_views(self)
        check_positive(
            relative_width=relative_width,
            hidden_features=hidden_features,
            attention_learning_rate=attention_learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
        )
        check_not_negative(attention_weight=attention_weight, generator_weight=generator_weight)
        self.relative_width = relative_width
        self.attention_weight = attention_weight
        self.generator_weight = generator_weight
        self.attention_learning_rate = attention_learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.encoders, features = build_encoders(self.view_shapes, encoder)
        self.attention = ViewAttention(features * len(self.encoders), len(self.encoders))
        self.head = DDCHead(features, num_clusters, hidden_features)
        self.discriminators = nn.ModuleList(_discriminator(features) for _ in self.view_shapes[1:])

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), all of which the samples have."""
        self.check_complete(mask)
        latents = tuple(encoder(view) for encoder, view in zip(self.encoders, views, strict=True))
        weights: Tensor = self.attention(latents)
        fused = torch.einsum("v,vnd->nd", weights, torch.stack(latents))
        hidden, assignments = self.head(fused)
        return ClustererOutput(latents, fused, hidden, assignments, extra={"weights": (weights,)})

    def optimizers(self) -> Sequence[OptimizerSettings]:
        """The discriminators' first, then that of all else against the updated discriminators."""
        return (
            OptimizerSettings(
                "discriminators",
                {"discriminators": self.discriminator_learning_rate},
                self.discriminator_losses,
                betas=(0.5, 0.999),
            ),
            OptimizerSettings(
                "clusterer",
                {"encoders": None, "head": None, "attention": self.attention_learning_rate},
                betas=(0.95, 0.999),
            ),
        )

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The DDC terms, orthogonality over clusters rather than samples, attention, and the encoders' part of the game."""
        separation, _, simplex = ddc_terms(output.hidden, output.assignments, self.relative_width)
        (weights,) = output.extra["weights"]
        attention = attention_loss(output.fused, output.latents, weights, self.relative_width)
        fakes = [discriminator(latent) for discriminator, latent in zip(self.discriminators, output.latents[1:], strict=True)]
        return {
            "ddc_separation": separation,
            "ddc_orthogonality": mean_off_diagonal_product(gather_rows(output.assignments).T),
            "ddc_simplex": simplex,
            "attention": self.attention_weight * attention,
            "generator": self.generator_weight * generator_loss(fakes),
        }

    def discriminator_losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The discriminators' part of the game; no gradient reaches the encoders."""
        first, *others = (latent.detach() for latent in output.latents)
        reals = [discriminator(first) for discriminator in self.discriminators]
        fakes = [discriminator(latent) for discriminator, latent in zip(self.discriminators, others, strict=True)]
        return {"discriminator": discriminator_loss(reals, fakes)}


class _Probability(nn.Module):
    """A sigmoid in full precision: in half, what is nearly one would be one, and have no gradient."""

    def forward(self, logits: Tensor) -> Tensor:
        probability: Tensor = full_precision(logits).sigmoid()
        return probability


def _discriminator(features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in _DISCRIMINATOR_WIDTHS:
        layers += [nn.Linear(features, width), nn.LeakyReLU(0.2)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, 1), _Probability())
