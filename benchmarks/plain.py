"""The plain way, written once: straightforward PyTorch, what one would write first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ar_dmvc.clusterers import Clusterer


def craft_plainly(
    clusterer: Clusterer, views: Sequence[Tensor], start: Sequence[Tensor], epsilon: float, step_size: float, steps: int
) -> list[Tensor]:
    """PGD with all loss terms, and gradients of all parameters, at each step."""
    perturbations = list(start)
    for _ in range(steps):
        perturbations = [change.detach().requires_grad_() for change in perturbations]
        attacked = [view + change for view, change in zip(views, perturbations, strict=True)]
        terms = clusterer.losses(attacked, clusterer(attacked))
        clusterer.zero_grad()
        sum(terms.values()).backward()
        stepped = [(change + step_size * change.grad.sign()).clamp(-epsilon, epsilon) for change in perturbations]
        perturbations = [(view + change.detach()).clamp(0, 1) - view for view, change in zip(views, stepped, strict=True)]
    return [view + change for view, change in zip(views, perturbations, strict=True)]
