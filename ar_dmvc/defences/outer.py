"""Outer losses of adversarial training: what a student makes of clean and of attacked views, against the clusters taught."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ar_dmvc.distributed import mean_rows
from ar_dmvc.losses import full_precision


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
    """Cross-entropy of the clean assignments with the targets, and the divergence of the attacked from the clean ones.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019.

    Args:
        weight: of the divergence, at least zero.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 6.0) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, got {weight}")
        self.weight = weight

    def terms(self, clean: Tensor | None, attacked: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Two terms, ``clean`` and ``divergence``."""
        assert clean is not None
        own, other = _log(clean), _log(attacked)
        divergence = mean_rows((own.exp() * (own - other)).sum(1))
        return {"clean": _cross_entropy(clean, targets), "divergence": self.weight * divergence}


def _cross_entropy(assignments: Tensor, targets: Tensor) -> Tensor:
    return mean_rows(-(targets * _log(assignments)).sum(1))


def _log(assignments: Tensor) -> Tensor:
    exact: Tensor = full_precision(assignments)
    return exact.clamp(min=torch.finfo(exact.dtype).tiny).log()
