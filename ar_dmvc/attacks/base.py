"""The contract of an attack: clusterer and views in, perturbed views out, within a budget."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ar_dmvc.clusterers import Clusterer, with_mask
from ar_dmvc.distributed import empty_batch, own_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.networks import Shape

Views = Sequence[Tensor]


class Attack(ABC):
    """Base of every attack: a callable on a clusterer and clean views.

    The result is within the budget and in [0, 1], exactly. The clusterer comes out bit for bit as it went in:
    parameters, gradients, buffers and mode. An attack meets it in the mode it is in: in training mode its batch norm uses
    the statistics of the attacked batch, without keeping them.

    Random choices come from a generator of the attack's own; global random state is neither read nor changed.

    Args:
        epsilon: L-infinity budget, positive; None leaves it to whoever runs the attack, see :meth:`with_default_budget`.
        seed: of the attack's own random numbers.

    Raises:
        ValueError: a budget that is not positive.
    """

    def __init__(self, epsilon: float | None = None, seed: int = 0) -> None:
        if epsilon is not None and not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.epsilon = epsilon
        self.seed = seed
        self._position = 0
        self._generator: torch.Generator | None = None

    def __call__(
        self, clusterer: Clusterer, views: Views, start: Views | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Perturb views.

        Args:
            clusterer: the clusterer under attack, on the views' device.
            views: V clean views (N, *shape_v) in [0, 1].
            start: initial perturbations, of the views' shapes, for attacks that have a start.
            mask: (N, V) bool, which views are there; the others are left alone. None: all.

        Returns:
            V perturbed views, detached.

        Raises:
            ConfigurationError: the attack has no budget yet, or no start where one is given.
        """
        # Tensors made under inference mode cannot take part in autograd; copies made outside of it can.
        with torch.inference_mode(False), undisturbed(clusterer):
            clean = tuple(_usable(view) for view in views)
            there = None if mask is None else _usable(mask)
            attacked = self.perturb(with_mask(clusterer, there), clean, start)
            with torch.no_grad():
                return only_there(clean, within_budget(clean, attacked, self.budget), there)

    def check_views(self, view_shapes: Sequence[Shape]) -> None:  # noqa: B027  most attacks take any views
        """Check that the attack takes views of these shapes.

        Raises:
            ConfigurationError: it does not.
        """

    def check_clusterer(self, clusterer: Clusterer) -> None:  # noqa: B027  most attacks apply to any clusterer
        """Check that the attack applies to a clusterer.

        Raises:
            ConfigurationError: it does not.
        """

    @abstractmethod
    def perturb(self, clusterer: Clusterer, views: Views, start: Views | None) -> Views:
        """Perturb views; the caller sees to the clusterer's state, the budget and the range."""

    @property
    def budget(self) -> float:
        """The L-infinity budget.

        Raises:
            ConfigurationError: there is none yet.
        """
        if self.epsilon is None:
            raise ConfigurationError(f"{type(self).__name__} has no budget: give it an epsilon")
        return self.epsilon

    def with_budget(self, epsilon: float) -> Self:
        """The same attack with another budget; an explicit step size grows and shrinks with it."""
        changed = copy.copy(self)
        changed.epsilon = epsilon
        changed._generator = None
        return changed

    def with_default_budget(self, epsilon: float | None) -> Self:
        """This attack, or where it has no budget of its own the same with this one."""
        return self if self.epsilon is not None or epsilon is None else self.with_budget(epsilon)

    def reseed(self, position: int) -> None:
        """Restart the attack's random numbers at a place that seed and ``position`` (a step, say) name."""
        self._position = position
        self._generator = None

    def uniform(self, views: Views) -> tuple[Tensor, ...]:
        """Perturbations uniform in [-epsilon, epsilon], of the views' shapes."""
        device = views[0].device
        if self._generator is None or self._generator.device != device:
            state = np.random.SeedSequence([self.seed, self._position]).generate_state(1, np.uint64)
            self._generator = torch.Generator(device).manual_seed(int(state[0] >> 1))
        generator = self._generator
        return tuple(own_rows(empty_batch(view).uniform_(-self.budget, self.budget, generator=generator)) for view in views)


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor.detach()


@contextmanager
def undisturbed(clusterer: nn.Module) -> Iterator[None]:
    """Let layers with running statistics leave them alone, whatever mode they are in."""
    layers: list[Any] = [module for module in clusterer.modules() if hasattr(module, "track_running_stats")]
    tracking = [layer.track_running_stats for layer in layers]
    try:
        for layer in layers:
            if layer.training:
                layer.track_running_stats = False
        yield
    finally:
        for layer, tracked in zip(layers, tracking, strict=True):
            layer.track_running_stats = tracked


def only_there(clean: Views, attacked: Views, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Attacked views where ``mask`` (N, V) has them, clean ones elsewhere."""
    if mask is None:
        return tuple(attacked)
    return tuple(
        torch.where(there.view(-1, *[1] * (view.dim() - 1)), other, view)
        for view, other, there in zip(clean, attacked, mask.unbind(1), strict=True)
    )


def within_budget(clean: Views, attacked: Views, epsilon: float) -> tuple[Tensor, ...]:
    """Attacked views brought within ``epsilon`` of the clean ones and into [0, 1], exactly.

    Sums and bounds are rounded to the views' precision, which can end past the budget; such values are moved to the next
    number nearer to the clean value.
    """
    results = []
    for view, other in zip(clean, attacked, strict=True):
        if view.device.type == "mps":  # which has no double precision
            results.append(within_budget([view.cpu()], [other.cpu()], epsilon)[0].to(view.device))
            continue
        exact = view.double()
        kept = other.double().clamp(exact - epsilon, exact + epsilon).clamp(0, 1).to(view.dtype)
        excess = (kept.double() - exact).abs() > epsilon
        results.append(torch.where(excess, torch.nextafter(kept, view), kept))
    return tuple(results)
