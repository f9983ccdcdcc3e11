"""CoMVC: SiMVC with contrastively aligned latents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ar_dmvc.clusterers.base import ClustererOutput, check_not_negative, check_positive, mask_of, needs_several_views
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.losses import contrastive_alignment
from ar_dmvc.networks import EncoderName


class CoMVC(SiMVC):
    """Contrastive multi-view clustering: SiMVC plus contrastive alignment, weighted by the smallest fusion weight.

    Source: Trosten et al., "Reconsidering representation alignment for multi-view clustering", CVPR 2021.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.
        contrastive_weight: weight of the contrastive alignment, before the fusion weight, at least zero.
        temperature: of the contrastive alignment, positive.

    Raises:
        ValueError: fewer than two views, or what :class:`SiMVC` refuses.
    """

    aligns_contrastively: bool = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        contrastive_weight: float = 0.1,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(view_shapes, num_clusters, encoder, hidden_features, relative_width)
        needs_several_views(self)
        check_positive(temperature=temperature)
        check_not_negative(contrastive_weight=contrastive_weight)
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The terms of SiMVC and the weighted contrastive alignment."""
        weight = self.contrastive_weight * self.fusion.normalised().detach().min()
        contrastive = weight * contrastive_alignment(output.latents, self.temperature, mask_of(output))
        return super().losses(views, output) | {"contrastive": contrastive}
