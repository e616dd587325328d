"""Auxiliary heads for hierarchical distillation: intermediate features learn coarse maps too ([TinyHD])."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from uva_edge.models.uva_net import UvaNet


class Hierarchy(nn.Module):
    """S_sp with a 1x1 convolution to a map on each of three intermediate features, all at R/4.

    The features are those of ``f_s`` (64 channels), of both paths (256) and of layer 8 (32). The heads serve
    training alone: `network` is what is kept.
    """

    def __init__(self, network: UvaNet) -> None:
        super().__init__()
        self.network = network
        config = network.config
        paths = (2 if config.branches == "both" else 1) * 2 * config.features
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, 1, 1) for channels in (config.features, paths, 32 * config.width)
        )

    def forward(self, frames: Tensor, others: Tensor) -> tuple[Tensor, list[Tensor]]:
        """uint8 [N, R, R, 3] twice to logits [N, R, R] and the intermediate ones, [N, R/4, R/4] each."""
        network = self.network
        current, other = network.features(frames), network.features(others)
        paths = network.paths(current, other)
        decoder = network.decoder
        early = decoder[1](decoder[0](paths))
        logits = decoder[2:](early)
        taps = (current, paths, early)
        intermediate = [head(tap).squeeze(1) for head, tap in zip(self.heads, taps, strict=True)]
        return logits.squeeze(1), intermediate


def pooled(density: Tensor, side: int) -> Tensor:
    """A density [N, R, R] at [N, side, side]; it keeps its sum."""
    factor = density.shape[-1] // side
    return torch.mul(functional.avg_pool2d(density.unsqueeze(1), factor).squeeze(1), factor**2)
