"""Several networks that cluster as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput, check_positive
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.losses import ddc_terms
from ar_dmvc.networks import EncoderName


class DeepEnsemble(Clusterer):
    """SiMVCs with initial weights of their own, whose assignments are averaged; trained, and attacked, as one.

    Latents of a view, fusion and hidden representation are those of all members, one after the other.

    Source: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017;
    members there are trained each alone.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        members: M, how many, at least one.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of a member's hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.

    Raises:
        ValueError: a setting out of range, or an encoder that does not take the views.
    """

    takes_incomplete: bool = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        members: int = 3,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        check_positive(members=members)
        self.relative_width = relative_width
        self.members = nn.ModuleList(
            SiMVC(self.view_shapes, num_clusters, encoder, hidden_features, relative_width) for _ in range(members)
        )

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v), of which ``mask`` (N, V) says which are present; None: all."""
        self.check_complete(mask)
        outputs: list[ClustererOutput] = [member(views, mask) for member in self.members]
        return ClustererOutput(
            latents=tuple(torch.cat(latents, 1) for latents in zip(*(output.latents for output in outputs), strict=True)),
            fused=torch.cat([output.fused for output in outputs], 1),
            hidden=torch.cat([output.hidden for output in outputs], 1),
            assignments=torch.stack([output.assignments for output in outputs]).mean(0),
            extra={} if mask is None else {"mask": (mask,)},
        )

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The three terms of the DDC loss, of all members' hidden representations and the mean of their assignments."""
        terms = ddc_terms(output.hidden, output.assignments, self.relative_width)
        return {f"ddc_{name}": term for name, term in terms._asdict().items()}
