"""Batch norm whose statistics are those of the whole batch, on several devices and in any layout."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from ar_dmvc.distributed import batch_moments, is_global


class AccurateBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics do not suffer from its input's layout.

    On CPUs PyTorch sums channels-last inputs one by one in single precision, which costs two digits of the statistics. Here
    they are summed image by image first.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training or input.device.type != "cpu" or input.dtype != torch.float32 or input.is_contiguous():
            return super().forward(input)
        result, mean, variance = _ChannelsLastBatchNorm.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.track_running_stats:
            count = input.numel() / input.shape[1]
            _track(self, mean, variance * count / (count - 1))
        return result  # type: ignore[no-any-return]


class _ChannelsLastBatchNorm(torch.autograd.Function):
    """Batch norm in training, with its statistics."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        count = input.numel() / input.shape[1]
        mean = input.sum((2, 3)).sum(0) / count
        variance = (input - mean.view(1, -1, 1, 1)).square_().sum((2, 3)).sum(0) / count
        ctx.eps = eps
        ctx.save_for_backward(input, weight, mean, (variance + eps).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return batch_norm(input, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, inverse = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        backward = torch.ops.aten.native_batch_norm_backward
        return (*backward(gradients[0], input, weight, None, None, mean, inverse, True, ctx.eps, needed), None)


class _GlobalBatchNorm(_BatchNorm):
    """What :func:`synchronise_batch_norm` adds to a layer: in training, the statistics of the global batch."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and is_global()):
            return super().forward(input)
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        with torch.autocast(input.device.type, enabled=False):
            mean, variance, count = batch_moments(values)
            if self.track_running_stats:
                _track(self, mean.detach(), (variance * count / (count - 1)).detach())
            shape = (1, -1, *[1] * (values.dim() - 2))
            result = (values - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Let a batch's mean and unbiased variance move the running statistics of a layer, if it has any."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), momentum)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Let all batch norm in a module take its statistics from the global batch, while there is one.

    PyTorch's own synchronised layer does so in every forward pass in training mode, also where processes are on their own, and
    not on CPUs. Parameters, buffers and their names stay as they are.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _GlobalBatchNorm):
            layer.__class__ = _global_kind(type(layer))  # type: ignore[arg-type]  # classes are hashable


@functools.cache
def _global_kind(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Global{kind.__name__}", (_GlobalBatchNorm, kind), {})
