"""The golden clip of a bundle: the synthetic scene through the float32 reference."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from uva_edge.data.synthetic import AerialScene
from uva_edge.golden import Golden, spread
from uva_edge.manifest import Contract
from uva_edge.preprocess import network_input
from uva_edge.runtimes.backend import Frames, Maps, State, first_state

SCENE_SEED: Final = 2020
MAX_FRAMES: Final = 64
MAX_BYTES: Final = 1_500_000

_SCENE: Final = (640, 360)
_SMALL_SCENE: Final = (64, 48)


def golden_clip(step: nn.Module, contract: Contract, *, frames: int = MAX_FRAMES) -> Golden:
    """A clip of consecutive frames with maps and last state of torch, of at most `MAX_BYTES`.

    It has `frames` frames, or as many as fit. Where the state is made of frames, the clip is long enough for the
    first to leave it: drawn small and enlarged, they take little room, and as many maps are kept as fit.

    Args:
        step: the network as it was trained: float32, batch norms in place.
    """
    length = contract.history + 3 if contract.history else frames
    scene = AerialScene(seed=SCENE_SEED, size=_SMALL_SCENE if contract.history else _SCENE)
    inputs = np.stack([network_input(scene.frame(index).image, contract.grid) for index in range(length)])
    golden = whole = _reference(step, contract, inputs)
    while len(golden.maps) > 1 and len(golden.to_bytes()) > MAX_BYTES:
        if contract.history:
            kept = spread(length, len(golden.maps) - 1)
            golden = Golden(inputs, whole.maps[kept], whole.state)
        else:
            golden = _reference(step, contract, inputs[: len(golden.frames) * 3 // 4])
    return golden


def _reference(step: nn.Module, contract: Contract, inputs: Frames) -> Golden:
    def run(frames: Frames, state: State) -> tuple[Maps, State]:
        with torch.inference_mode():
            out, after = step(torch.from_numpy(frames), torch.from_numpy(state))
        return out.numpy(), after.numpy()

    state = first_state(contract, run, inputs[:1])
    maps = []
    for start in range(0, len(inputs), contract.frames_per_call):
        out, state = run(inputs[start : start + contract.frames_per_call], state)
        maps.append(out)
    return Golden(inputs, np.concatenate(maps), np.asarray(state))
