"""Outer losses of adversarial training: what a student makes of clean and of attacked views, against the clusters taught."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ar_dmvc.distributed import mean_rows
from ar_dmvc.losses import full_precision

Distance = Literal["kl", "reverse_kl", "squared"]


class OuterLoss(ABC):
    """Loss terms of a student. One of your own is a subclass, given by its class path.

    Attributes:
        needs_clean: whether it looks at the clean assignments; else that pass is saved.
    """

    needs_clean: ClassVar[bool] = True

    @abstractmethod
    def terms(self, clean: Tensor | None, attacked: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Weighted loss terms, scalars by name, whose sum is minimised.

        Args:
            clean: assignments of the clean views, (N, K); None where they are not needed.
            attacked: assignments of the same samples attacked, (N, K).
            targets: what is taught, (N, K), rows sum to one.
        """


class AdversarialCrossEntropy(OuterLoss):
    """Cross-entropy of the attacked assignments with the targets.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """

    needs_clean = False

    def terms(self, clean: Tensor | None, attacked: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One term, ``attacked``."""
        return {"attacked": _cross_entropy(attacked, targets)}


class TRADES(OuterLoss):
    """Cross-entropy of the clean assignments with the targets, and a distance of the attacked from the clean ones.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019. With A the clean and
    A' the attacked assignments, the distance is KL(A || A'), as of the Attack Mitigator; KL(A' || A); or |A - A'|^2.

    Args:
        weight: of the distance, at least zero.
        distance: ``kl``, ``reverse_kl`` or ``squared``.

    Raises:
        ValueError: a negative weight, or an unknown distance.
    """

    def __init__(self, weight: float = 6.0, distance: Distance = "kl") -> None:
        _check_weight(weight)
        if distance not in get_args(Distance):
            raise ValueError(f"distance: {distance!r} is not one of {', '.join(get_args(Distance))}")
        self.weight = weight
        self.distance = distance

    def terms(self, clean: Tensor | None, attacked: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Two terms, ``clean`` and ``distance``."""
        assert clean is not None
        if self.distance == "squared":
            rows = (full_precision(clean) - full_precision(attacked)).square().sum(1)
        elif self.distance == "kl":
            rows = _divergence(clean, attacked)
        else:
            rows = _divergence(attacked, clean)
        return {"clean": _cross_entropy(clean, targets), "distance": self.weight * mean_rows(rows)}


class MART(OuterLoss):
    """Adversarial cross-entropy with a margin, and the divergence of attacked from clean assignments where those are unsure.

    Source: Wang et al., "Improving adversarial robustness requires revisiting misclassified examples", ICLR 2020.

    Args:
        weight: of the divergence, at least zero.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 5.0) -> None:
        _check_weight(weight)
        self.weight = weight

    def terms(self, clean: Tensor | None, attacked: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Two terms, ``attacked`` and ``divergence``."""
        assert clean is not None
        others = full_precision(attacked).scatter(1, targets.argmax(1, keepdim=True), 0.0).amax(1)
        margin = mean_rows(-_log(1 - others))
        unsure = 1 - (targets * full_precision(clean)).sum(1)
        divergence = mean_rows(unsure * _divergence(clean, attacked))
        return {"attacked": _cross_entropy(attacked, targets) + margin, "divergence": self.weight * divergence}


def _check_weight(weight: float) -> None:
    if not weight >= 0:
        raise ValueError(f"weight must be at least 0, got {weight}")


def _divergence(one: Tensor, other: Tensor) -> Tensor:
    """KL(one || other) of assignments (N, K), (N,)."""
    first = _log(one)
    return (first.exp() * (first - _log(other))).sum(1)


def _cross_entropy(assignments: Tensor, targets: Tensor) -> Tensor:
    return mean_rows(-(targets * _log(assignments)).sum(1))


def _log(assignments: Tensor) -> Tensor:
    exact: Tensor = full_precision(assignments)
    return exact.clamp(min=torch.finfo(exact.dtype).tiny).log()
