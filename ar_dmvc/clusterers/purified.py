"""A frozen clusterer behind networks that clean its views."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Self

from torch import Tensor, nn

from ar_dmvc.clusterers.base import Clusterer, ClustererOutput
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import build_denoiser


class Purified(Clusterer):
    """A clusterer that stays as it is, behind one denoising network a view. Who attacks it attacks both.

    A defender with a teacher trains the networks; the clusterer is then the teacher, and goes into the checkpoint.

    Source: Liao et al., "Defense against adversarial attacks using high-level representation guided denoiser", CVPR 2018.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.
        protected: the clusterer; None: the teacher that the networks will be trained with.

    Raises:
        ValueError: the clusterer has other views or clusters.
    """

    def __init__(self, view_shapes: Iterable[Sequence[int]], num_clusters: int, protected: Clusterer | None = None) -> None:
        super().__init__(view_shapes, num_clusters)
        self.denoisers = nn.ModuleList(build_denoiser(shape) for shape in self.view_shapes)
        self.protected: Clusterer | None = None
        if protected is not None:
            self._protect(protected)

    def learn_from(self, teacher: Clusterer) -> None:
        """Protect a teacher."""
        self._protect(teacher)

    def _protect(self, clusterer: Clusterer) -> None:
        if (clusterer.view_shapes, clusterer.num_clusters) != (self.view_shapes, self.num_clusters):
            raise ValueError(
                f"protected: takes views of shapes {clusterer.view_shapes} and finds {clusterer.num_clusters} clusters, not "
                f"{self.view_shapes} and {self.num_clusters}"
            )
        self.protected = copy.deepcopy(clusterer).requires_grad_(False).eval()
        self._arguments["protected"] = self.protected
        self.takes_incomplete = clusterer.takes_incomplete
        self.aligns_contrastively = clusterer.aligns_contrastively
        self.is_stochastic = clusterer.is_stochastic

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the denoising networks; the clusterer stays in evaluation mode."""
        super().train(mode)
        if self.protected is not None:
            self.protected.eval()
        return self

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> ClustererOutput:
        """Clean a batch of V views (N, *shape_v), and cluster it.

        Raises:
            ConfigurationError: there is no clusterer yet.
        """
        return self._clusterer().cluster(self.purify(views), mask)

    def purify(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """V views (N, *shape_v), cleaned; not clipped to [0, 1], where gradients would be lost."""
        return tuple(view + denoiser(view) for denoiser, view in zip(self.denoisers, views, strict=True))

    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """The loss terms of the clusterer.

        Raises:
            ConfigurationError: there is no clusterer yet.
        """
        return self._clusterer().losses(views, output)

    def _clusterer(self) -> Clusterer:
        if self.protected is None:
            raise ConfigurationError("Purified has no clusterer to protect: train it with a teacher (RobustDefender's teacher)")
        return self.protected
