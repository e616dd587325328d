"""Batch norm over all processes that share a batch, on any device: a spread run computes what one process would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.SyncBatchNorm` for CPUs too (that one asks for a GPU); every process holds as many pairs."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        processes = torch.distributed.get_world_size()
        # Under mixed precision too: sums over a batch need the digits.
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        mean = _global_mean(values, processes)
        # A second pass: a difference of mean squares would lose a variance that is small beside the mean.
        centred = values - mean[:, None, None]
        variance = _global_mean(centred.square(), processes)
        self._update(mean.detach(), variance.detach(), processes * features[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normed = torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None])
        return normed.to(features.dtype)

    def _update(self, mean: Tensor, variance: Tensor, samples: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (samples / (samples - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; what each loses by its values is the sum of what all lose."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _global_mean(values: Tensor, processes: int) -> Tensor:
    """[N, C, H, W] of each process to the mean of each channel over all of them, [C]."""
    total: Tensor = _Sum.apply(values.mean(dim=(0, 2, 3)))  # type: ignore[no-untyped-call]
    return total / processes


def with_global_batch_norm(module: nn.Module) -> nn.Module:
    """The same module, its batch norms replaced in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum).to(child.weight)
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement)
        else:
            with_global_batch_norm(child)
    return module
