"""What attacks maximise: each sample's distance between what a clusterer makes of clean and of attacked views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.clusterers.base import mask_of
from ar_dmvc.distributed import count_rows, gather_rows, mean_rows, row_positions
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.losses import assignment_divergence_terms, contrastive_terms, full_precision, in_full_precision
from ar_dmvc.signatures import TypesChecked


class Objective(TypesChecked, ABC):
    """A value of each sample to maximise. One of your own is a subclass, given by its class path.

    Attributes:
        name: as configurations and messages give it.
        compares: whether it looks at the clean output; else that is the attacked one again, which saves a pass.
        vanishes_at_clean: whether its gradient is zero at the clean views, so that attacks have to start elsewhere.
        needs: what a clusterer has to have for it, for messages.
        on_representations: whether it compares latents or hidden representations rather than assignments.
        couples_samples: whether a sample's value is about the others of its batch, too: it says nothing of one alone.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = True
    vanishes_at_clean: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    on_representations: ClassVar[bool] = False
    couples_samples: ClassVar[bool] = False

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
            others = ", ".join(name for name, other in OBJECTIVES.items() if other.applies(clusterer))
            raise ConfigurationError(
                f"{self.name} needs {self.needs}, which {type(clusterer).__name__} has not; to it apply {others}"
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
    """The contrastive loss of CoMVC, AECoDDC and SEM, at its published temperature of 0.1, on the attacked latents.

    The inner objective of Huang et al.
    """

    name = "contrastive_alignment"
    compares = False
    couples_samples = True
    vanishes_at_clean = False
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
    on_representations = True

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's distance, (N,)."""
        return attack_distance_terms(clean, attacked)


class CrossEntropy(Objective):
    """Minus the logarithm of the clean cluster's assignment.

    Its gradient vanishes where that assignment is one in the precision at hand: there :class:`Margin` still has one.
    """

    name = "cross_entropy"
    vanishes_at_clean = False

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's cross-entropy, (N,)."""
        return -_of_cluster(_log_assignments(attacked), clean.assignments.argmax(1))


class Margin(Objective):
    """By how much another cluster is ahead of the clean one, in logarithms of assignments, free of their scale.

    The difference of logits ratio (DLR); with two clusters, where it would be constant, the difference alone. It
    vanishes only where all other assignments underflow.

    Source: Croce and Hein, ICML 2020.

    Args:
        rank: towards which other cluster: 1 the likeliest on the clean sample, 2 the second, and so on; None: whichever is
            ahead.

    Raises:
        ValueError: a rank below one.
    """

    name = "margin"
    vanishes_at_clean = False

    def __init__(self, rank: int | None = None) -> None:
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        self.rank = rank

    def check(self, clusterer: Clusterer) -> None:
        """Check that there is a cluster of this rank.

        Raises:
            ConfigurationError: there is none.
        """
        if self.rank is not None and self.rank >= clusterer.num_clusters:
            raise ConfigurationError(
                f"margin: rank {self.rank} is beyond the {clusterer.num_clusters - 1} other clusters of the clusterer"
            )

    def ranks(self, clean: ClustererOutput) -> Tensor | None:
        """Each sample's rank, (N,), if there is any."""
        samples = clean.assignments
        return None if self.rank is None else torch.full((len(samples),), self.rank, device=samples.device)

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's margin, (N,)."""
        own, logits = clean.assignments.argmax(1), _log_assignments(attacked)
        ordered = logits.sort(1, descending=True).values
        ranks = self.ranks(clean)
        if ranks is None:
            others = logits.scatter(1, own[:, None], -torch.inf).amax(1)
            spread = ordered[:, 0] - ordered[:, min(2, logits.shape[1] - 1)]
        else:
            others = _of_cluster(logits, _of_cluster(clean.assignments.argsort(dim=1, descending=True, stable=True), ranks))
            third = ordered[:, 2:4].mean(1) if logits.shape[1] > 2 else ordered[:, 1]
            spread = ordered[:, 0] - third
        ahead = others - _of_cluster(logits, own)
        return ahead if logits.shape[1] < 3 else ahead / (spread + 1e-12)


class Consistency(Objective):
    """Distance of the hidden representations, what the views agree on; its gradient vanishes at the clean views."""

    name = "consistency"
    on_representations = True

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's distance, (N,)."""
        return attack_distance_terms(clean, attacked, complementarity=0.0)


class Complementarity(Objective):
    """Distance of the latents, what each view adds; its gradient vanishes at the clean views."""

    name = "complementarity"
    on_representations = True

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """Each sample's distance, summed over views, (N,)."""
        return attack_distance_terms(clean, attacked, consistency=0.0)


class Structure(Objective):
    """Expected share of the batch's pairs on which the attacked clustering disagrees with the clean one: 1 - Rand index.

    Assignments are taken for independent probabilities. Its gradient vanishes where assignments are one or zero.
    """

    name = "structure"
    vanishes_at_clean = False
    couples_samples = True

    def terms(self, clean: ClustererOutput, attacked: ClustererOutput) -> Tensor:
        """What each sample adds: its share of disagreeing pairs, (N,)."""
        own, soft = clean.assignments.argmax(1), full_precision(attacked.assignments)
        together = (gather_rows(own)[None] == own[:, None]).to(soft.dtype)
        expected = soft @ gather_rows(soft).T
        apart = together * (1 - expected) + (1 - together) * expected
        itself = row_positions(own)[:, None] == torch.arange(count_rows(own), device=own.device)
        share: Tensor = apart.masked_fill(itself, 0).sum(1) / max(1, count_rows(own) - 1)
        return share


def _log_assignments(output: ClustererOutput) -> Tensor:
    assignments: Tensor = full_precision(output.assignments)
    return assignments.clamp(min=torch.finfo(assignments.dtype).tiny).log()


def _of_cluster(values: Tensor, cluster: Tensor) -> Tensor:
    return values.gather(1, cluster[:, None])[:, 0]


OBJECTIVES: dict[str, Objective] = {
    kind.name: kind()
    for kind in (
        ContrastiveAlignment,
        AssignmentDivergence,
        AttackDistance,
        CrossEntropy,
        Margin,
        Consistency,
        Complementarity,
        Structure,
    )
}
"""Those that configurations may name, by name."""


def objective_named(name: str) -> Objective:
    """Look up an objective.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective: {name!r} is not one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
