"""Each sample's last perturbation, from which the next attack on it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ar_dmvc.distributed import gather_rows
from ar_dmvc.errors import CheckpointError
from ar_dmvc.networks import Shape

_STEPS = 127


class KeptPerturbations:
    """The perturbations that samples were last given, in steps of 1/127 of the budget: a byte for each value of each view.

    On several devices each keeps those of all, because a sample may be another device's in the next epoch.

    Source: Zheng et al., "Efficient adversarial training with transferable adversarial examples", CVPR 2020.

    Args:
        budget: that the perturbations keep to, positive.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.tables: list[Tensor] = []

    def start(self, index: Tensor, otherwise: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Initial perturbations: those kept of the samples at ``index`` (N,); of samples not seen before, ``otherwise``."""
        if not self.tables:
            return tuple(otherwise)
        known, *kept = (table.to(index.device)[index.clamp(max=len(table) - 1)] for table in self.tables)
        known = known.bool() & (index < len(self.tables[0]))
        return tuple(
            torch.where(known.view(-1, *[1] * (fresh.dim() - 1)), table.to(fresh.dtype) * (self.budget / _STEPS), fresh)
            for table, fresh in zip(kept, otherwise, strict=True)
        )

    def keep(self, index: Tensor, perturbations: Sequence[Tensor], samples: int | None = None) -> None:
        """Keep perturbations, V tensors (N, *shape_v), of the samples at ``index`` (N,).

        Args:
            index: positions in the data set.
            perturbations: within the budget.
            samples: of the data set; None: not known, the tables grow as needed.
        """
        index = gather_rows(index, always=True)
        steps = [torch.round(change / self.budget * _STEPS).to(torch.int8) for change in perturbations]
        values = [torch.ones_like(index, dtype=torch.int8), *(gather_rows(change, always=True) for change in steps)]
        count = int(index.max()) + 1 if samples is None else samples
        if not self.tables:
            self.tables = [value.new_zeros(count, *value.shape[1:]) for value in values]
        grown = max(0, count - len(self.tables[0]))
        for number, value in enumerate(values):
            table = self.tables[number].to(value.device)
            if grown:
                table = torch.cat([table, table.new_zeros(grown, *table.shape[1:])])
            table[index] = value
            self.tables[number] = table

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` goes on from."""
        return {"tables": [table.cpu() for table in self.tables]}

    def load_state_dict(self, state: Any, view_shapes: Sequence[Shape]) -> None:
        """Go on from a state, of views of these shapes.

        Raises:
            CheckpointError: it is none.
        """
        tables = state.get("tables") if isinstance(state, dict) else None
        if not isinstance(tables, list) or not all(isinstance(t, Tensor) and t.dtype == torch.int8 for t in tables):
            raise CheckpointError("the checkpoint's perturbations are not what a defender keeps")
        shapes = [tuple(table.shape) for table in tables]
        if tables and (not len(tables[0]) or shapes != [(len(tables[0]), *shape) for shape in ((), *view_shapes)]):
            raise CheckpointError(f"the checkpoint's perturbations are of other shapes, {shapes[1:]}")
        self.tables = tables
