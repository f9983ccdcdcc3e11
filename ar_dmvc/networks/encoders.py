"""Encoders, one a view, built from the view's shape.

Source of *cnn_small*, *cnn_large* and *mlp*: the settings published with Huang et al., ICML 2024, after Trosten et al.,
CVPR 2021. *cnn_tiny* is *cnn_small* with padding, for images that its unpadded convolutions would use up, and half as wide.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

from torch import Tensor, nn

from ar_dmvc.networks.shapes import Shape, is_image

EncoderName = Literal["auto", "cnn_tiny", "cnn_small", "cnn_large", "mlp"]

_BLOCKS = {"cnn_tiny": 2, "cnn_small": 2, "cnn_large": 3}
_CHANNELS = {"cnn_tiny": 32, "cnn_small": 64, "cnn_large": 64}
_MLP_WIDTH, _MLP_LAYERS, _MLP_OUTPUT = 1024, 4, 256


class Encoder(nn.Sequential):
    """A view (N, *shape) to its latent (N, ``out_features``)."""

    out_features: int


class AccurateBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics do not suffer from its input's layout.

    On CPUs PyTorch sums channels-last inputs one by one in single precision, which costs two digits of the statistics, unless
    the mean is near zero. Batch norm does not see a shift, only its running mean does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if self.training and input.device.type == "cpu" and not input.is_contiguous():
            keep_mean = self.track_running_stats
            input = input.contiguous() if keep_mean else input - input.detach().mean((0, 2, 3), keepdim=True)
        return super().forward(input)


def build_encoder(shape: Shape, name: EncoderName = "auto") -> Encoder:
    """Build the encoder of one view.

    Args:
        shape: the view's, (features,) or (channels, height, width).
        name: ``auto`` takes *mlp* for vectors and, for images, *cnn_tiny* for a shorter side below 20 pixels, *cnn_small*
            below 48, else *cnn_large*.

    Raises:
        ValueError: an unknown name, or an encoder that does not take views of this shape.
    """
    if name not in get_args(EncoderName):
        raise ValueError(f"encoder: {name!r} is not one of {', '.join(get_args(EncoderName))}")
    if name == "auto":
        name = _choose(shape)
    if is_image(shape) == (name == "mlp"):
        raise ValueError(f"encoder: {name} does not take views of shape {shape}")
    encoder = Encoder(OrderedDict(_mlp(shape[0]) if name == "mlp" else _cnn(shape[0], name)))
    encoder.out_features = _output_features(shape, name)
    return encoder


def _choose(shape: Shape) -> EncoderName:
    if not is_image(shape):
        return "mlp"
    side = min(shape[1:])
    return "cnn_tiny" if side < 20 else "cnn_small" if side < 48 else "cnn_large"


def _cnn(in_channels: int, name: str) -> list[tuple[str, nn.Module]]:
    channels, padding = _CHANNELS[name], int(name == "cnn_tiny")
    layers: list[tuple[str, nn.Module]] = []
    for block in range(1, _BLOCKS[name] + 1):
        first, second = 2 * block - 1, 2 * block
        layers += [
            (f"conv{first}", nn.Conv2d(in_channels, channels, 3, padding=padding)),
            (f"relu{first}", nn.ReLU()),
            (f"conv{second}", nn.Conv2d(channels, channels, 3, padding=padding)),
            (f"norm{block}", AccurateBatchNorm2d(channels)),
            (f"relu{second}", nn.ReLU()),
            (f"pool{block}", nn.MaxPool2d(2)),
        ]
        in_channels = channels
    return [*layers, ("flatten", nn.Flatten())]


def _mlp(features: int) -> list[tuple[str, nn.Module]]:
    layers: list[tuple[str, nn.Module]] = []
    for layer in range(1, _MLP_LAYERS + 1):
        layers += [
            (f"linear{layer}", nn.Linear(features, _MLP_WIDTH)),
            (f"norm{layer}", nn.BatchNorm1d(_MLP_WIDTH)),
            (f"relu{layer}", nn.ReLU()),
        ]
        features = _MLP_WIDTH
    return [*layers, ("output", nn.Linear(features, _MLP_OUTPUT))]


def _output_features(shape: Shape, name: str) -> int:
    if name == "mlp":
        return _MLP_OUTPUT
    shrinkage = 0 if name == "cnn_tiny" else 4
    sides = shape[1:]
    for _ in range(_BLOCKS[name]):
        sides = tuple((side - shrinkage) // 2 for side in sides)
    if min(sides) < 1:
        raise ValueError(f"encoder: {name} uses up images of shape {shape}; take a smaller one or auto")
    return _CHANNELS[name] * sides[0] * sides[1]
