"""The clip step: the one function that every artifact of a bundle computes, as a torch module."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from uva_edge.models.uva_net import UvaNet, to_map


class ClipStep(nn.Module):
    """``frames, state -> maps, state`` for T consecutive frames of one stream.

    Args of `forward`:
        frames: uint8 [T, R, R, 3], RGB.
        state: float32 [1, 64, R/4, R/4], ``f_s`` of the frame before ``frames[0]``.

    Returns the maps, float32 [T, R, R] in [0, 1], and ``f_s`` of the last frame. ``f_s`` runs once per frame.
    With causal pairs ``maps[t]`` belongs to ``frames[t]``. With lookahead pairs a frame waits for its partner,
    so ``maps[t]`` belongs to the frame before ``frames[t]``.
    """

    def __init__(self, network: UvaNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(frames)
        past = torch.cat((state, features[:-1]))
        causal = self.network.config.pairing == "causal"
        logits = self.network.head(features, past) if causal else self.network.head(past, features)
        return to_map(logits, self.network.config.output), features[-1:]


def folded(network: UvaNet) -> UvaNet:
    """A copy in eval mode whose batch norms are folded into the convolutions before them."""
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        for (first, convolution), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
    return copied
