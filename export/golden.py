"""The golden clip of a bundle: the synthetic scene through the float32 reference."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from uva_edge.data.synthetic import AerialScene
from uva_edge.golden import Golden
from uva_edge.models.clip_step import ClipStep
from uva_edge.models.uva_net import UvaNet
from uva_edge.preprocess import network_input

SCENE_SEED: Final = 2020
MAX_FRAMES: Final = 64
MAX_BYTES: Final = 1_500_000


def golden_clip(network: UvaNet, *, frames: int = MAX_FRAMES) -> Golden:
    """`frames` consecutive frames, or as many as stay under `MAX_BYTES`, with maps and last state of torch.

    The reference is the network as it was trained: float32, batch norms in place.
    """
    side = network.config.resolution
    scene = AerialScene(seed=SCENE_SEED, size=(640, 360))
    inputs = np.stack([network_input(scene.frame(index).image, side) for index in range(frames)])
    while True:
        golden = _reference(network, inputs)
        if len(inputs) == 1 or len(golden.to_bytes()) <= MAX_BYTES:
            return golden
        inputs = inputs[: len(inputs) * 3 // 4]


def _reference(network: UvaNet, inputs: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Golden:
    step = ClipStep(network).eval()
    frames = torch.from_numpy(inputs)
    with torch.inference_mode():
        _, state = step(frames[:1], torch.zeros(network.config.state_shape))
        maps, state = step(frames, state)
    return Golden(inputs, maps.numpy().astype(np.float32), state.numpy().astype(np.float32))
