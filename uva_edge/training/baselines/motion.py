"""Change between frames: the simplest answer to what moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from .frame import Image, Map, intensity, shrunk, smoothed

_SIDE: Final = 128
_SIGMA: Final = 0.035 * _SIDE
"""About one degree of visual angle, the blur of fixation densities."""


def frame_difference(frames: Iterable[Image]) -> Iterator[Map]:
    """The absolute difference in intensity from the frame before, smoothed; all zero for a first frame.

    It knows nothing of a moving camera: every edge of the scene is a change then.
    """
    before = None
    for frame in frames:
        now = intensity(shrunk(frame, _SIDE))
        yield smoothed(np.abs(now - (now if before is None else before)), _SIGMA)
        before = now
