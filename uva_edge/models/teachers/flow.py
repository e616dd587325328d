"""Dense optical flow between two frames, and its picture for a network."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import FrameError

MIN_SIDE: Final = 12
"""The shortest side that OpenCV's DIS takes."""
_FULL_SCALE: Final = 1 / 20
"""The displacement, in widths of the frame, that is 1 in `flow_image`: 16 pixels of 320."""


def dis_flow(previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where each pixel of `previous` is in `current`: x and y in pixels, float32 [H, W, 2].

    Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset: deterministic, and without a
    memory of earlier calls.

    Args:
        previous: uint8 [H, W, 3] RGB.
        current: the frame after it, of the same shape.

    Raises:
        FrameError: other types or shapes, or a side below `MIN_SIDE`.
    """
    for frame in (previous, current):
        if (
            frame.dtype != np.uint8
            or frame.ndim != 3
            or frame.shape[2] != 3
            or min(frame.shape[:2]) < MIN_SIDE
        ):
            raise FrameError(
                f"optical flow takes uint8 [H, W, 3] RGB, sides of at least {MIN_SIDE}; "
                f"got {frame.dtype} {frame.shape}"
            )
    if previous.shape != current.shape:
        raise FrameError(f"optical flow takes frames of one size, got {previous.shape} and {current.shape}")
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (previous, current)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*previous.shape[:2], 2), np.float32)
    return np.asarray(search.calc(gray[0], gray[1], start), np.float32)


def flow_image(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """x, y and magnitude of a flow [H, W, 2], in -1..1: float32 [3, H, W]; a twentieth of the width is 1."""
    image = np.stack((flow[..., 0], flow[..., 1], np.hypot(flow[..., 0], flow[..., 1])))
    scaled = image / np.float32(_FULL_SCALE * flow.shape[1])
    return np.asarray(np.clip(scaled, -1, 1), np.float32)
