"""The contract of a clusterer: views in, latents, fusion and soft assignments out, and its own loss terms."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ar_dmvc.checkpoint import describe
from ar_dmvc.networks.shapes import check_shapes


class ClustererOutput(NamedTuple):
    """What a clusterer makes of a batch.

    Attributes:
        latents: V tensors, (N, D_v).
        fused: (N, D).
        hidden: (N, H).
        assignments: (N, K), rows sum to one.
    """

    latents: tuple[Tensor, ...]
    fused: Tensor
    hidden: Tensor
    assignments: Tensor


class Clusterer(nn.Module, ABC):
    """Base of every clusterer.

    A subclass takes ``view_shapes``, ``num_clusters`` and settings of its own that are plain values (numbers, strings, lists
    of them), calls ``super().__init__(view_shapes, num_clusters)``, and defines :meth:`forward` and :meth:`losses`.
    The arguments it was made with are kept, so that a checkpoint alone is enough to make it again.

    Args:
        view_shapes: V shapes, (features,) or (channels, height, width) each.
        num_clusters: K, at least two.

    Raises:
        ValueError: no views, an impossible shape, or fewer than two clusters.
    """

    _arguments: dict[str, Any]

    def __init__(self, view_shapes: Iterable[Sequence[int]], num_clusters: int) -> None:
        super().__init__()
        self.view_shapes = check_shapes(view_shapes)
        self.num_clusters = num_clusters
        if not self.view_shapes:
            raise ValueError("a clusterer needs at least one view")
        if num_clusters < 2:
            raise ValueError(f"num_clusters must be at least 2, got {num_clusters}")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _keeping_arguments(cls.__init__)  # type: ignore[method-assign]

    @abstractmethod
    def forward(self, views: Sequence[Tensor]) -> ClustererOutput:
        """Cluster a batch of V views (N, *shape_v)."""

    @abstractmethod
    def losses(self, views: Sequence[Tensor], output: ClustererOutput) -> dict[str, Tensor]:
        """Weighted loss terms, scalars by name; training minimises their sum."""

    def description(self) -> dict[str, Any]:
        """Class and arguments of this clusterer, in the plain values that a checkpoint keeps.

        Raises:
            TypeError: an argument is no plain value.
        """
        return describe(self, self._arguments)


def _keeping_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Let the outermost constructor, that of the class being made, keep its arguments on the instance."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Clusterer, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in vars(self):
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            # nn.Module's own __setattr__ does not work before its constructor ran.
            vars(self)["_arguments"] = dict(list(bound.arguments.items())[1:])
        init(self, *args, **kwargs)

    return wrapper
