"""What attacks maximise: each sample's distance between what a clusterer makes of clean and of attacked views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.clusterers.base import mask_of
from ar_dmvc.distributed import mean_rows
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import assignment_divergence_terms, contrastive_terms, in_full_precision


@dataclass(frozen=True)
class Objective:
    """A value to maximise, by name.

    Attributes:
        name: as configurations give it.
        terms: attacked and clean output to one value a sample, (N,).
        compares: whether it looks at the clean output (else that is the attacked one again, and saves a pass), in which
            case its gradient vanishes at the clean views and attacks have to start elsewhere.
        applies: whether a clusterer has what is maximised.
        needs: what that is, for messages.
    """

    name: str
    terms: Callable[[ClustererOutput, ClustererOutput], Tensor]
    compares: bool
    applies: Callable[[Clusterer], bool] = lambda clusterer: True
    needs: str = ""

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


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "contrastive_alignment",
            lambda clean, attacked: contrastive_terms(attacked.latents, mask=mask_of(attacked)),
            compares=False,
            applies=lambda clusterer: clusterer.aligns_contrastively,
            needs="a contrastive loss of the clusterer's own",
        ),
        Objective(
            "assignment_divergence",
            lambda clean, attacked: assignment_divergence_terms(clean.assignments, attacked.assignments),
            compares=True,
        ),
        Objective("attack_distance", attack_distance_terms, compares=True),
    )
}


def objective_named(name: str) -> Objective:
    """Look up an objective.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective: {name!r} is not one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
