"""What is attacked: a clusterer on a batch, whose clean output is computed once, and whose passes are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ar_dmvc.attacks.threat import Views
from ar_dmvc.clusterers import Clusterer, ClustererOutput

_STILL_RISING = 0.1
_ROUNDING = 0.01
_PASSES_THAT_DECIDE = 8


class Signs(NamedTuple):
    """Signs by which an attack may have gone wrong, as numbers of samples.

    Attributes:
        samples: that ascended.
        zero: that have no gradient at the start, exactly.
        flat: whose objective was nowhere higher than at the start.
        rising: whose objective gained more than a tenth of its whole rise in the last tenth of the steps, two at least.
        cut: whose perturbation left the budget, and was cut back to it.
    """

    samples: int = 0
    zero: int = 0
    flat: int = 0
    rising: int = 0
    cut: int = 0

    @classmethod
    def of(cls, values: Sequence[Tensor], first_gradients: Views) -> Signs:
        """The signs of one ascent; see :meth:`Target.observe`."""
        path = torch.stack(tuple(values))
        highest, late = path.amax(0), max(2, len(path) // 10)
        gain = highest - path[0]
        before = path[:-late].amax(0) if len(path) > late else highest
        zero = torch.stack([~gradient.flatten(1).any(1) for gradient in first_gradients]).all(0)
        signs = (zero, gain <= 0, highest - before > _STILL_RISING * gain)
        return cls(path.shape[1], *(int(sign.sum()) for sign in signs))

    def __add__(self, other: object) -> Signs:
        assert isinstance(other, Signs)
        return Signs(*(one + more for one, more in zip(self, other, strict=True)))


class Target:
    """A clusterer on a batch, as an attack meets it.

    Args:
        clusterer: in the mode in which it is attacked; its running statistics are left alone by whoever runs the attack.
        mask: (N, V) bool, which views the samples have; None: all.
        clean: its output for the clean views, without gradient, where that is known already.

    Attributes:
        passes: forward passes of the batch, the clean one not counted.
        queries: how many of them each sample was part of, (N,); None before the first.
        watched: whether gradient attacks are to say how their ascents went.
        signs: how they did, where that is watched.
        movers: which member of an attack made of several moved each sample, (N,), -1 for none; None if there are no members.
    """

    def __init__(self, clusterer: Clusterer, mask: Tensor | None = None, clean: ClustererOutput | None = None) -> None:
        self.clusterer = clusterer
        self.mask = mask
        self.passes = 0
        self.queries: Tensor | None = None
        self.movers: Tensor | None = None
        self.watched = False
        self.signs = Signs()
        self._clean = clean

    def __call__(self, views: Views, samples: Tensor | None = None) -> ClustererOutput:
        """Cluster attacked views; with gradient where that is enabled.

        Args:
            views: V views (N, *shape_v).
            samples: which samples of the batch these are, (n,), where they are not all of them.
        """
        self._count(len(views[0]), samples)
        mask = self.mask if self.mask is None or samples is None else self.mask[samples]
        return self.clusterer.cluster(views, mask)

    def steady(self, views: Views, samples: Tensor | None = None) -> ClustererOutput:
        """The same; of a stochastic clusterer, with the mean of the assignments of several passes: in one, luck decides."""
        return _steady(lambda: self(views, samples), self.clusterer.is_stochastic)

    def decided(self, views: Views, own: Tensor, samples: Tensor | None = None) -> Tensor:
        """Assignments (n, K) of attacked views; of a stochastic clusterer :meth:`steady` where a sample seems to have moved.

        Args:
            views: V views (n, *shape_v).
            own: their clusters, (n,).
            samples: which samples of the batch these are, (n,), where they are not all of them.
        """
        assignments = self(views, samples).assignments
        moved = (assignments.argmax(1) != own).nonzero()[:, 0]
        if not self.clusterer.is_stochastic or len(moved) == 0:
            return assignments
        if self.clusterer.training:
            again = self.steady(views, samples).assignments[moved]
        else:
            again = self.steady([view[moved] for view in views], moved if samples is None else samples[moved]).assignments
        return assignments.index_copy(0, moved, again)

    def clean(self, views: Views) -> ClustererOutput:
        """The output for the clean views of the batch, without gradient, computed once; of a stochastic clusterer as steady."""
        if self._clean is None:
            with torch.no_grad():
                self._clean = _steady(lambda: self.clusterer.cluster(views, self.mask), self.clusterer.is_stochastic)
        return self._clean

    def each(self) -> Sequence[Target]:
        """What is to be misled at once: this alone, unless it stands for several."""
        return (self,)

    def uncounted(self) -> Target:
        """The same target, its clean output included, for another attack to count with."""
        return self._like(self.mask, self._clean)

    def part(self, samples: Tensor) -> Target:
        """The same on some samples (n,) of the batch, counted apart; for a clusterer in evaluation mode."""
        clean = None
        if self._clean is not None:
            extra = {} if self.mask is None else {"mask": (self.mask[samples],)}  # the rest is for losses
            clean = self._clean.of(samples)._replace(extra=extra)
        return self._like(None if self.mask is None else self.mask[samples], clean)

    def add(self, other: Target, samples: Tensor, size: int) -> None:
        """Count what was done to a :meth:`part` of a batch of ``size`` samples as done to this."""
        self.passes += other.passes
        self.signs += other.signs
        if other.queries is not None:
            self.queries = torch.zeros(size, dtype=torch.int64) if self.queries is None else self.queries
            self.queries[samples.cpu()] += other.queries

    def observe(self, values: Sequence[Tensor], first_gradients: Views) -> None:
        """Take note of an ascent, where that is watched: its values (N,) step by step, and its gradients at the start."""
        if self.watched:
            self.signs += Signs.of(values, first_gradients)

    def observe_cut(self, sizes: Tensor, budget: float, rounding: float = 0.0) -> None:
        """Take note of perturbations whose sizes (N,) are beyond the budget, by more than rounding, or no numbers."""
        self.signs += Signs(cut=int((~(sizes <= budget * (1 + _ROUNDING) + rounding)).sum()))

    def _like(self, mask: Tensor | None, clean: ClustererOutput | None) -> Target:
        other = Target(self.clusterer, mask, clean)
        other.watched = self.watched
        return other

    def _count(self, rows: int, samples: Tensor | None) -> None:
        self.passes += 1
        if self.queries is None:
            known = rows if self._clean is None else len(self._clean.assignments)
            size = known if samples is None or len(samples) == 0 else max(known, int(samples.max()) + 1)
            self.queries = torch.zeros(size, dtype=torch.int64)
        if samples is None:
            self.queries += 1
        else:
            self.queries[samples.cpu()] += 1


def _steady(cluster: Callable[[], ClustererOutput], is_stochastic: bool) -> ClustererOutput:
    """An output, of a stochastic clusterer with the mean of the assignments of several."""
    output = cluster()
    if not is_stochastic:
        return output
    others = [cluster().assignments for _ in range(_PASSES_THAT_DECIDE - 1)]
    return output._replace(assignments=torch.stack([output.assignments, *others]).mean(0))


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


def with_broken_highest(values: Tensor) -> Tensor:
    """What is maximised, with infinity for what is no number: a clusterer that breaks has moved."""
    return values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def usable(tensor: Tensor) -> Tensor:
    """A tensor that can take part in autograd, which one made under inference mode cannot."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
