"""AECoDDC: contrastive alignment with decoders that reproduce the views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ar_dmvc.clusterers.base import ClustererOutput, Stage, check_not_negative, check_positive, mask_of, needs_several_views
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.losses import contrastive_alignment, reconstruction_error
from ar_dmvc.networks import EncoderName, build_decoder


class AECoDDC(SiMVC):
    """Autoencoders with contrastive alignment and the DDC loss, after pretraining without the latter.

    Source: Trosten et al., "On the effects of self-supervision and contrastive alignment in deep multi-view clustering",
    CVPR 2023.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders, which decoders mirror; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.
        contrastive_weight: weight of the contrastive alignment, at least zero.
        temperature: of the contrastive alignment, positive.
        reconstruction_weight: weight of the mean squared error of reconstruction, at least zero.
        pretraining_epochs: epochs of the first stage, without the DDC loss; zero leaves it out.

    Raises:
        ValueError: a value out of range, fewer than two views, or what :class:`SiMVC` refuses.
    """

    aligns_contrastively: bool = True
    reproduces_unit_range: ClassVar[bool] = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        contrastive_weight: float = 0.1,
        temperature: float = 0.1,
        reconstruction_weight: float = 1.0,
        pretraining_epochs: int = 20,
    ) -> None:
        super().__init__(view_shapes, num_clusters, encoder, hidden_features, relative_width)
        needs_several_views(self)
        check_positive(temperature=temperature)
        check_not_negative(
            contrastive_weight=contrastive_weight,
            reconstruction_weight=reconstruction_weight,
            pretraining_epochs=pretraining_epochs,
        )
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.reconstruction_weight = reconstruction_weight
        self.pretraining_epochs = pretraining_epochs
        self.decoders = nn.ModuleList(
            build_decoder(shape, encoder, network.out_features)  # type: ignore[arg-type]  # ModuleList says Module
            for shape, network in zip(self.view_shapes, self.encoders, strict=True)
        )

    def stages(self) -> Sequence[Stage]:
        """Pretraining of the autoencoders, then everything."""
        return (
            Stage("pretraining", self.pretraining_losses, self.pretraining_epochs, has_clusters=False),
            Stage("clustering", self.losses),
        )

    def pretraining_losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Contrastive alignment and reconstruction."""
        reconstructions = [decoder(latent) for decoder, latent in zip(self.decoders, output.latents, strict=True)]
        mask = mask_of(output)
        return {
            "contrastive": self.contrastive_weight * contrastive_alignment(output.latents, self.temperature, mask),
            "reconstruction": self.reconstruction_weight * reconstruction_error(views, reconstructions, mask),
        }

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The terms of SiMVC and those of pretraining."""
        return super().losses(views, output) | self.pretraining_losses(views, output)
