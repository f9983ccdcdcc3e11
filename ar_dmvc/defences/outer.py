"""Outer losses of adversarial training: what a student makes of clean and of attacked views, against the clusters taught."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ar_dmvc.clusterers import Clusterer, ClustererOutput, Purified
from ar_dmvc.distributed import mean_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import full_precision
from ar_dmvc.signatures import TypesChecked

Distance = Literal["kl", "reverse_kl", "squared"]


class OuterLoss(TypesChecked, ABC):
    """Loss terms of a student. One of your own is a subclass, given by its class path.

    Attributes:
        on_representations: whether it compares representations with the teacher's, rather than assignments alone.
        needs_clean: whether it looks at what the student makes of clean views; else that pass is saved.
    """

    needs_clean: ClassVar[bool] = True
    on_representations: ClassVar[bool] = False

    @abstractmethod
    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        """Weighted loss terms, scalars by name, whose sum is minimised.

        Args:
            clean: what the student makes of the clean views; None where that is not needed.
            attacked: what it makes of the same samples attacked.
            taught: what the teacher makes of them clean; its assignments, (N, K), are the targets, one-hot or soft.
        """

    def checked_terms(
        self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput
    ) -> dict[str, Tensor]:
        """:meth:`terms`, which are scalars by name.

        Raises:
            TypeError: they are not.
        """
        terms = self.terms(clean, attacked, taught)
        expected = f"{type(self).__name__}.terms: scalars by name are expected"
        if not isinstance(terms, dict):
            raise TypeError(f"{expected}, got a {type(terms).__name__}")
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.dim() > 0:
                shape = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
                raise TypeError(f"{expected}, got {shape} for {name!r}")
        return terms

    def check(self, student: Clusterer, teacher: Clusterer) -> None:
        """Check that there is what it compares.

        Raises:
            ConfigurationError: there is not.
        """


class AdversarialCrossEntropy(OuterLoss):
    """Cross-entropy of the attacked assignments with the targets.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """

    needs_clean = False

    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        """One term, ``attacked``."""
        return {"attacked": _cross_entropy(attacked.assignments, taught.assignments)}


class TRADES(OuterLoss):
    """Cross-entropy of the clean assignments with the targets, and a distance of the attacked from the clean ones.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019. With A the clean and
    A' the attacked assignments, the distance is KL(A || A'), KL(A' || A) or |A - A'|^2.

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

    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        """Two terms, ``clean`` and ``distance``."""
        assert clean is not None
        one, other = clean.assignments, attacked.assignments
        if self.distance == "squared":
            rows = (full_precision(one) - full_precision(other)).square().sum(1)
        elif self.distance == "kl":
            rows = _divergence(one, other)
        else:
            rows = _divergence(other, one)
        return {"clean": _cross_entropy(one, taught.assignments), "distance": self.weight * mean_rows(rows)}


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

    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        """Two terms, ``attacked`` and ``divergence``."""
        assert clean is not None
        one, other, targets = clean.assignments, attacked.assignments, taught.assignments
        runner_up = full_precision(other).scatter(1, targets.argmax(1, keepdim=True), 0.0).amax(1)
        margin = mean_rows(-_log(1 - runner_up))
        unsure = 1 - (targets * full_precision(one)).sum(1)
        divergence = mean_rows(unsure * _divergence(one, other))
        return {"attacked": _cross_entropy(other, targets) + margin, "divergence": self.weight * divergence}


class HiddenDistance(OuterLoss):
    """Distance of the hidden representation of attacked views from that which the teacher has of them clean.

    For students whose representation is their teacher's, such as :class:`~ar_dmvc.clusterers.Purified`.

    Source: Liao et al., "Defense against adversarial attacks using high-level representation guided denoiser", CVPR 2018: the
    mean absolute difference, here as a share of the mean absolute value.

    Args:
        weight: of the adversarial cross-entropy beside it, at least zero.

    Raises:
        ValueError: a negative weight.
    """

    needs_clean = False
    on_representations = True

    def __init__(self, weight: float = 1.0) -> None:
        _check_weight(weight)
        self.weight = weight

    def check(self, student: Clusterer, teacher: Clusterer) -> None:
        """Check that the student's representation is built on its teacher's."""
        if not isinstance(student, Purified):
            raise ConfigurationError(f"outer: the hidden representation of {type(student).__name__} is not its teacher's")

    def terms(self, clean: ClustererOutput | None, attacked: ClustererOutput, taught: ClustererOutput) -> dict[str, Tensor]:
        """Two terms, ``hidden`` and ``attacked``."""
        own, wanted = full_precision(attacked.hidden), full_precision(taught.hidden)
        hidden = mean_rows((own - wanted).abs().mean(1)) / mean_rows(wanted.abs().mean(1)).clamp(min=1e-12)
        return {"hidden": hidden, "attacked": self.weight * _cross_entropy(attacked.assignments, taught.assignments)}


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
