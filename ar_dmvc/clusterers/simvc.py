"""SiMVC: encoders, a weighted mean, the clustering head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput
from ar_dmvc.losses import ddc_terms
from ar_dmvc.networks import DDCHead, EncoderName, WeightedMean, build_encoder


class SiMVC(Clusterer):
    """Simple multi-view clustering: the DDC loss on fused latents.

    Source: Trosten et al., "Reconsidering representation alignment for multi-view clustering", CVPR 2021.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.

    Raises:
        ValueError: an encoder that does not take the views, or latents of different widths, which a mean cannot fuse.
    """

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        if not relative_width > 0:
            raise ValueError(f"relative_width must be positive, got {relative_width}")
        self.relative_width = relative_width
        encoders = [build_encoder(shape, encoder) for shape in self.view_shapes]
        widths = {network.out_features for network in encoders}
        if len(widths) != 1:
            raise ValueError(f"views of shapes {self.view_shapes} get latents of different widths {sorted(widths)}")
        self.encoders = nn.ModuleList(encoders)
        self.fusion = WeightedMean(len(encoders))
        self.head = DDCHead(encoders[0].out_features, num_clusters, hidden_features)

    def forward(self, views: Sequence[Tensor]) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v)."""
        latents = tuple(encoder(view) for encoder, view in zip(self.encoders, views, strict=True))
        fused = self.fusion(latents)
        return ClustererOutput(latents, fused, *self.head(fused))

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The three terms of the DDC loss."""
        terms = ddc_terms(output.hidden, output.assignments, self.relative_width)
        return {f"ddc_{name}": term for name, term in terms._asdict().items()}
