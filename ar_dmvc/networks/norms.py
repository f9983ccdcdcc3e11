"""Batch norm whose statistics are those of the whole batch, on several devices and in any layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ar_dmvc.distributed import batch_moments, is_global


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


class _GlobalBatchNorm(_BatchNorm):
    """What :func:`synchronise_batch_norm` adds to a layer: in training, the statistics of the global batch."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and is_global()):
            return super().forward(input)
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        with torch.autocast(input.device.type, enabled=False):
            mean, variance, count = batch_moments(values)
            if self.track_running_stats:
                self._track(mean.detach(), (variance * count / (count - 1)).detach())
            shape = (1, -1, *[1] * (values.dim() - 2))
            result = (values - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Let all batch norm in a module take its statistics from the global batch, while there is one.

    PyTorch's own synchronised layer does so in every forward pass in training mode, also where processes are on their own, and
    not on CPUs. Parameters, buffers and their names stay as they are.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _GlobalBatchNorm):
            kind = type(layer)
            layer.__class__ = type(f"Global{kind.__name__}", (_GlobalBatchNorm, kind), {})
