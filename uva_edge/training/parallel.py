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
        count = torch.distributed.get_world_size()
        moments = torch.stack((features.mean(dim=(0, 2, 3)), features.square().mean(dim=(0, 2, 3))))
        mean, square = torch.div(all_reduce(moments), count)  # type: ignore[no-untyped-call]
        variance = square - mean.square()
        self._update(mean.detach(), variance.detach(), count * features[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], features, scale[:, None, None])

    def _update(self, mean: Tensor, variance: Tensor, samples: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (samples / (samples - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


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
