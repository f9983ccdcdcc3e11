"""Generators of perturbations and discriminators of perturbed views, one of each per view.

Source: Huang et al., ICML 2024, for 28x28 images; the others are of the same kind, built from the view's shape.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ar_dmvc.networks.shapes import Shape, is_image

_STRIDED_FROM = 16
_VECTOR_WIDTHS = (256, 128, 64)


class Generator(nn.ModuleList):
    """One network a view: views in, raw perturbations in [-1, 1] out, of the views' shapes.

    Args:
        view_shapes: the views' shapes.
    """

    def __init__(self, view_shapes: Sequence[Shape]) -> None:
        super().__init__(_image_generator(s) if is_image(s) else _vector_generator(s[0]) for s in view_shapes)
        self.view_shapes = tuple(view_shapes)
        self.apply(_initialise)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """V views (N, *shape_v) to V raw perturbations of the same shapes."""
        return tuple(network(view) for network, view in zip(self, views, strict=True))


class Discriminator(nn.ModuleList):
    """One network a view: views in, scores in [0, 1] out, high where a view looks clean.

    Args:
        view_shapes: the views' shapes.
    """

    def __init__(self, view_shapes: Sequence[Shape]) -> None:
        super().__init__(_image_discriminator(s) if is_image(s) else _vector_discriminator(s[0]) for s in view_shapes)
        self.apply(_initialise)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """V views (N, *shape_v) to V score tensors; for larger images a map of scores a sample."""
        return tuple(network(view) for network, view in zip(self, views, strict=True))


def _initialise(module: nn.Module) -> None:
    """Published initialisation: convolutions N(0, 1), batch norm N(1, 0.02) with zero bias."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 1.0)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _image_generator(shape: Shape) -> nn.Sequential:
    """Down and up again without padding; the last kernel fills what is left to the image's size (6x6 at 28x28)."""
    channels, *sides = shape
    stride = 2 if min(sides) >= _STRIDED_FROM else 1
    last_kernel = []
    for side in sides:
        narrow = ((side - 2) - 3) // stride + 1
        narrow = (narrow - 3) // stride + 1
        widened = ((narrow - 1) * stride + 3 - 1) * stride + 3
        last_kernel.append(side - widened + 1)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 8, 3),
            norm1=nn.InstanceNorm2d(8),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 3, stride),
            norm2=nn.InstanceNorm2d(16),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(16, 32, 3, stride),
            norm3=nn.InstanceNorm2d(32),
            relu3=nn.ReLU(),
            deconv1=nn.ConvTranspose2d(32, 16, 3, stride, bias=False),
            norm4=nn.InstanceNorm2d(16),
            relu4=nn.ReLU(),
            deconv2=nn.ConvTranspose2d(16, 8, 3, stride, bias=False),
            norm5=nn.InstanceNorm2d(8),
            relu5=nn.ReLU(),
            deconv3=nn.ConvTranspose2d(8, channels, (last_kernel[0], last_kernel[1]), bias=False),
            tanh=nn.Tanh(),
        )
    )


def _image_discriminator(shape: Shape) -> nn.Sequential:
    channels, *sides = shape
    kernel, stride = (4, 2) if min(sides) >= 22 else (3, 1)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 8, kernel, stride),
            relu1=nn.LeakyReLU(0.2),
            conv2=nn.Conv2d(8, 16, kernel, stride),
            norm2=nn.BatchNorm2d(16),
            relu2=nn.LeakyReLU(0.2),
            conv3=nn.Conv2d(16, 32, kernel, stride),
            norm3=nn.BatchNorm2d(32),
            relu3=nn.LeakyReLU(0.2),
            score=nn.Conv2d(32, 1, 1),
            sigmoid=nn.Sigmoid(),
        )
    )


def _vector_generator(features: int) -> nn.Sequential:
    first, second, third = _VECTOR_WIDTHS
    sizes = [features, first, second, third, second, first]
    layers: list[tuple[str, nn.Module]] = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers += [
            (f"linear{layer}", nn.Linear(inputs, outputs)),
            (f"norm{layer}", nn.LayerNorm(outputs, elementwise_affine=False)),
            (f"relu{layer}", nn.ReLU()),
        ]
    return nn.Sequential(OrderedDict([*layers, ("output", nn.Linear(first, features)), ("tanh", nn.Tanh())]))


def _vector_discriminator(features: int) -> nn.Sequential:
    first, second, third = _VECTOR_WIDTHS
    return nn.Sequential(
        OrderedDict(
            linear1=nn.Linear(features, first),
            relu1=nn.LeakyReLU(0.2),
            linear2=nn.Linear(first, second),
            norm2=nn.BatchNorm1d(second),
            relu2=nn.LeakyReLU(0.2),
            linear3=nn.Linear(second, third),
            norm3=nn.BatchNorm1d(third),
            relu3=nn.LeakyReLU(0.2),
            score=nn.Linear(third, 1),
            sigmoid=nn.Sigmoid(),
        )
    )
