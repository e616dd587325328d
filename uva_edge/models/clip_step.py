"""The clip step: the one function that every artifact of a bundle computes, as a torch module."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from uva_edge.models.uva_net import UvaNet, to_map


class ClipStep(nn.Module):
    """``frames, state -> maps, state`` for T consecutive frames of each of S streams.

    Args of `forward`:
        frames: uint8 [T * S, R, R, 3], RGB, time-major: frame t of stream s is at t * S + s.
        state: float32 [S, 64, R/4, R/4], ``f_s`` of each stream's frame before its first one here.

    Returns the maps, float32 [T * S, R, R] in [0, 1], and ``f_s`` of each stream's last frame. For one stream that
    is a clip, T frames one after the other. ``f_s`` runs once per frame. With causal pairs ``maps[t]`` belongs to
    ``frames[t]``. With lookahead pairs a frame waits for its partner, so ``maps[t]`` belongs to the same stream's
    frame before ``frames[t]``.
    """

    def __init__(self, network: UvaNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(frames)
        # S places before each frame stands the same stream's frame before it.
        streams = state.shape[0]
        past = torch.cat((state, features[:-streams]))
        causal = self.network.config.pairing == "causal"
        logits = self.network.head(features, past) if causal else self.network.head(past, features)
        return to_map(logits, self.network.config.output), features[-streams:]


def folded(network: UvaNet) -> UvaNet:
    """A copy in eval mode whose batch norms are folded into the convolutions before them."""
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        for (first, convolution), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
    return copied
