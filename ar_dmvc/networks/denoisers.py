"""Networks that remove perturbations from a view; untrained ones leave it as it is.

Source: Liao et al., "Defense against adversarial attacks using high-level representation guided denoiser", CVPR 2018, whose
U-shaped network for images is larger; that for feature vectors is of the same kind.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ar_dmvc.networks.shapes import Shape, is_image

_WIDTHS = (32, 64, 128)
_SMALLEST_SIDE = 4
_VECTOR_WIDTH = 256


def build_denoiser(shape: Shape) -> nn.Module:
    """A network from a view (N, *shape) to what is added to it, of the same shape; nothing at first."""
    return _ImageDenoiser(shape) if is_image(shape) else _vector_denoiser(shape[0])


class _ImageDenoiser(nn.Module):
    """A U-Net: downsampling by halves, then upsampling, with skip connections."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, *sides = shape
        levels = 1
        while levels < len(_WIDTHS) and min(sides) >> levels >= _SMALLEST_SIDE:
            levels += 1
        widths = _WIDTHS[:levels]
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(wide, wider, 3, stride=2, padding=1) for wide, wider in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(wide + wider, wide, 3, padding=1) for wider, wide in pairwise(widths[::-1]))
        self.last = _silent(nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(self, view: Tensor) -> Tensor:
        """Images (N, C, H, W) to what is added to them."""
        found = [functional.relu(self.first(view))]
        for down in self.down:
            found.append(functional.relu(down(found[-1])))
        features = found.pop()
        for up in self.up:
            finer = found.pop()
            features = functional.interpolate(features, finer.shape[-2:])
            features = functional.relu(up(torch.cat([finer, features], 1)))
        added: Tensor = self.last(features)
        return added


def _vector_denoiser(features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, _VECTOR_WIDTH),
        nn.ReLU(),
        nn.Linear(_VECTOR_WIDTH, _VECTOR_WIDTH),
        nn.ReLU(),
        _silent(nn.Linear(_VECTOR_WIDTH, features)),
    )


def _silent(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """A layer that gives zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
