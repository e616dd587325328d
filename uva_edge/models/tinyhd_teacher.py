"""TinyHD as a teacher (see `uva_edge.models.teachers.teacher.Teacher`): the maps of a whole clip."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uva_edge.errors import OptionError
from uva_edge.models.teachers.teacher import check_frames
from uva_edge.models.tinyhd import GRID, WINDOW, TinyHD, normalize
from uva_edge.preprocess import network_input

_STRIDE = 8
"""Of M's windows: each frame but the first and last eight gets two maps, which are averaged."""


class TinyHDTeacher:
    """Maps of clips by a loaded TinyHD (see `uva_edge.models.tinyhd_checkpoint.load_tinyhd`).

    Args:
        network: in eval mode; it runs on the device where its weights are.
        batch: windows of 16 frames in memory at once.

    Raises:
        OptionError: `batch` below 1.
    """

    def __init__(self, network: TinyHD, *, batch: int = 2) -> None:
        if batch < 1:
            raise OptionError(f"batch must be at least 1, got {batch}")
        self.network = network
        self.name = f"tinyhd-{network.variant}"
        self.resolution = GRID
        self._batch = batch
        self._device = next(network.parameters()).device

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The maps of T consecutive frames, uint8 [T, H, W, 3] RGB of any size: float32 [T, 192, 256] in [0, 1].

        S: a window of 16 ends at every frame. M: windows of 16 begin at every eighth frame, and the maps where
        they overlap are averaged. Frames before the first are the first, repeated. Each map is scaled to its
        peak.

        Raises:
            FrameError: no frames, or another dtype or shape.
        """
        check_frames(frames)
        inputs = np.stack([network_input(frame, GRID, color="rgb") for frame in frames])
        maps = self._last_frames(inputs) if self.network.variant == "s" else self._all_frames(inputs)
        maps /= maps.max(axis=(1, 2), keepdims=True)  # a sigmoid is never zero everywhere
        return maps

    def _last_frames(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        ends = list(range(len(inputs)))
        return np.concatenate(
            [
                self._run(inputs, ends[start : start + self._batch])
                for start in range(0, len(ends), self._batch)
            ]
        )

    def _all_frames(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A clip shorter than a window is one window, whose frames before the first are left out again.
        count = len(inputs)
        ends = sorted({*range(WINDOW - 1, count, _STRIDE), count - 1})
        sums = np.zeros((count, *GRID), np.float32)
        seen = np.zeros((count, 1, 1), np.float32)
        for start in range(0, len(ends), self._batch):
            chunk = ends[start : start + self._batch]
            for end, maps in zip(chunk, self._run(inputs, chunk), strict=True):
                first = max(0, end - WINDOW + 1)
                sums[first : end + 1] += maps[first - end - 1 :]
                seen[first : end + 1] += 1
        return sums / seen

    def _run(self, inputs: NDArray[np.uint8], ends: list[int]) -> NDArray[np.float32]:
        """What the network says of the windows whose last frames are `ends`."""
        places = np.maximum(0, np.asarray(ends)[:, None] + np.arange(1 - WINDOW, 1))
        with torch.inference_mode():
            clips: Tensor = normalize(torch.from_numpy(inputs[places]).to(self._device))
            return np.asarray(self.network(clips.transpose(1, 2)).cpu().numpy(), np.float32)
