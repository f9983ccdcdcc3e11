"""InfoDDC: latents aligned by their mutual information."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ar_dmvc.clusterers.base import ClustererOutput, Stage, check_not_negative, needs_several_views
from ar_dmvc.clusterers.simvc import SiMVC
from ar_dmvc.losses import mutual_information_alignment
from ar_dmvc.networks import EncoderName


class InfoDDC(SiMVC):
    """Softmaxed latents with mutual-information alignment and the DDC loss, after pretraining without the latter.

    Source: Trosten et al., "On the effects of self-supervision and contrastive alignment in deep multi-view clustering",
    CVPR 2023; the alignment after Lin et al., "COMPLETER", CVPR 2021.

    Args:
        view_shapes: V shapes, V at least two, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        encoder: the views' encoders; ``auto`` chooses by shape.
        hidden_features: H, width of the hidden representation.
        relative_width: squared kernel width of the DDC loss as a share of the median squared distance, positive.
        alignment_weight: weight of the alignment beside the DDC loss, at least zero; alone it has weight one.
        entropy_weight: weight of the marginal entropies within the alignment, at least zero.
        self_pairs: also align each view but the last with itself, as published settings do.
        pretraining_epochs: epochs of the first stage, of alignment alone; zero leaves it out, as published for NoisyMNIST
            and NoisyFashion.

    Raises:
        ValueError: a value out of range, fewer than two views, or what :class:`SiMVC` refuses.
    """

    takes_incomplete: bool = False

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        alignment_weight: float = 0.1,
        entropy_weight: float = 9.0,
        self_pairs: bool = False,
        pretraining_epochs: int = 20,
    ) -> None:
        super().__init__(view_shapes, num_clusters, encoder, hidden_features, relative_width)
        needs_several_views(self)
        check_not_negative(
            alignment_weight=alignment_weight, entropy_weight=entropy_weight, pretraining_epochs=pretraining_epochs
        )
        self.alignment_weight = alignment_weight
        self.entropy_weight = entropy_weight
        self.self_pairs = self_pairs
        self.pretraining_epochs = pretraining_epochs

    def encode(self, views: Sequence[Tensor], mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """The latents, V tensors (N, D), rows non-negative with sum one, of V views (N, *shape_v)."""
        return tuple(latent.softmax(1) for latent in super().encode(views, mask))

    def stages(self) -> Sequence[Stage]:
        """Alignment alone, then everything."""
        return (
            Stage("pretraining", self.pretraining_losses, self.pretraining_epochs, has_clusters=False),
            Stage("clustering", self.losses),
        )

    def pretraining_losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The alignment."""
        return {"alignment": mutual_information_alignment(output.latents, self.entropy_weight, self.self_pairs)}

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The terms of SiMVC and the weighted alignment."""
        alignment = self.pretraining_losses(views, output)["alignment"]
        return super().losses(views, output) | {"alignment": self.alignment_weight * alignment}
