"""What is asked of Lightning's trainer: that it trains at all, and on several devices as on one."""

from __future__ import annotations

import inspect
import os
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from ar_dmvc.data import MultiViewDataModule
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


def data_of(trainer: Trainer) -> MultiViewDataModule | None:
    """The data module that a trainer uses; None where it has plain loaders."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, MultiViewDataModule) else None


def check_amount(trainer: Trainer) -> None:
    """Check that a trainer trains at all.

    Raises:
        ConfigurationError: it would end without a step, or cannot make one.
    """
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if getattr(trainer, name) == 0:
            raise ConfigurationError(f"trainer.{name} = 0: nothing would be trained; give a positive number")
    if trainer.accumulate_grad_batches < 1:
        raise ConfigurationError(
            f"trainer.accumulate_grad_batches = {trainer.accumulate_grad_batches}: at least one batch makes a step"
        )
    if trainer.gradient_clip_val is not None and not trainer.gradient_clip_val >= 0:
        raise ConfigurationError(f"trainer.gradient_clip_val = {trainer.gradient_clip_val}: must be at least 0, which is off")


def check_cores(trainer: Trainer) -> None:
    """Check that a trainer that starts processes on this machine's cores has one for each.

    Raises:
        ConfigurationError: it has not.
    """
    strategy = trainer.strategy
    environment = getattr(strategy, "cluster_environment", None)
    starts_them = environment is not None and not environment.creates_processes_externally
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and starts_them and trainer.num_devices > cores:
        raise ConfigurationError(
            f"trainer.devices = {trainer.num_devices}: this machine has {cores} cores, and each process needs one; "
            "--oversubscribe true lets them share"
        )


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
    """Which batch of an evaluation a process's own ``batch_idx`` is, of those of all processes, which alternate."""
    return batch_idx * trainer.world_size + trainer.global_rank
