"""A trained generator as an attack.

Source: Huang et al., "Adversarially Robust Deep Multi-View Clustering", ICML 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ar_dmvc.attacks.base import Attack, Need
from ar_dmvc.attacks.target import Target
from ar_dmvc.attacks.threat import ThreatModel, Views, present_only
from ar_dmvc.checkpoint import load_state, read_checkpoint, submodule_state
from ar_dmvc.errors import CheckpointError, ConfigurationError
from ar_dmvc.networks import Generator, Shape, check_shapes


class Perturbed(NamedTuple):
    """V perturbations in [-epsilon, epsilon], and the V views in [0, 1] that they make."""

    perturbations: tuple[Tensor, ...]
    views: tuple[Tensor, ...]


def perturb_with(generator: Generator, views: Views, threat: ThreatModel, mask: Tensor | None = None) -> Perturbed:
    """Add a generator's output, within the threat model, to views (N, *shape_v); gradients flow.

    Views that ``mask`` (N, V) does not have are left alone.
    """
    raw = generator(views)
    perturbations = present_only([torch.zeros_like(change) for change in raw], threat.clip(raw), mask)
    return Perturbed(perturbations, threat.move(views, perturbations))


class GeneratorAttack(Attack):
    """A generator as an attack.

    Args:
        generator: the trained generator.
        epsilon: budget, positive, that clips its output.
    """

    needs: ClassVar[Need] = "surrogate"

    def __init__(self, generator: Generator, epsilon: float | None = None) -> None:
        super().__init__(epsilon)
        self.generator = generator

    def check_views(self, view_shapes: Sequence[Shape]) -> None:
        """Check that the generator was made for views of these shapes.

        Raises:
            ConfigurationError: it was not.
        """
        super().check_views(view_shapes)
        if self.generator.view_shapes != tuple(view_shapes):
            raise ConfigurationError(
                f"the generator perturbs views of shapes {self.generator.view_shapes}, not {tuple(view_shapes)}"
            )

    @torch.no_grad()
    def run(
        self, target: Target, views: Views, threat: ThreatModel, generator: torch.Generator, start: Views | None = None
    ) -> tuple[Tensor, ...]:
        """Perturb views; see :class:`Attack`."""
        return perturb_with(self.generator.to(views[0].device, views[0].dtype), views, threat).views


class TrainedGenerator(GeneratorAttack):
    """The generator of an attacker's checkpoint as an attack.

    Args:
        checkpoint: written by ``ardmvc fit`` with a GANAttacker.
        epsilon: budget, positive; None takes the one that it was trained with.

    Raises:
        CheckpointError: the file is missing, damaged, carries pickled code, or holds no generator.
    """

    names_checkpoints = True

    def __init__(self, checkpoint: str | Path, epsilon: float | None = None) -> None:
        content = read_checkpoint(checkpoint)
        description = content.get("generator")
        if not isinstance(description, dict):
            raise CheckpointError(f"{checkpoint}: no generator in it; it must come from fitting a GANAttacker")
        try:
            generator, trained_with = Generator(check_shapes(description["view_shapes"])), float(description["epsilon"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{checkpoint}: its generator is described wrongly ({error!r})") from error
        load_state(generator, submodule_state(content, "generator"), checkpoint)
        super().__init__(generator, trained_with if epsilon is None else epsilon)
