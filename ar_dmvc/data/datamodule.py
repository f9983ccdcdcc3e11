"""Data modules: files to views to batches, and what everything else has to know of the data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from ar_dmvc.data.dataset import BatchLoader, MultiViewData, MultiViewDataset
from ar_dmvc.data.scaling import Scaling
from ar_dmvc.errors import DataError
from ar_dmvc.networks import Shape
from ar_dmvc.seeding import numpy_generator
from ar_dmvc.signatures import TypesChecked, whole_signature

Partition = Literal["victim", "attacker", "all"]


class MultiViewDataModule(TypesChecked, LightningDataModule):
    """Base of every data set.

    The data is shuffled once and cut in two halves: one to train victims and defenders on, one to attack and measure on.
    The halves depend on nothing but ``seed`` and the number of samples, so they are the same in every process and run.

    A subclass defines :meth:`load`, :attr:`view_shapes`, :attr:`num_classes` and, where 0.1 is not customary,
    :attr:`usual_epsilon`. What differs between data sets is never the default of a shared argument: the command line keeps
    arguments when the class changes.

    Args:
        batch_size: samples a batch, at least two.
        partition: what is trained and validated on: the half of victims and defenders, that of attackers, or all.
        test_partition: what is tested on.
        predict_partition: what is predicted.
        num_clusters: K; None takes the number of classes.
        classes: the classes whose samples there are, to train on some and test on others; None: all. The halves are those of
            all samples. Labels choose samples here, and nothing else.
        epsilon: L-infinity budget of attacks that name none of their own, in units of the views, positive; None takes what
            is customary on this data, :attr:`usual_epsilon`.
        seed: of the halves, and of whatever is random in making the views.
        missing_rate: chance of each view to be missing, at random from ``seed``, in [0, 1); a sample left with none keeps one.
        num_workers: threads that gather batches ahead, for data that is mapped from files; data in memory needs none.
        on_device: keep the data on the device that trains, so that batches are gathered there.
    """

    usual_epsilon: ClassVar[float] = 0.1
    licence: str = ""
    """Of the data, in words; empty where it is not known."""
    loads_unit_range: ClassVar[bool] = True
    """Whether views are in [0, 1] as they are loaded, rather than brought there by :attr:`scalings`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = whole_signature(cls)  # type: ignore[assignment]

    def __init__(
        self,
        batch_size: int = 100,
        partition: Partition = "victim",
        test_partition: Partition = "attacker",
        predict_partition: Partition = "all",
        num_clusters: int | None = None,
        classes: list[int] | None = None,
        epsilon: float | None = None,
        seed: int = 7,
        missing_rate: float = 0.0,
        num_workers: int = 0,
        on_device: bool = False,
    ) -> None:
        super().__init__()
        self.name: str = type(self).__name__
        if batch_size < 2:
            raise DataError(f"batch_size must be at least 2, got {batch_size}")
        if epsilon is not None and not 0 < epsilon <= 1:
            raise DataError(f"epsilon must be in (0, 1], as views are in [0, 1]; got {epsilon}")
        if seed < 0:
            raise DataError(f"data.seed must be at least 0, got {seed}")
        for name, value in (
            ("partition", partition),
            ("test_partition", test_partition),
            ("predict_partition", predict_partition),
        ):
            if value not in get_args(Partition):
                raise DataError(f"{name}: {value!r} is not one of {', '.join(get_args(Partition))}")
        self.batch_size = batch_size
        self.partition: Partition = partition
        self.test_partition: Partition = test_partition
        self.predict_partition: Partition = predict_partition
        self.epsilon: float = self.usual_epsilon if epsilon is None else epsilon
        self.seed = seed
        if not 0 <= missing_rate < 1:
            raise DataError(f"missing_rate must be at least 0 and less than 1, got {missing_rate}")
        self.missing_rate = missing_rate
        if num_workers < 0:
            raise DataError(f"num_workers must be at least 0, got {num_workers}")
        self.num_workers = num_workers
        self.on_device = on_device
        self._num_clusters = num_clusters
        self.classes = _checked_classes(classes)

    @property
    @abstractmethod
    def view_shapes(self) -> tuple[Shape, ...]:
        """The views' shapes."""

    @property
    @abstractmethod
    def num_classes(self) -> int | None:
        """Number of classes, None where there are no labels."""

    @abstractmethod
    def load(self) -> MultiViewData:
        """Read the data set and make its views.

        Raises:
            DataError: files are missing or damaged.
        """

    @property
    def scalings(self) -> Sequence[Scaling | None]:
        """What is applied to each view of a batch; None: nothing."""
        return [None] * len(self.view_shapes)

    @property
    def source(self) -> str:
        """What messages call the data."""
        return self.name

    @property
    def is_incomplete(self) -> bool:
        """Whether samples are without some of the views."""
        return self.missing_rate > 0

    @property
    def in_unit_range(self) -> bool:
        """Whether the views of batches are in [0, 1], the box that attacks and decoders need."""
        return True

    def missing(self) -> Sequence[str]:
        """What :meth:`fetch` would download, address by address; nothing by default."""
        return []

    def fetch(self) -> None:
        """Download what is missing; nothing by default."""

    @property
    def known_clusters(self) -> int | None:
        """K, as it was given, or the number of classes; None where neither is known."""
        classes = self.num_classes if self.classes is None else len(self.classes)
        return classes if self._num_clusters is None else self._num_clusters

    @property
    def num_clusters(self) -> int:
        """K.

        Raises:
            DataError: neither given nor known.
        """
        clusters = self.known_clusters
        if clusters is None:
            raise DataError(f"{self.name}: without labels the number of clusters has to be given (data.num_clusters)")
        return clusters

    @cached_property
    def data(self) -> MultiViewData:
        """The whole data set, checked.

        Raises:
            DataError: it is missing or damaged.
        """
        data = self.load().check(self.source, in_unit_range=self.loads_unit_range)
        samples = len(data.views[0])
        if self.missing_rate > 0:
            there = there_at_random(samples, len(data.views), self.missing_rate, self.seed)
            there = there if data.mask is None else _keeping_one(there & data.mask, data.mask)
            data = data._replace(mask=there)
        return data

    def check_training_part(self) -> None:
        """Check that there is enough to train on.

        Raises:
            DataError: there is not, for ``batch_size`` or ``num_clusters``.
        """
        available = len(self.halves(len(self.data.views[0]), self.partition))
        if available < 2:
            raise DataError(
                f"{self.name}: partition {self.partition!r} has {available} of {len(self.data.views[0])} samples, too few to "
                "train on"
            )
        if self.num_clusters > available:
            raise DataError(
                f"{self.name}: more clusters (data.num_clusters = {self.num_clusters}) than samples ({available} in partition "
                f"{self.partition!r})"
            )
        if available < self.batch_size:
            raise DataError(
                f"{self.name}: partition {self.partition!r} has {available} samples, fewer than a batch "
                f"(data.batch_size = {self.batch_size})"
            )

    def prepare_data(self) -> None:
        """Download and read once, so that what is wrong shows before anything is written."""
        self.fetch()
        _ = self.data
        if self.trains:
            self.check_training_part()

    @property
    def trains(self) -> bool:
        """Whether it is there to train on, as far as is known, rather than to test on or predict."""
        return self.trainer is None or self.trainer.state.fn in (None, "fit")

    def setup(self, stage: str) -> None:
        """Read the data set in every process."""
        _ = self.data

    def subset(self, partition: Partition) -> MultiViewDataset:
        """The samples of a partition."""
        indices = torch.from_numpy(self.halves(len(self.data.views[0]), partition))
        return MultiViewDataset(self.data, indices, self.scalings)

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of ``partition``; the global seed, of the first process, and the epoch decide the order."""
        seed = torch.initial_seed()
        return self._loader(self.partition, seed if self.trainer is None else self.trainer.strategy.broadcast(seed))

    def val_dataloader(self) -> BatchLoader:
        """Batches of ``partition`` in order."""
        return self._loader(self.partition)

    def test_dataloader(self) -> BatchLoader:
        """Batches of ``test_partition`` in order."""
        return self._loader(self.test_partition)

    def predict_dataloader(self) -> BatchLoader:
        """Batches of ``predict_partition`` in order."""
        return self._loader(self.predict_partition)

    def training_part(self) -> BatchLoader:
        """Batches of ``partition`` in order, all of them in every process: for what is measured over the whole of it."""
        return BatchLoader(self.subset(self.partition), self.batch_size, num_workers=self.num_workers)

    def test_part(self) -> BatchLoader:
        """Batches of ``test_partition`` in order, all of them in every process."""
        return BatchLoader(self.subset(self.test_partition), self.batch_size, num_workers=self.num_workers)

    def _loader(self, partition: Partition, seed: int | None = None) -> BatchLoader:
        trainer = self.trainer
        process, processes = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        device = trainer.strategy.root_device if self.on_device and trainer is not None else None
        return BatchLoader(self.subset(partition), self.batch_size, seed, self.num_workers, process, processes, device)

    def halves(self, samples: int, partition: Partition) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which samples are in a partition; ``all`` in the data set's own order.

        Raises:
            DataError: of the classes that are asked for, the data has none.
        """
        chosen = np.arange(samples)
        if partition != "all":
            order = numpy_generator(self.seed).permutation(samples)
            chosen = order[: samples // 2] if partition == "victim" else order[samples // 2 :]
        if self.classes is None:
            return chosen
        labels = np.zeros(0) if self.data.labels is None else self.data.labels.numpy()
        known = np.unique(labels).tolist()
        if unknown := sorted(set(self.classes) - set(known)):
            raise DataError(f"{self.source}: classes: no sample has label {unknown[0]}; there are {known or 'no labels'}")
        return chosen[np.isin(labels[chosen], self.classes)]


def _checked_classes(classes: list[int] | None) -> list[int] | None:
    if classes is not None and (not classes or len(set(classes)) < len(classes)):
        raise DataError(f"classes must be different labels, one at least, got {classes}")
    return classes


def there_at_random(samples: int, views: int, missing_rate: float, seed: int) -> Tensor:
    """Which views each sample has: (samples, views) bool, each missing with a probability, but never all of a sample's."""
    draws = numpy_generator(seed, 1).random((samples, views))
    there = torch.from_numpy(draws >= missing_rate)
    return _keeping_one(there, torch.from_numpy(draws == draws.max(1, keepdims=True)))


def _keeping_one(there: Tensor, otherwise: Tensor) -> Tensor:
    """``there`` (N, V), for samples without any view the first of ``otherwise``."""
    first = otherwise & (otherwise.cumsum(1) == 1)
    return torch.where(there.any(1, keepdim=True), there, first)
