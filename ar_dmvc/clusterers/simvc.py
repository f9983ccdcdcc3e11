"""SiMVC: encoders, a weighted mean, the clustering head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput, check_positive
from ar_dmvc.distributed import is_global, reduce_sum
from ar_dmvc.losses import ddc_terms
from ar_dmvc.networks import DDCHead, EncoderName, WeightedMean, build_encoders


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
        ValueError: an encoder that does not take the views.
    """

    takes_incomplete: bool = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        check_positive(relative_width=relative_width, hidden_features=hidden_features)
        self.relative_width = relative_width
        self.encoders, features = build_encoders(self.view_shapes, encoder)
        self.fusion = WeightedMean(len(self.encoders))
        self.head = DDCHead(features, num_clusters, hidden_features)

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all.

        What is missing takes no part: its latent is zero, and fusion is over the other views.
        """
        self.check_complete(mask)
        latents = self.encode(views) if mask is None else self._encode_incomplete(views, mask)
        fused = self.fusion(latents, mask)
        hidden, assignments = self.head(fused)
        return ClustererOutput(latents, fused, hidden, assignments, {} if mask is None else {"mask": (mask,)})

    def encode(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The latents, V tensors (N, D), of V views (N, *shape_v)."""
        return tuple(encoder(view) for encoder, view in zip(self.encoders, views, strict=True))

    def _encode_incomplete(self, views: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, ...]:
        """Encode what is present, so that in training batch norm sees nothing else; a lone sample goes with the others."""
        latents = []
        for encoder, view, there in zip(self.encoders, views, mask.unbind(1), strict=True):
            if not encoder.training or (reduce_sum(there.sum()) if is_global() else there.sum()) < 2:
                latents.append(encoder(view) * there[:, None])
            else:
                encoded = encoder(view[there])
                latents.append(encoded.new_zeros(len(view), encoded.shape[1]).index_put((there,), encoded))
        return tuple(latents)

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The three terms of the DDC loss."""
        terms = ddc_terms(output.hidden, output.assignments, self.relative_width)
        return {f"ddc_{name}": term for name, term in terms._asdict().items()}
