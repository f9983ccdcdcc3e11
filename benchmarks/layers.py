"""``python -m benchmarks.layers``: milliseconds of each layer of an encoder, forward and gradient, in both layouts."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from ar_dmvc.networks import build_encoder
from ar_dmvc.networks.encoders import channels_last
from benchmarks.timing import alternate


def main() -> None:
    """Print a row a layer."""
    parser = argparse.ArgumentParser(prog="benchmarks.layers", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    settings = parser.parse_args()
    torch.manual_seed(0)
    plain = channels = torch.rand(settings.batch_size, 1, 28, 28)
    channels = channels_last(channels)
    print("layer, then milliseconds forward and of the input's gradient: plain layout, channels-last")
    for name, layer in build_encoder((1, 28, 28)).named_children():
        plain_layer = nn.BatchNorm2d(layer.num_features) if isinstance(layer, nn.BatchNorm2d) else layer
        rows = [*_times(plain_layer, plain, settings.rounds), *_times(layer, channels, settings.rounds)]
        print(f"  {name:8} {rows[0]:6.2f} {rows[1]:6.2f}   {rows[2]:6.2f} {rows[3]:6.2f}")
        plain, channels = layer(plain).detach(), layer(channels).detach()


def _times(layer: nn.Module, values: Tensor, rounds: int) -> tuple[float, float]:
    variable = values.detach().requires_grad_()
    result = layer(variable)
    gradient = torch.rand_like(result)
    seconds = alternate(
        {
            "forward": lambda: layer(variable),
            "gradient": lambda: torch.autograd.grad(result, variable, gradient, retain_graph=True),
        },
        rounds,
    )
    return min(seconds["forward"]) * 1e3, min(seconds["gradient"]) * 1e3


if __name__ == "__main__":
    main()
