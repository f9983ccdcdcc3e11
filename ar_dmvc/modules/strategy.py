"""What training on several devices needs of Lightning."""

from __future__ import annotations

import inspect
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from ar_dmvc.errors import ConfigurationError

OF_ALL_PROCESSES: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
"""How to log a value that all processes have in common."""


def check_strategy(trainer: Trainer) -> None:
    """Check that a trainer with several devices uses them in a way that leaves the mathematics alone.

    Raises:
        ConfigurationError: it does not.
    """
    if trainer.world_size == 1:
        return
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy):
        raise ConfigurationError(f"trainer.strategy: several devices need ddp, not {type(strategy).__name__}")
    if getattr(strategy, "_layer_sync", None) is not None:
        raise ConfigurationError("trainer.sync_batchnorm: batch norm is synchronised anyway on several devices; leave it out")


def prepare_strategy(strategy: Strategy, leaves_parameters_out: bool) -> None:
    """Set up what ``DistributedDataParallel`` has to know; what the user has set is kept.

    Args:
        strategy: not yet set up.
        leaves_parameters_out: whether there are steps in which some parameters get no gradient.
    """
    if isinstance(strategy, DDPStrategy):
        # Buffers are equal in all processes as they are, and in validation processes go separate ways.
        named = inspect.signature(DistributedDataParallel).parameters
        sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"  # before torch 2.13
        defaults = {sync_buffers: False, "find_unused_parameters": leaves_parameters_out}
        strategy._ddp_kwargs = defaults | strategy._ddp_kwargs


def batch_number(trainer: Trainer, batch_idx: int) -> int:
    """Which batch of an evaluation a process's own ``batch_idx`` is, of those of all processes, which take turns."""
    return batch_idx * trainer.world_size + trainer.global_rank
