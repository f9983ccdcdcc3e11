"""SiMVC: encoders, a weighted mean, the clustering head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ar_dmvc.clusterers.base import ClustererOutput
from ar_dmvc.clusterers.encoded import Encoded
from ar_dmvc.networks import DDCHead, EncoderName, WeightedMean


class SiMVC(Encoded):
    """Simple multi-view clustering: the DDC loss on fused latents.

    Source: Trosten et al., "Reconsidering representation alignment for multi-view clustering", CVPR 2021.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.
        levels: how many learned clamps stand for each value of a view, before its encoder; 0: the value itself.

    Raises:
        ValueError: an encoder that does not take the views, or fewer than no levels.
    """

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        levels: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters, encoder, hidden_features, relative_width, levels)
        self.fusion = WeightedMean(len(self.encoders))
        self.head = DDCHead(self.latent_features, num_clusters, hidden_features)

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all.

        What is missing takes no part: its latent is zero, and fusion is over the other views.
        """
        self.check_complete(mask)
        latents = self.encode(views, mask)
        fused = self.fusion(latents, mask)
        hidden, assignments = self.head(fused)
        return ClustererOutput(latents, fused, hidden, assignments, {} if mask is None else {"mask": (mask,)})
