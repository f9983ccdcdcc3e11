"""Communication between processes, and the global batch: the batches of all processes as one.

Within :func:`global_batch`, which the Lightning modules enter for a training step, losses, batch norm and random numbers are
those of the global batch, so that the mathematics does not depend on the number of devices. Each process computes the loss of
the whole, doing its share of the pairwise work; gradients are exact once they are averaged over processes, as
``DistributedDataParallel`` does. Elsewhere, and on one process, all of these functions are the plain ones of a batch.

The backward pass lies outside where Lightning calls it: sums and gathers carry their gradient with them, and what is computed
again for it (``by_blocks``) has to have all it needs as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


@dataclass(frozen=True)
class _GlobalBatch:
    """Which process has which samples: round-robin, as long as a process has any left."""

    sizes: tuple[int, ...]
    process: int
    couples_losses: bool

    def positions(self, device: torch.device) -> Tensor:
        """Where this process's samples are in the global batch, (n,)."""
        rows = torch.arange(self.sizes[self.process], device=device)
        before = [(rows + (process < self.process)).clamp(max=size) for process, size in enumerate(self.sizes)]
        return torch.stack(before).sum(0)


_batch: ContextVar[_GlobalBatch | None] = ContextVar("global_batch", default=None)


def process_count() -> int:
    """Number of processes that train together."""
    return torch.distributed.get_world_size() if _is_distributed() else 1


def mean_of_processes(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all processes, in place; each has to call it."""
    if (count := process_count()) > 1:
        torch.distributed.all_reduce(tensor)
        tensor /= count
    return tensor


def shares(size: int, processes: int) -> tuple[int, ...]:
    """How many samples of a batch each process has, where they alternate."""
    return tuple(len(range(process, size, processes)) for process in range(processes))


def exchange_sizes(size: int, device: torch.device) -> tuple[int, ...]:
    """The batch size of every process; all of several have to call it."""
    sizes = torch.zeros(process_count(), dtype=torch.int64, device=device)
    sizes[torch.distributed.get_rank()] = size
    torch.distributed.all_reduce(sizes)
    return tuple(sizes.tolist())


@contextmanager
def global_batch(sizes: Sequence[int], couple_losses: bool = True) -> Iterator[None]:
    """Let batches of several processes be one.

    Args:
        sizes: of each process's batch.
        couple_losses: whether losses are those of the global batch; else only batch norm and random numbers are.
    """
    token = _batch.set(_GlobalBatch(tuple(sizes), torch.distributed.get_rank(), couple_losses))
    try:
        yield
    finally:
        _batch.reset(token)


@contextmanager
def part_of_batch(rows: Tensor) -> Iterator[int]:
    """Let losses be of some of the samples of the batch at hand, (n,) bool of this process's; how many there are of all."""
    batch, count = _batch.get(), int(rows.sum())
    if batch is None:
        yield count
        return
    sizes = exchange_sizes(count, rows.device)
    with global_batch(sizes, batch.couples_losses):
        yield sum(sizes) if batch.couples_losses else count


def is_global() -> bool:
    """Whether the batch at hand is one of several processes."""
    return _batch.get() is not None


def sum_processes(values: Tensor) -> Tensor:
    """The sum over all processes of each one's part of a loss, with gradient; the values themselves where it is not shared."""
    return values if _coupled() is None else reduce_sum(values)


def reduce_sum(values: Tensor) -> Tensor:
    """The sum of tensors of equal shape over all processes, with gradient."""
    if not _is_distributed():
        return values
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def count_rows(rows: Tensor) -> int:
    """Number of samples of the batch that ``rows`` (n, ...) belong to."""
    batch = _coupled()
    return len(rows) if batch is None else sum(batch.sizes)


def gather_rows(rows: Tensor, always: bool = False) -> Tensor:
    """Rows (n, ...) of all processes in the order of the global batch: (N, ...), with gradient.

    Args:
        rows: of this process's samples.
        always: also where losses are those of each process.
    """
    batch = _batch.get() if always else _coupled()
    if batch is None:
        return rows
    # A sum of disjoint parts: its gradient is a sum again, which every backend has.
    parts = rows.new_zeros(sum(batch.sizes), *rows.shape[1:])
    return reduce_sum(parts.index_copy(0, batch.positions(rows.device), rows))


def row_positions(rows: Tensor) -> Tensor:
    """Where rows (n, ...) are in what :func:`gather_rows` makes of them: (n,)."""
    batch = _coupled()
    return torch.arange(len(rows), device=rows.device) if batch is None else batch.positions(rows.device)


def mean_rows(rows: Tensor, always: bool = False) -> Tensor:
    """Mean over the samples of the batch, (n, ...) to (...).

    Args:
        rows: of this process's samples.
        always: over the global batch also where losses are those of each process.
    """
    batch = _batch.get() if always else _coupled()
    return rows.mean(0) if batch is None else reduce_sum(rows.sum(0)) / sum(batch.sizes)


def batch_mean(rows: Tensor) -> Tensor:
    """Mean over all values of all samples of the batch: a scalar."""
    return rows.mean() if _coupled() is None else mean_rows(rows).mean()


def empty_batch(like: Tensor) -> Tensor:
    """An uninitialised tensor as ``like`` (n, ...), but for the samples of all processes: to fill with random numbers."""
    batch = _batch.get()
    samples = len(like) if batch is None else sum(batch.sizes)
    return torch.empty(samples, *like.shape[1:], dtype=like.dtype, device=like.device)


def own_rows(rows: Tensor) -> Tensor:
    """What this process has of rows (N, ...) of the global batch."""
    batch = _batch.get()
    return rows if batch is None else rows.index_select(0, batch.positions(rows.device))


def batch_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel of the global batch, with gradient, and the number of values in each.

    Args:
        values: (n, C, ...).

    Returns:
        (C,), (C,) and a scalar.
    """
    others = [dim for dim in range(values.dim()) if dim != 1]
    count = values.new_tensor([math.prod(values.shape[dim] for dim in others)])
    mean = values.sum(others) / count.clamp(min=1)
    shape = (1, -1, *[1] * (values.dim() - 2))
    spread = (values - mean.view(shape)).square().sum(others)
    # Each process's moments, then their combination (Chan et al., 1979), which does not cancel as a sum of squares would.
    table = values.new_zeros(process_count(), 2 * len(mean) + 1)
    position = torch.tensor([torch.distributed.get_rank()], device=values.device)
    table = reduce_sum(table.index_copy(0, position, torch.cat([mean, spread, count])[None]))
    means, spreads, counts = torch.split(table, [len(mean), len(mean), 1], 1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (spreads + counts * (means - mean).square()).sum(0) / total
    return mean, variance, total


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the buffers that the first has: what was measured may differ in the last digit between machines."""
    if _is_distributed():
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


class _Sum(torch.autograd.Function):
    """A sum over processes; so is its gradient, because what each adds reaches the loss of every process."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return reduce_sum(gradients[0])


def _coupled() -> _GlobalBatch | None:
    batch = _batch.get()
    return batch if batch is not None and batch.couples_losses else None


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
