"""Where a video is cut, judged by what the network sees: a shot's colours change slowly, a cut's at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.preprocess import network_input

_GRID: Final = 32
_LEVELS: Final = 6  # a channel, of the histogram
_COLOURS: Final = 0.35
"""Part of the pixels that must change their colour."""
_PIXELS: Final = 0.10
"""Mean change of a pixel, of the full range; a light that is switched on changes colours, and no edges."""
_OUTSTANDING: Final = 3.0
"""How many times the usual change of this shot: what flickers or is shaken is no row of cuts."""
_MEMORY: Final = 0.8


class CutDetector:
    """Takes the frames of a video one after the other, and says which one begins a new shot."""

    def __init__(self) -> None:
        self._last: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._usual = 0.0

    def push(self, image: NDArray[np.uint8]) -> bool:
        """Whether this frame, uint8 [H, W, 3] BGR, begins a shot. The first of all does not: nothing was before."""
        pixels = network_input(image, _GRID)
        seen = (_histogram(pixels), np.asarray(pixels / 255, np.float32))
        before, self._last = self._last, seen
        if before is None:
            return False
        colours = float(np.abs(seen[0] - before[0]).sum()) / 2
        change = float(np.abs(seen[1] - before[1]).mean())
        if colours > _COLOURS and change > max(_PIXELS, _OUTSTANDING * self._usual):
            self._usual = 0.0
            return True
        self._usual = _MEMORY * self._usual + (1 - _MEMORY) * change
        return False


def _histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Parts of the pixels in each of the colours, which are so many levels of three channels."""
    red, green, blue = (pixels.astype(np.int32) * _LEVELS // 256).reshape(-1, 3).T
    counts = np.bincount((red * _LEVELS + green) * _LEVELS + blue, minlength=_LEVELS**3)
    return np.asarray(counts / len(red), np.float32)
