"""ProductOfExperts: each view is clustered on its own, and the assignments are multiplied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ar_dmvc.clusterers.base import ClustererOutput
from ar_dmvc.clusterers.encoded import Encoded
from ar_dmvc.networks import DDCHead, EncoderName


class ProductOfExperts(Encoded):
    """An encoder and a clustering head for each view, an expert; together they say the normalised product of what each says.

    That is what Bayes' rule makes of views that are independent given their cluster, all clusters being as likely. Latents that
    are fused before they are clustered let a network lean on the view that is learned first, and leave the others unused;
    experts can be taught one by one (``experts_weight`` of :class:`~ar_dmvc.modules.RobustDefender`). With the DDC loss on
    all of them together it is a clusterer, too.

    Source: Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation, 2002, for the
    product; Wang, Tran and Feiszli, "What makes training multi-modal classification networks hard?", CVPR 2020, for what
    becomes of views that are fused.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of each expert's hidden representation.
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
        self.heads = nn.ModuleList(DDCHead(self.latent_features, num_clusters, hidden_features) for _ in self.encoders)

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all.

        Fused and hidden representations are means over the views that are there. The expert of a view that is missing holds
        all clusters for as likely.
        """
        self.check_complete(mask)
        latents = self.encode(views, mask)
        found = [
            self._ask(head, latent, None if mask is None else mask[:, view])
            for view, (head, latent) in enumerate(zip(self.heads, latents, strict=True))
        ]
        shares: float | Tensor = 1 / len(latents) if mask is None else 1 / mask.sum(1, keepdim=True)
        fused = torch.stack(latents).sum(0) * shares
        hidden = torch.stack([hidden for hidden, _ in found]).sum(0) * shares
        logits = torch.stack([logits for _, logits in found])
        extra = {} if mask is None else {"mask": (mask,)}
        return ClustererOutput(latents, fused, hidden, logits.sum(0).softmax(1), extra, tuple(logits.softmax(2)))

    def _ask(self, head: nn.Module, latent: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
        """An expert's hidden representation (N, H) and logarithm of its assignments (N, K); zeros where its view is missing."""
        assert isinstance(head, DDCHead)

        def ask(latents: Tensor) -> Tensor:
            hidden, logits = head.logits(latents)
            return torch.cat([hidden, logits.log_softmax(1)], 1)

        answer = ask(latent) if there is None else self.of_present(ask, latent, there)
        return answer[:, : -self.num_clusters], answer[:, -self.num_clusters :]
