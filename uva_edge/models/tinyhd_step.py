"""TinyHD over a clip: windows that slide by one frame, as the clip step that a bundle's artifacts compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uva_edge.models.tinyhd import WINDOW, TinyHD, normalize

HISTORY = WINDOW - 1
"""Frames before the one in hand that a map depends on."""


class TinyHDStep(nn.Module):
    """``frames, state -> maps, state`` for T consecutive frames of one stream, S and M alike.

    Args of `forward`:
        frames: uint8 [T, H, W, 3], RGB, H and W multiples of 32.
        state: uint8 [15, H, W, 3], the frames before ``frames[0]``.

    Returns the maps, float32 [T, H, W], and the last 15 frames. ``maps[t]`` belongs to ``frames[t]``, the last
    of its window of 16. Each map is scaled to its peak, since the network's own probabilities seldom exceed a few
    hundredths, and a map is a relative density.
    """

    def __init__(self, network: TinyHD) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat((state, frames))
        maps = self.network(windows(normalize(seen)))
        if self.network.variant == "m":
            maps = maps[:, -1:].squeeze(1)
        return maps / maps.amax(dim=(1, 2), keepdim=True), seen[-HISTORY:]


def windows(frames: Tensor) -> Tensor:
    """Every window of 16 of the normalised frames: float32 [15 + T, 3, H, W] to [T, 3, 16, H, W]."""
    # Slices, counted from the end where that is nearer: the same graph for any T.
    shifted = [frames[place : place - HISTORY or None] for place in range(WINDOW)]
    return torch.stack(shifted, dim=2)
