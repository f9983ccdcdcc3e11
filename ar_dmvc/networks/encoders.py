"""Encoders, one a view, built from the view's shape.

Source of *cnn_small*, *cnn_large* and *mlp*: the settings published with Huang et al., ICML 2024, after Trosten et al.,
CVPR 2021. *cnn_tiny* is *cnn_small* with padding, for images that its unpadded convolutions would use up, and half as wide.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeGuard, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.nn.modules.batchnorm import _BatchNorm

from ar_dmvc.networks.levels import Levels
from ar_dmvc.networks.norms import AccurateBatchNorm2d
from ar_dmvc.networks.shapes import Shape, is_image

EncoderName = Literal["auto", "cnn_tiny", "cnn_small", "cnn_large", "mlp"]

_BLOCKS = {"cnn_tiny": 2, "cnn_small": 2, "cnn_large": 3}
CHANNELS = {"cnn_tiny": 32, "cnn_small": 64, "cnn_large": 64}
MLP_WIDTH, MLP_LAYERS, MLP_OUTPUT = 1024, 4, 256


class Encoder(nn.Sequential):
    """A view (N, *shape) to its latent (N, ``out_features``); images are converted to channels-last, which is fastest.

    In evaluation mode batch norm is folded into the layer before it, which saves its passes over the maps.
    """

    out_features: int

    def forward(self, input: Tensor) -> Tensor:
        """Encode a view."""
        values: Tensor = channels_last(input)
        done: nn.Module | None = None
        for layer, following in zip_longest(self, list(self)[1:]):
            if isinstance(layer, nn.Conv2d | nn.Linear) and _is_fixed(following):
                values, done = _folded(values, layer, following), following
            elif layer is not done:
                values = layer(values)
        return values


def _is_fixed(layer: nn.Module | None) -> TypeGuard[_BatchNorm]:
    """Whether a layer is a batch norm whose statistics do not depend on the batch."""
    return isinstance(layer, _BatchNorm) and not layer.training and layer.running_mean is not None


def _folded(values: Tensor, layer: nn.Conv2d | nn.Linear, norm: _BatchNorm) -> Tensor:
    """A layer and the batch norm after it as one."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert layer.bias is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = layer.weight * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    bias = (layer.bias - norm.running_mean) * scale + norm.bias
    if isinstance(layer, nn.Linear):
        return linear(values, weight, bias)
    return conv2d(values, weight, bias, layer.stride, layer.padding)


def channels_last(view: Tensor) -> Tensor:
    """An image (N, C, H, W) laid out channels-last, which the convolutions that follow keep; anything else as it is."""
    if view.dim() != 4 or view.stride() == _channels_last_strides(view):
        return view
    # ``to`` leaves images of one channel alone.
    return torch.empty_like(view, memory_format=torch.channels_last).copy_(view)


def _channels_last_strides(view: Tensor) -> tuple[int, ...]:
    _, channels, height, width = view.shape
    return height * width * channels, 1, width * channels, channels


def build_encoder(shape: Shape, name: EncoderName = "auto", levels: int = 0) -> Encoder:
    """Build the encoder of one view.

    Args:
        shape: the view's, (features,) or (channels, height, width).
        name: ``auto`` takes *mlp* for vectors and, for images, *cnn_tiny* for a shorter side below 20 pixels, *cnn_small*
            below 48, else *cnn_large*.
        levels: how many :class:`~ar_dmvc.networks.levels.Levels` stand for each value; 0: the value itself.

    Raises:
        ValueError: an unknown name, an encoder that does not take views of this shape, or fewer than no levels.
    """
    name = choose_encoder(shape, name)
    first = [("levels", Levels(levels))] if levels else []
    width = shape[0] * (levels or 1)
    encoder = Encoder(OrderedDict([*first, *(_mlp(width) if name == "mlp" else _cnn(width, name))]))
    encoder.out_features = latent_width(shape, name)
    return encoder


def latent_width(shape: Shape, name: EncoderName) -> int:
    """How wide the latent is that an encoder, not ``auto``, makes of a view of this shape."""
    return MLP_OUTPUT if name == "mlp" else CHANNELS[name] * math.prod(pooled_sizes(shape, name)[-1].after)


def build_encoders(shapes: Sequence[Shape], name: EncoderName = "auto", levels: int = 0) -> tuple[nn.ModuleList, int]:
    """Build encoders whose latents can be fused, and say how wide those are.

    Where latents would differ in width, of images beside features, say, a linear layer brings those of images to the others'.

    Raises:
        ValueError: an encoder does not take its view, or fewer than no levels.
    """
    encoders = [build_encoder(shape, name, levels) for shape in shapes]
    if len({encoder.out_features for encoder in encoders}) > 1:
        for encoder in encoders:
            if encoder.out_features != MLP_OUTPUT:
                encoder.add_module("output", nn.Linear(encoder.out_features, MLP_OUTPUT))
                encoder.out_features = MLP_OUTPUT
    return nn.ModuleList(encoders), encoders[0].out_features


def choose_encoder(shape: Shape, name: EncoderName = "auto") -> EncoderName:
    """The encoder that ``auto`` takes for a view's shape, or the one that is named.

    Raises:
        ValueError: an unknown name, or an encoder that does not take views of this shape.
    """
    if name not in get_args(EncoderName):
        raise ValueError(f"encoder: {name!r} is not one of {', '.join(get_args(EncoderName))}")
    if name == "auto":
        if not is_image(shape):
            return "mlp"
        side = min(shape[1:])
        return "cnn_tiny" if side < 20 else "cnn_small" if side < 48 else "cnn_large"
    if is_image(shape) == (name == "mlp"):
        raise ValueError(f"encoder: {name} does not take views of shape {shape}")
    return name


class PooledSize(NamedTuple):
    """Height and width of a block's maps before and after its pooling."""

    before: tuple[int, int]
    after: tuple[int, int]


def pooled_sizes(shape: Shape, name: EncoderName) -> list[PooledSize]:
    """The sizes of a convolutional encoder's maps, block by block.

    Raises:
        ValueError: the images are too small for it.
    """
    shrinkage = 0 if name == "cnn_tiny" else 4
    sizes: list[PooledSize] = []
    height, width = shape[1:]
    for _ in range(_BLOCKS[name]):
        before = (height - shrinkage, width - shrinkage)
        height, width = before[0] // 2, before[1] // 2
        sizes.append(PooledSize(before, (height, width)))
    if min(height, width) < 1:
        raise ValueError(f"encoder: {name} uses up images of shape {shape}; take a smaller one or auto")
    return sizes


def _cnn(in_channels: int, name: EncoderName) -> list[tuple[str, nn.Module]]:
    channels, padding = CHANNELS[name], int(name == "cnn_tiny")
    layers: list[tuple[str, nn.Module]] = []
    for block in range(1, _BLOCKS[name] + 1):
        first, second = 2 * block - 1, 2 * block
        layers += [
            (f"conv{first}", nn.Conv2d(in_channels, channels, 3, padding=padding)),
            (f"relu{first}", nn.ReLU(inplace=True)),
            (f"conv{second}", nn.Conv2d(channels, channels, 3, padding=padding)),
            (f"norm{block}", AccurateBatchNorm2d(channels)),
            # Published the other way round, which is the same, values and gradients, at four times the work.
            (f"pool{block}", nn.MaxPool2d(2)),
            (f"relu{second}", nn.ReLU(inplace=True)),
        ]
        in_channels = channels
    return [*layers, ("flatten", nn.Flatten())]


def _mlp(features: int) -> list[tuple[str, nn.Module]]:
    layers: list[tuple[str, nn.Module]] = []
    for layer in range(1, MLP_LAYERS + 1):
        layers += [
            (f"linear{layer}", nn.Linear(features, MLP_WIDTH)),
            (f"norm{layer}", nn.BatchNorm1d(MLP_WIDTH)),
            (f"relu{layer}", nn.ReLU()),
        ]
        features = MLP_WIDTH
    return [*layers, ("output", nn.Linear(features, MLP_OUTPUT))]
