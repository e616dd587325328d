"""Batch norm over all processes that share a batch, on any device: a spread run computes what one process would."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.SyncBatchNorm` for CPUs too (that one asks for a GPU); every process holds as many pairs."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        processes = torch.distributed.get_world_size()
        values = features.float()  # under mixed precision too: sums over a batch need the digits
        mean = _global_mean(values, processes)
        # A second pass: a difference of mean squares would lose a variance that is small beside the mean.
        variance = _global_mean((values - mean[:, None, None]).square(), processes)
        self._update(mean.detach(), variance.detach(), processes * features[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(features.dtype)

    def _update(self, mean: Tensor, variance: Tensor, samples: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (samples / (samples - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


def _global_mean(values: Tensor, processes: int) -> Tensor:
    """[N, C, H, W] of each process to the mean of each channel over all of them, [C]."""
    total = all_reduce(values.mean(dim=(0, 2, 3)))  # type: ignore[no-untyped-call]
    return torch.div(total, processes)


def with_global_batch_norm(module: nn.Module) -> nn.Module:
    """The same module, its batch norms replaced in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum)
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement)
        else:
            with_global_batch_norm(child)
    return module
