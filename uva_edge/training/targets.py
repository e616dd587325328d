"""A batch on the device that trains, at the resolution that a network wants."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from uva_edge.data.batches import Batch


@dataclass(frozen=True, eq=False)
class Targets:
    """A `Batch` as tensors on the device that trains."""

    frames: Tensor
    others: Tensor
    density: Tensor
    fixations: Tensor
    teacher: Tensor
    spatial: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Targets:
        return cls(*(torch.from_numpy(getattr(batch, item.name)).to(device) for item in fields(cls)))

    def at(self, resolution: int) -> Targets:
        """The same views at a resolution that divides theirs; maps keep their sums."""
        factor = self.frames.shape[1] // resolution
        if factor == 1:
            return self
        frames = (_smaller(item, factor) for item in (self.frames, self.others))
        maps = (self.density, self.fixations, self.teacher, self.spatial)
        return Targets(*frames, *(functional.avg_pool2d(item, factor) * factor**2 for item in maps))


def _smaller(frames: Tensor, factor: int) -> Tensor:
    """uint8 [N, R, R, 3] at R / factor, each cell the mean of its pixels."""
    pooled_frames = functional.avg_pool2d(frames.permute(0, 3, 1, 2).float(), factor)
    return pooled_frames.round().to(torch.uint8).permute(0, 2, 3, 1)
