"""Decoders, one a view: each mirrors the encoder of the same name and reproduces the view's shape.

Source: the settings published with Huang et al., ICML 2024, after Trosten et al., CVPR 2023.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ar_dmvc.networks.encoders import (
    CHANNELS,
    MLP_LAYERS,
    MLP_OUTPUT,
    MLP_WIDTH,
    EncoderName,
    choose_encoder,
    latent_width,
    pooled_sizes,
)
from ar_dmvc.networks.norms import AccurateBatchNorm2d
from ar_dmvc.networks.shapes import Shape


def build_decoder(shape: Shape, name: EncoderName = "auto", in_features: int | None = None) -> nn.Sequential:
    """Build the decoder of one view: the latent (N, ``in_features``) of its encoder to a view (N, *shape) in [0, 1].

    Upsampling goes to the size that the encoder's maps had before pooling, which is twice the size after it or, where that
    was odd, one more: so that every shape is reproduced that the encoder takes.

    Args:
        shape: the view's, (features,) or (channels, height, width).
        name: of the encoder that it mirrors.
        in_features: width of the latent; None: that of the encoder on its own.

    Raises:
        ValueError: an unknown name, or an encoder that does not take views of this shape.
    """
    name = choose_encoder(shape, name)
    layers = _mlp(shape[0]) if name == "mlp" else _cnn(shape, name)
    width = latent_width(shape, name)
    if in_features not in (None, width):
        layers = [nn.Linear(in_features, width), *layers]
    return nn.Sequential(*layers, nn.Sigmoid())


def fully_connected(*widths: int) -> nn.Sequential:
    """Linear layers from the first width to the last, ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _cnn(shape: Shape, name: EncoderName) -> list[nn.Module]:
    channels, padding = CHANNELS[name], int(name == "cnn_tiny")
    sizes = pooled_sizes(shape, name)
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, *sizes[-1].after))]
    for block in reversed(range(len(sizes))):
        layers += [
            nn.Upsample(size=sizes[block].before),
            nn.ConvTranspose2d(channels, channels, 3, padding=padding),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels if block else shape[0], 3, padding=padding),
        ]
        if block:
            layers += [AccurateBatchNorm2d(channels), nn.ReLU()]
    return layers


def _mlp(features: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((MLP_OUTPUT, MLP_OUTPUT, *[MLP_WIDTH] * (MLP_LAYERS - 1))):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return [*layers, nn.Linear(MLP_WIDTH, features)]
