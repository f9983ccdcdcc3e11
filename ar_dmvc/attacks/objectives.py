"""What attacks maximise: each sample's distance between what a clusterer makes of clean and of attacked views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.clusterers.base import mask_of
from ar_dmvc.distributed import mean_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import assignment_divergence_terms, contrastive_terms, in_full_precision


class Objective(ABC):
    """A value of each sample to maximise. One of your own is a subclass, given by its class path.

    Attributes:
        name: as configurations and messages give it.
        compares: whether it looks at the clean output (else that is the attacked one again, and saves a pass), in which
            case its gradient vanishes at the clean views and attacks have to start elsewhere.
        needs: what a clusterer has to have for it, for messages.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = True
    needs: ClassVar[str] = ""

    @abstractmethod
    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Clean and attacked output to one value a sample, (N,)."""

    def applies(self, clusterer: Clusterer) -> bool:
        """Whether a clusterer has what is maximised."""
        return True

    def check(self, clusterer: Clusterer) -> None:
        """Check that the objective applies to a clusterer.

        Raises:
            ConfigurationError: it does not.
        """
        if not self.applies(clusterer):
            others = " and ".join(name for name, other in OBJECTIVES.items() if other.applies(clusterer))
            raise ConfigurationError(
                f"{self.name} needs {self.needs}, which {type(clusterer).__name__} has not; {others} apply to it"
            )


@in_full_precision
def attack_distance_terms(
    clean: ClustererOutput, attacked: ClustererOutput, consistency: float = 1.0, complementarity: float = 1.0
) -> Tensor:
    """What each sample adds to :func:`attack_distance`, which is the mean of these: (N,)."""
    hidden: Tensor = torch.linalg.vector_norm(clean.hidden - attacked.hidden, dim=1)
    latents = torch.stack(
        [torch.linalg.vector_norm(z - other, dim=1) for z, other in zip(clean.latents, attacked.latents, strict=True)]
    )
    return (consistency * hidden + complementarity * latents.sum(0)) / 2


def attack_distance(
    clean: ClustererOutput, attacked: ClustererOutput, consistency: float = 1.0, complementarity: float = 1.0
) -> Tensor:
    """Half the distance of the hidden representations plus half those of the views' latents, mean over the batch.

    Source: Huang et al., ICML 2024, the term that their attack maximises (there summed over the batch).

    Args:
        clean: the clusterer's output for clean views.
        attacked: its output for the same samples attacked.
        consistency: weight of the hidden representations' distance, what the views agree on.
        complementarity: weight of the latents' distances, what each view adds.

    Returns:
        Scalar, at least zero.
    """
    return mean_rows(attack_distance_terms(clean, attacked, consistency, complementarity))


class ContrastiveAlignment(Objective):
    """The clusterer's own contrastive loss of the attacked latents, the inner objective of Huang et al."""

    name = "contrastive_alignment"
    compares = False
    needs = "a contrastive loss of the clusterer's own"

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """What each sample adds to the loss, (N,)."""
        return contrastive_terms(attacked.latents, mask=mask_of(attacked))

    def applies(self, clusterer: Clusterer) -> bool:
        """Whether the clusterer has that loss."""
        return clusterer.aligns_contrastively


class AssignmentDivergence(Objective):
    """Divergence of the attacked from the clean assignments, what the Attack Mitigator minimises."""

    name = "assignment_divergence"

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's divergence, (N,)."""
        return assignment_divergence_terms(clean.assignments, attacked.assignments)


class AttackDistance(Objective):
    """Distance of hidden representations and latents, what the GAN attack maximises: see :func:`attack_distance`."""

    name = "attack_distance"

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's distance, (N,)."""
        return attack_distance_terms(clean, attacked)


OBJECTIVES: dict[str, Objective] = {kind.name: kind() for kind in (ContrastiveAlignment, AssignmentDivergence, AttackDistance)}
"""Those that configurations may name, by name."""


def objective_named(name: str) -> Objective:
    """Look up an objective.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective: {name!r} is not one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
