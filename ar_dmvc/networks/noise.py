"""Noise that training adds, the same in a resumed run as in an uninterrupted one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ar_dmvc.distributed import empty_batch, own_rows
from ar_dmvc.seeding import torch_generator


class SteppedNoise(nn.Module):
    """Random numbers that a seed and the number of finished training steps determine, which is kept in checkpoints.

    Global random state is neither read nor changed.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.seed = seed
        self.step = 0
        self._generator: torch.Generator | None = None

    def advance(self) -> None:
        """A training step is finished."""
        self.step += 1
        self._generator = None

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of a tensor (N, ...)."""
        return own_rows(empty_batch(like).normal_(generator=self._of(like)))

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers uniform in [0, 1), of the shape of a tensor (N, ...)."""
        return own_rows(empty_batch(like).uniform_(generator=self._of(like)))

    def _of(self, like: Tensor) -> torch.Generator:
        if self._generator is None or self._generator.device != like.device:
            self._generator = torch_generator(like.device, self.seed, self.step)
        return self._generator

    def get_extra_state(self) -> Tensor:
        """The step; a number on the host, so that reading it does not wait for a device."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a step.

        Raises:
            ValueError: it is no step.
        """
        if not isinstance(state, Tensor) or state.numel() != 1 or state.is_floating_point() or int(state) < 0:
            raise ValueError(f"a number of steps is expected, not {state!r}")
        self.step = int(state)
        self._generator = None
