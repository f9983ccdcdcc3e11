"""What clusterers share that have an encoder for each view and the DDC loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput, check_positive
from ar_dmvc.distributed import is_global, reduce_sum
from ar_dmvc.losses import ddc_terms
from ar_dmvc.networks import EncoderName, build_encoders


class Encoded(Clusterer):
    """Base of clusterers that encode each view on its own.

    Attributes:
        latent_features: D, width of the latents.

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

    takes_incomplete: bool = True

    def __init__(
        self,
        view_shapes: Iterable[Sequence[int]],
        num_clusters: int,
        encoder: EncoderName = "auto",
        hidden_features: int = 100,
        relative_width: float = 0.15,
        levels: int = 0,
    ) -> None:
        super().__init__(view_shapes, num_clusters)
        check_positive(relative_width=relative_width, hidden_features=hidden_features)
        self.relative_width = relative_width
        self.encoders, self.latent_features = build_encoders(self.view_shapes, encoder, levels)

    def encode(self, views: Sequence[Tensor], mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """The latents, V tensors (N, D), of V views (N, *shape_v) of which ``mask`` (N, V) says which are present; None: all.

        The latent of a view that is missing is zero.
        """
        if mask is None:
            return tuple(encoder(view) for encoder, view in zip(self.encoders, views, strict=True))
        present = mask.unbind(1)
        return tuple(
            self.of_present(encoder, view, there) for encoder, view, there in zip(self.encoders, views, present, strict=True)
        )

    def of_present(self, network: Callable[[Tensor], Tensor], values: Tensor, there: Tensor) -> Tensor:
        """What a network makes of the rows of ``values`` (N, ...) that are there, (N,) bool; of the others, zeros.

        In training it sees those rows alone, for its batch norm; a lone one goes with the others.
        """
        if not self.training or (reduce_sum(there.sum()) if is_global() else there.sum()) < 2:
            return network(values) * there[:, None]
        made = network(values[there])
        return made.new_zeros(len(values), made.shape[1]).index_put((there,), made)

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The three terms of the DDC loss."""
        terms = ddc_terms(output.hidden, output.assignments, self.relative_width)
        return {f"ddc_{name}": term for name, term in terms._asdict().items()}
