"""What the activations of a network range over on calibration clips, at the places where the C makes them integers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uva_edge.models.blocks import CAResBlock, ChannelAttention
from uva_edge.models.uva_net import UvaNet
from uva_edge.runtimes.backend import Frames
from uva_edge.runtimes.native.topology import BlockShape, Topology

_SAMPLED: Final = 1024
"""Pixels of a place that are kept of each clip, for shares of them."""


class Ranges:
    """Values seen, by the names of `uva_edge.runtimes.native.topology`."""

    def __init__(self) -> None:
        self._samples: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        self._extremes: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._draw = np.random.default_rng(0)

    def see(self, name: str, values: Tensor) -> None:
        """Values [N, C, H, W] at a place."""
        pixels = values.detach().movedim(1, -1).flatten(0, -2).numpy()
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        if name in self._extremes:
            low, high = np.minimum(self._extremes[name][0], low), np.maximum(self._extremes[name][1], high)
        self._extremes[name] = (low, high)
        chosen = self._draw.choice(len(pixels), min(_SAMPLED, len(pixels)), replace=False)
        self._samples[name].append(pixels[chosen])

    def of(self, name: str, share: float = 1.0) -> tuple[float, float]:
        """Low and high, between which that share of the values lies."""
        low, high = self._extremes[name]
        if share < 1:
            tails = (0.5 - share / 2, 0.5 + share / 2)
            low, high = np.quantile(np.concatenate(self._samples[name]), tails)
        return float(low.min()), float(high.max())

    def highest(self, name: str, share: float = 1.0) -> NDArray[np.float64]:
        """Of each channel, what that share of its values is not above."""
        if share < 1:
            highest: NDArray[np.float64] = np.quantile(np.concatenate(self._samples[name]), share, axis=0)
            return highest.astype(np.float64)
        return self._extremes[name][1].astype(np.float64)

    def largest(self, name: str) -> NDArray[np.float64]:
        """Largest absolute value of each channel."""
        low, high = self._extremes[name]
        return np.maximum(-low, high).astype(np.float64)


def ranges_of(network: UvaNet, topology: Topology, clips: Sequence[Frames]) -> Ranges:
    """Runs a network with folded batch norms over clips of consecutive frames, uint8 [T, R, R, 3] each."""
    ranges = Ranges()
    with torch.inference_mode(), _watched(network, topology, ranges.see):
        for clip in clips:
            frames = torch.from_numpy(np.ascontiguousarray(clip))
            network(frames, torch.cat((frames[:1], frames[:-1])))
    return ranges


@contextmanager
def _watched(network: UvaNet, topology: Topology, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        handles.append(module.register_forward_hook(lambda _, __, output: see(name, output)))

    def watch_attention(name: str, module: ChannelAttention) -> None:
        def hidden(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            features = inputs[0]
            pools = [features.mean(dim=(2, 3), keepdim=True)]
            if module.max_pool:
                pools.append(features.amax(dim=(2, 3), keepdim=True))
            see(f"{name}.attention", torch.stack([torch.relu(module.squeeze(pool)) for pool in pools]).sum(0))

        handles.append(module.register_forward_pre_hook(hidden))

    def watch_block(shape: BlockShape, block: CAResBlock) -> None:
        for index, part in enumerate(("expand", "depthwise", "project")):
            end = block.inverted[index] if part != "project" else block.inverted[3]
            watch(f"{shape.name}.{part}", end)
        if block.attention is not None:
            watch_attention(shape.name, block.attention)
        watch(shape.name, block)

    modules = dict(network.named_modules())
    watch("first", modules["low_level.0"])
    for shape in topology.blocks:
        watch_block(shape, modules[shape.prefix])
    if topology.temporal:
        features = topology.features
        first = modules[topology.temporal[0].prefix]
        handles.append(
            first.register_forward_pre_hook(lambda _, inputs: see("difference", inputs[0][:, features:]))
        )
    watch("fuse7", modules["decoder.0"])
    watch("up11", modules["decoder.5"])
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
