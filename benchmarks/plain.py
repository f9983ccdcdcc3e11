"""The plain way, written once: straightforward PyTorch, what one would write first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ar_dmvc.clusterers import Clusterer, ClustererOutput
from ar_dmvc.networks import Discriminator, Generator


def plain_layers(clusterer: Clusterer) -> Clusterer:
    """The same clusterer with PyTorch's own layers, one after the other."""
    for number, encoder in enumerate(clusterer.encoders):
        norms = (nn.BatchNorm2d(layer.num_features) if isinstance(layer, nn.BatchNorm2d) else layer for layer in encoder)
        clusterer.encoders[number] = nn.Sequential(*norms)
    return clusterer


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


class PlainVictim:
    """One optimiser step on clean samples."""

    def __init__(self, clusterer: Clusterer, epsilon: float, step_size: float, steps: int, device: torch.device) -> None:
        self.clusterer = plain_layers(clusterer).to(device)
        self.epsilon, self.step_size, self.steps, self.device = epsilon, step_size, steps, device
        self.optimizer = torch.optim.Adam(clusterer.parameters(), lr=1e-3)

    def __call__(self, views: Sequence[Tensor]) -> None:
        self.optimizer.zero_grad()
        self.loss(views).backward()
        self.optimizer.step()

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        return _total(self.clusterer, views)[0]


class PlainDefender(PlainVictim):
    """AR-DMVC-AM as one would first write it."""

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        start = [torch.empty_like(view).uniform_(-self.epsilon, self.epsilon) for view in views]
        attacked = craft_plainly(self.clusterer, views, start, self.epsilon, self.step_size, self.steps)
        clean_loss, clean = _total(self.clusterer, views)
        attacked_loss, other = _total(self.clusterer, [view.detach() for view in attacked])
        p, q = clean.assignments + 1e-4, other.assignments + 1e-4
        return clean_loss + attacked_loss + 0.1 * (p * (p / q).log()).sum(1).mean()


class PlainAttacker(PlainVictim):
    """The GAN attack as one would first write it: all gradients, the victim's too."""

    def __init__(self, clusterer: Clusterer, epsilon: float, step_size: float, steps: int, device: torch.device) -> None:
        super().__init__(clusterer, epsilon, step_size, steps, device)
        self.clusterer.eval()
        self.generator = Generator(clusterer.view_shapes).to(device)
        self.discriminator = Discriminator(clusterer.view_shapes).to(device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=1e-3)
        self.other = torch.optim.Adam(self.discriminator.parameters(), lr=1e-3)

    def __call__(self, views: Sequence[Tensor]) -> None:
        changes = [raw.clamp(-self.epsilon, self.epsilon) for raw in self.generator(views)]
        attacked = [(view + change).clamp(0, 1) for view, change in zip(views, changes, strict=True)]
        self.other.zero_grad()
        real, fake = self.discriminator(views), self.discriminator([view.detach() for view in attacked])
        sum((r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)).backward()
        self.other.step()
        self.optimizer.zero_grad()
        clean, other = self.clusterer(views), self.clusterer(attacked)
        distance = (clean.hidden - other.hidden).norm(dim=1).mean()
        distance = distance + sum((a - b).norm(dim=1).mean() for a, b in zip(clean.latents, other.latents, strict=True))
        fooled = sum((f - 1).square().mean() for f in self.discriminator(attacked)) / 2
        size = sum(change.flatten(1).norm(dim=1).mean() for change in changes)
        (fooled + size - 250 * distance).backward()
        self.optimizer.step()


def _total(clusterer: Clusterer, views: Sequence[Tensor]) -> tuple[Tensor, ClustererOutput]:
    output = clusterer(views)
    return sum(clusterer.losses(views, output).values()), output
