"""What attacks did to each sample, from which every figure of an evaluation is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ar_dmvc.metrics.functional import (
    adjusted_rand_index,
    cluster_accuracy,
    cluster_purity,
    contingency_cells,
    contingency_table,
    normalized_mutual_information,
)

METRICS = ("acc", "nmi", "ari", "purity", "fixed_acc", "kept")
NOT_FINITE = -1
"""The cluster of a sample whose assignments are no finite numbers."""
_UNLABELLED = torch.iinfo(torch.int64).min

Scores = dict[str, float]


class AttackRecord(NamedTuple):
    """A row for each sample and attack; A attacks, N samples in the order of the data.

    Attributes:
        attacks: names, A of them.
        index: position in the data set, (N,).
        label: class, (N,); None where the data has no labels.
        clean: cluster of the clean views, (N,).
        cluster: of the attacked views, (A, N).
        queries: forward passes of the clusterer that each attack took for a sample, (A, N).
        norm: of the change, in the norm of the attack's threat model, (A, N).
        mover: of an attack that is made of several, the position in its ``members`` of that which moved a sample, -1 for
            none, (A, N).
        members: their names, of each attack.
    """

    attacks: tuple[str, ...]
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a record
    label: Tensor | None
    clean: Tensor
    cluster: Tensor
    queries: Tensor
    norm: Tensor
    mover: Tensor
    members: tuple[tuple[str, ...], ...]

    @property
    def moved(self) -> Tensor:
        """Which samples each attack moved to another cluster, (A, N); those without finite assignments count as moved."""
        return (self.cluster != self.clean) | (self.cluster == NOT_FINITE)

    @property
    def right(self) -> Tensor:
        """Which samples' clean cluster is the one that clean data matches with their class, one to one: (N,).

        Raises:
            ValueError: there are no labels.
        """
        return self.is_right(self.clean)

    def is_right(self, cluster: Tensor) -> Tensor:
        """Which samples' cluster, (N,), is the one that the clean clusters match with their class, one to one: (N,).

        Raises:
            ValueError: there are no labels.
        """
        if self.label is None:
            raise ValueError("which clusters are right is not known without labels")
        table = contingency_table(contingency_cells(self.clean, self.label))
        rows, columns = (torch.as_tensor(places) for places in linear_sum_assignment(table.numpy(), maximize=True))
        clusters, classes = torch.unique(self.clean), torch.unique(self.label)
        matched = torch.stack([clusters[rows], classes[columns]], 1)
        pairs = torch.stack([cluster, self.label], 1)
        return (pairs[:, None] == matched).all(2).any(1) & (cluster != NOT_FINITE)

    @property
    def survives(self) -> Tensor:
        """Which samples are right on clean data and moved by no attack, (N,)."""
        return self.right & ~self.moved.any(0)

    def first(self) -> Iterator[tuple[int, int, str, int, float]]:
        """Of each sample: index, clean cluster, and by what it was moved first, to where, by how much.

        The name is that of an attack, in the order of the suite, or ``attack/member``; empty, with the clean cluster and zero,
        where none moved the sample.
        """
        for sample, (index, clean) in enumerate(zip(self.index.tolist(), self.clean.tolist(), strict=True)):
            movers = self.moved[:, sample].nonzero()[:, 0].tolist()
            if not movers:
                yield index, clean, "", clean, 0.0
                continue
            attack, member = movers[0], int(self.mover[movers[0], sample])
            name = self.attacks[attack] + (f"/{self.members[attack][member]}" if member >= 0 else "")
            yield index, clean, name, int(self.cluster[attack, sample]), float(self.norm[attack, sample])

    def taken(self, attack: str) -> dict[str, float]:
        """The share of all samples that each member of an attack moved, by name; empty where it has none."""
        number = self.attacks.index(attack)
        names, movers = self.members[number], self.mover[number]
        return {name: float((movers == place).double().mean()) for place, name in enumerate(names)}

    def worst_cluster(self) -> Tensor:
        """Each sample's cluster in the worst case, (N,): of the attacks that move it, that which moves most samples."""
        worst = self.clean.clone()
        for number in self.moved.sum(1).argsort(stable=True).tolist():
            worst = torch.where(self.moved[number], self.cluster[number], worst)
        return worst

    def clean_scores(self) -> Scores:
        """Metrics of the clean clusters."""
        return self._scores(self.clean, torch.ones_like(self.clean, dtype=torch.bool))

    def scores(self) -> dict[str, Scores]:
        """Attack to metric to value: ACC, NMI, ARI and purity of the attacked clusters as a clustering of their own.

        ``fixed_acc`` is the share of samples that are right on clean data and not moved: a clustering that is permuted by the
        attack keeps its ACC, and loses this. ``kept`` is the share that is not moved, right or wrong; without labels it is the
        only one.
        """
        return {
            name: self._scores(cluster, ~moved)
            for name, cluster, moved in zip(self.attacks, self.cluster, self.moved, strict=True)
        }

    def worst_scores(self) -> Scores:
        """Metrics of the worst case of each sample; ACC is ``fixed_acc``, because the matching of clean data stays."""
        scores = self._scores(self.worst_cluster(), ~self.moved.any(0))
        return scores if self.label is None else {**scores, "acc": scores["fixed_acc"]}

    def _scores(self, cluster: Tensor, kept: Tensor) -> Scores:
        share = float(kept.double().mean())
        if self.label is None:
            return {"kept": share}
        table = contingency_table(contingency_cells(cluster, self.label))
        figures = (cluster_accuracy, normalized_mutual_information, adjusted_rand_index, cluster_purity)
        values = [float(figure(table)) for figure in figures]
        return dict(zip(METRICS, [*values, float((self.right & kept).double().mean()), share], strict=True))

    def arrays(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Plain arrays by name, to be written."""
        tensors = {name: value.numpy() for name, value in self._asdict().items() if isinstance(value, Tensor)}
        names = {"attacks": self.attacks, "members": [",".join(names) for names in self.members]}
        return {**{name: np.array(values, dtype=np.str_) for name, values in names.items()}, **tensors}


class RecordMetric(Metric):
    """Gathers the rows of all batches and processes.

    Args:
        attacks: their names.
        kwargs: of :class:`torchmetrics.Metric`.

    Attributes:
        members: the names of what attacks are made of, by attack; of each that is in it.
    """

    full_state_update = False
    integers: list[Tensor]
    norms: list[Tensor]

    def __init__(self, attacks: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attacks = tuple(attacks)
        self.members: dict[str, tuple[str, ...]] = {}
        self.add_state("integers", [], dist_reduce_fx="cat")
        self.add_state("norms", [], dist_reduce_fx="cat")

    def update(self, integers: Tensor, norms: Tensor) -> None:
        """Add samples.

        Args:
            integers: (n, 3 + 3 A): those of :func:`own_columns`, the clusters under attack, the queries, the movers.
            norms: (n, A).

        Raises:
            ValueError: they are of other shapes.
        """
        count = len(self.attacks)
        if integers.dim() != 2 or (*integers.shape, *norms.shape) != (len(integers), 3 + 3 * count, len(integers), count):
            raise ValueError(f"rows of {count} attacks are expected, got {tuple(integers.shape)} and {tuple(norms.shape)}")
        self.integers.append(integers.to(torch.int64))
        self.norms.append(norms.to(torch.float32))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Everything that all processes have added, as :meth:`update` takes it."""
        return dim_zero_cat(self.integers), dim_zero_cat(self.norms)

    def record(self) -> AttackRecord:
        """The same in the order of the data, on the CPU; all processes have to call it."""
        integers, norms = (part.cpu() for part in self.compute())
        order = integers[:, 0].argsort(stable=True)
        index, label, clean, *others = integers[order].T.contiguous()
        count = len(self.attacks)
        table = torch.stack(others).view(3, count, -1) if count else integers.new_zeros(3, 0, len(index))
        clusters, queries, movers = table.unbind()
        members = tuple(self.members.get(name, ()) for name in self.attacks)
        norms = norms[order].T.contiguous()
        known = None if (label == _UNLABELLED).all() else label
        return AttackRecord(self.attacks, index, known, clean, clusters, queries, norms, movers, members)


def own_columns(index: Tensor, labels: Tensor | None, clean: Tensor) -> Tensor:
    """The first columns that a :class:`RecordMetric` takes of samples.

    Args:
        index: positions in the data set, (n,).
        labels: (n,), or None.
        clean: clusters of the clean views, (n,).

    Returns:
        (n, 3), on the device of the clusters.
    """
    known = torch.full_like(clean, _UNLABELLED) if labels is None else labels.to(clean)
    return torch.stack([index.to(clean), known, clean], 1)
