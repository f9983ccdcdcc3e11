"""Multi-view data in memory, and loaders that gather whole batches from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ar_dmvc.data.batch import MultiViewBatch
from ar_dmvc.errors import DataError


class MultiViewData(NamedTuple):
    """A whole data set in memory.

    Attributes:
        views: V tensors, (N, *shape_v), float32, in [0, 1].
        labels: (N,) int64, or None.
    """

    views: tuple[Tensor, ...]
    labels: Tensor | None

    def check(self, source: str) -> MultiViewData:
        """Return this data, or say what is wrong with it.

        Raises:
            DataError: no views or samples, different numbers of samples, NaN or infinite values, values outside [0, 1].
        """
        if not self.views or len(self.views[0]) == 0:
            raise DataError(f"{source}: no samples")
        counts = [len(view) for view in self.views]
        if self.labels is not None:
            counts.append(len(self.labels))
        if len(set(counts)) != 1:
            raise DataError(f"{source}: views (and labels, last) have different numbers of samples: {counts}")
        for number, view in enumerate(self.views):
            if not torch.isfinite(view).all():
                raise DataError(f"{source}: view {number} has NaN or infinite values")
            low, high = float(view.min()), float(view.max())
            if low < 0 or high > 1:
                raise DataError(f"{source}: view {number} has values from {low:g} to {high:g}, outside [0, 1]")
        return self


class MultiViewDataset(Dataset[MultiViewBatch]):
    """Some samples of a data set; a batch is one gather a view, without per-sample collation.

    Args:
        data: the whole data set.
        indices: which samples, (M,) int64; None: all.
    """

    def __init__(self, data: MultiViewData, indices: Tensor | None = None) -> None:
        self.data = data
        self.indices = torch.arange(len(data.views[0])) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> MultiViewBatch:
        """One sample, as a batch of one."""
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> MultiViewBatch:
        """Samples at these positions of this data set, as a batch."""
        index = self.indices[torch.as_tensor(positions)]
        labels = None if self.data.labels is None else self.data.labels[index]
        return MultiViewBatch(tuple(view[index] for view in self.data.views), labels, index)


class EpochSampler(Sampler[int]):
    """A new order each epoch, which seed and epoch alone decide.

    Args:
        dataset: what to sample from.
        seed: of the orders.
    """

    def __init__(self, dataset: Sized, seed: int) -> None:
        self.size = len(dataset)
        self.seed = seed
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        yield from order[self.skip :].tolist()


class TrainingLoader(DataLoader[MultiViewBatch]):
    """Shuffled batches, the incomplete last one dropped; resumes within an epoch where a checkpoint left it.

    Args:
        dataset: the training samples.
        batch_size: samples a batch.
        seed: of the order.
        kwargs: of :class:`torch.utils.data.DataLoader`.
    """

    sampler: EpochSampler

    def __init__(self, dataset: MultiViewDataset, batch_size: int, seed: int, **kwargs: Any) -> None:
        sampler = EpochSampler(dataset, seed)
        super().__init__(dataset, batch_size=batch_size, sampler=sampler, drop_last=True, collate_fn=_already_a_batch, **kwargs)
        self._delivered = 0
        self._resume_at = 0

    def __iter__(self) -> Iterator[MultiViewBatch]:  # type: ignore[override]
        assert self.batch_size is not None
        self._delivered, self._resume_at = self._resume_at, 0
        self.sampler.skip = self._delivered * self.batch_size
        for batch in super().__iter__():
            self._delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of the current epoch were handed out; Lightning keeps it in checkpoints."""
        return {"delivered": self._delivered}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on in the next iteration where the state was taken."""
        self._resume_at = state["delivered"] % len(self)


def evaluation_loader(dataset: MultiViewDataset, batch_size: int, **kwargs: Any) -> DataLoader[MultiViewBatch]:
    """Batches in the data set's order, the incomplete last one included."""
    return DataLoader(dataset, batch_size=batch_size, collate_fn=_already_a_batch, **kwargs)


def _already_a_batch(batch: Any) -> Any:
    return batch
