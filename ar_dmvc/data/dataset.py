"""Multi-view data, in memory or mapped from files, and loaders that gather whole batches from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ar_dmvc.data.batch import MultiViewBatch
from ar_dmvc.data.scaling import Scaling
from ar_dmvc.errors import DataError
from ar_dmvc.seeding import numpy_generator

_PIECE_VALUES = 4_000_000


class ViewFiles(Protocol):
    """Files that views are read from as needed."""

    def pieces(self, number: int) -> Iterator[Tensor]:
        """A view in order, piece by piece."""

    def rows(self, number: int, index: Tensor) -> Tensor:
        """The samples of a view at ``index``."""


class MultiViewData(NamedTuple):
    """A whole data set.

    Attributes:
        views: V tensors, (N, *shape_v), of any real number type; in memory, or mapped from a file and read as needed.
        labels: (N,) int64, or None.
        mask: (N, V) bool, which views are present; None: all.
        files: of views that are mapped, through which they are read without being kept in memory; None: they are in memory.
    """

    views: tuple[Tensor, ...]
    labels: Tensor | None
    mask: Tensor | None = None
    files: ViewFiles | None = None

    def pieces(self, number: int, chosen: Tensor | None = None) -> Iterator[Tensor]:
        """A view in order, piece by piece, so that what is made of the pieces stays small.

        Args:
            number: of the view.
            chosen: (N,) bool, which samples; None: all. Samples that do not have the view are left out anyway.
        """
        there = None if self.mask is None else self.mask[:, number]
        if chosen is not None:
            there = chosen if there is None else there & chosen
        start = 0
        for piece in _slices(self.views[number]) if self.files is None else self.files.pieces(number):
            kept = piece if there is None else piece[there[start : start + len(piece)]]
            start += len(piece)
            if len(kept):
                yield kept

    def rows(self, number: int, index: Tensor) -> Tensor:
        """The samples of a view at ``index`` (M,)."""
        return self.views[number].index_select(0, index) if self.files is None else self.files.rows(number, index)

    def check(self, source: str, in_unit_range: bool = True) -> MultiViewData:
        """Return this data, or say what is wrong with it.

        Args:
            source: what it is, for messages.
            in_unit_range: whether values have to be in [0, 1] as they are.

        Raises:
            DataError: no views or samples, different numbers of samples, NaN or infinite values, values outside [0, 1], a mask
                of another shape or one that leaves a sample without any view.
        """
        if not self.views or len(self.views[0]) == 0:
            raise DataError(f"{source}: no samples")
        counts = [len(view) for view in self.views]
        if self.labels is not None:
            counts.append(len(self.labels))
        if len(set(counts)) != 1:
            raise DataError(f"{source}: views (and labels, last) have different numbers of samples: {counts}")
        if self.mask is not None:
            _check_mask(self.mask, (counts[0], len(self.views)), source)
        for number in range(len(self.views)):
            _check_values(self.pieces(number), f"{source}: view {number}", in_unit_range)
        return self


def _slices(view: Tensor) -> Iterator[Tensor]:
    step = max(1, _PIECE_VALUES // max(1, view[0].numel()))
    return (view[start : start + step] for start in range(0, len(view), step))


def _check_mask(mask: Tensor, shape: tuple[int, int], source: str) -> None:
    if tuple(mask.shape) != shape:
        raise DataError(f"{source}: the mask is of shape {tuple(mask.shape)}, not {shape}, samples by views")
    if not mask.any(1).all():
        raise DataError(f"{source}: the mask leaves {int((~mask.any(1)).sum())} samples without any view")


def _check_values(pieces: Iterator[Tensor], source: str, in_unit_range: bool) -> None:
    """Check the values of a view, as batches will have them, in single precision."""
    for piece in pieces:
        low, high = float(piece.min().float()), float(piece.max().float())
        # The extremes of a tensor with a NaN are NaN, with infinite values infinite.
        if not np.isfinite([low, high]).all():
            if torch.isfinite(piece).all():
                raise DataError(f"{source} has values too large for single precision ({float(piece.abs().max()):g}); scale it")
            raise DataError(
                f"{source} has NaN or infinite values; which samples have a view is said by an array mask (samples, views)"
            )
        if in_unit_range and not 0 <= low <= high <= 1:
            raise DataError(f"{source} has values from {low:g} to {high:g}, outside [0, 1]")


class MultiViewDataset(Dataset[MultiViewBatch]):
    """Some samples of a data set; a batch is one gather a view, without per-sample collation.

    Args:
        data: the whole data set.
        indices: which samples, (M,) int64; None: all.
        scalings: of the views, applied to each batch; None: they are float32 as they should be.
    """

    def __init__(
        self, data: MultiViewData, indices: Tensor | None = None, scalings: Sequence[Scaling | None] | None = None
    ) -> None:
        self.data = data
        self.indices = torch.arange(len(data.views[0])) if indices is None else indices
        self.scalings = [None] * len(data.views) if scalings is None else list(scalings)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> MultiViewBatch:
        """One sample, as a batch of one."""
        return self.batch(torch.tensor([position]))

    def batch(self, positions: Tensor) -> MultiViewBatch:
        """Samples at these positions (N,) of this data set, as a batch."""
        index = self.indices.index_select(0, positions)
        labels = None if self.data.labels is None else self.data.labels.index_select(0, index)
        mask = None if self.data.mask is None else self.data.mask[index]
        views = [self.data.rows(number, index) for number in range(len(self.data.views))]
        views = [view if scaling is None else scaling(view) for view, scaling in zip(views, self.scalings, strict=True)]
        if mask is not None:
            views = [
                view.masked_fill(~there.view(-1, *[1] * (view.dim() - 1)), 0)
                for view, there in zip(views, mask.unbind(1), strict=True)
            ]
        return MultiViewBatch(tuple(views), labels, index, mask)

    def to(self, device: torch.device) -> MultiViewDataset:
        """The same data set on a device."""
        views, labels, mask, _ = self.data  # on a device, nothing is read from files any more
        moved = MultiViewData(
            tuple(view.to(device) for view in views),
            None if labels is None else labels.to(device),
            None if mask is None else mask.to(device),
        )
        return MultiViewDataset(moved, self.indices.to(device), self.scalings)


class EpochOrder:
    """The order of samples, in training a new one each epoch, which seed and epoch alone decide.

    Args:
        size: number of samples.
        seed: of the orders; None keeps the samples' own.
    """

    def __init__(self, size: int, seed: int | None) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this."""
        self.epoch = epoch

    def positions(self) -> Tensor:
        """Positions in this epoch's order, (size,)."""
        if self.seed is None:
            return torch.arange(self.size)
        return torch.from_numpy(numpy_generator(self.seed, self.epoch).permutation(self.size))


class _Sampler(NamedTuple):
    """Where Lightning looks for something to set the epoch of."""

    sampler: EpochOrder


class BatchLoader:
    """Batches of a data set: in training shuffled, the incomplete last one dropped; else in order, with all samples.

    A last sample that would be alone joins the batch before: what compares samples, batch norm in training mode and some
    objectives of attacks, takes two at least.

    The order does not depend on the number of workers. Within an epoch it resumes where a checkpoint left it. Of several
    processes each takes its share: of every batch in training, of the batches otherwise, and no sample is taken twice. Where
    there are fewer batches than processes, some get an empty one.

    Args:
        dataset: what to load.
        batch_size: samples a batch, of all processes together.
        seed: of the order in training; None keeps the samples' own.
        num_workers: threads that gather batches ahead; data in memory needs none.
        process: which of ``processes`` this is, counted from zero.
        processes: how many share the work.
        device: keep the data there.
    """

    def __init__(
        self,
        dataset: MultiViewDataset,
        batch_size: int,
        seed: int | None = None,
        num_workers: int = 0,
        process: int = 0,
        processes: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.dataset = dataset if device is None else dataset.to(device)
        self.batch_size = batch_size
        self.order = EpochOrder(len(dataset), seed)
        self.batch_sampler = _Sampler(self.order)
        self.num_workers = num_workers
        self.process = process
        self.processes = processes
        self._delivered = 0
        self._resume_at = 0

    @property
    def shuffled(self) -> bool:
        """Whether this is for training."""
        return self.order.seed is not None

    def __len__(self) -> int:
        if self.shuffled:
            return self.order.size // self.batch_size
        return max(1, len(range(self.process, len(self._in_order()), self.processes)))

    def __iter__(self) -> Iterator[MultiViewBatch]:
        self._delivered, self._resume_at = self._resume_at, 0
        positions = self._positions()[self._delivered :]
        for batch in self._ahead(positions) if self.num_workers else map(self.dataset.batch, positions):
            self._delivered += 1
            yield batch

    def _positions(self) -> list[Tensor]:
        """The positions of each batch of this process."""
        if not self.shuffled:
            batches = self._in_order()
            return batches[self.process :: self.processes] or [batches[0][:0]]
        return [batch[self.process :: self.processes] for batch in self._split()[: len(self)]]

    def _in_order(self) -> list[Tensor]:
        *batches, last = self._split()
        if len(last) == 1 and batches:
            batches[-1] = torch.cat([batches[-1], last])
            return batches
        return [*batches, last]

    def _split(self) -> Sequence[Tensor]:
        return torch.split(self.order.positions().to(self.dataset.indices.device), self.batch_size)

    def _ahead(self, positions: Sequence[Tensor]) -> Iterator[MultiViewBatch]:
        with ThreadPoolExecutor(self.num_workers) as pool:
            waiting: deque[Future[MultiViewBatch]] = deque()
            for place in positions:
                waiting.append(pool.submit(self.dataset.batch, place))
                if len(waiting) > self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def state_dict(self) -> dict[str, int]:
        """How many batches of the current epoch were handed out; Lightning keeps it in checkpoints."""
        return {"delivered": self._delivered}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on in the next iteration where the state was taken."""
        self._resume_at = state["delivered"] % max(1, len(self))
