"""What moves by itself in the picture of a camera that moves too."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH = 480  # wider frames are made smaller
_WINDOW = 15  # pixels of that; about a car from 30 m
_FEWEST = 12  # points that agree on how the background moved
_MOVING = 5.5  # times the median
_REACH = 32  # pixels from a peak to what it is about; at 64x64, four cells and more


class MotionSense:
    """Compares each frame with the one before, after what the camera's own motion has done is taken back.

    The ground is a plane, so its motion is the homography that most corners of the picture agree on. A place moves by
    itself if it differs from its past by much more than is usual in the frame.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._difference: NDArray[np.float32] | None = None
        self._scale = 1.0

    def update(self, image: NDArray[np.uint8]) -> None:
        """The next frame, uint8 [H, W, 3] BGR."""
        height, width = image.shape[:2]
        self._scale = min(1.0, _WIDTH / width)
        if self._scale < 1:
            size = (_WIDTH, round(height * self._scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        last, self._last = self._last, image
        same_size = last is not None and last.shape == image.shape
        self._difference = _difference(last, image) if last is not None and same_size else None

    def near(self, x: float, y: float) -> tuple[float, float] | None:
        """What moves most near the pixel (x, y) of the last frame, in pixels; None if nothing does.

        A map of saliency is coarse, and its peak lies some way off what it is about. Where motion can't be told, as in
        a first frame, it is (x, y) itself.
        """
        if self._difference is None:
            return x, y
        rows, columns = self._difference.shape
        row = min(rows - 1, max(0, round(y * self._scale)))
        column = min(columns - 1, max(0, round(x * self._scale)))
        top, left = max(0, row - _REACH), max(0, column - _REACH)
        around = self._difference[top : row + _REACH + 1, left : column + _REACH + 1]
        down, right = np.unravel_index(int(around.argmax()), around.shape)
        if around[down, right] < _MOVING:
            return None
        return float(left + right) / self._scale, float(top + down) / self._scale


def _difference(last: NDArray[np.uint8], now: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """How much each place differs from its past, in multiples of the median; None if the ground can't be followed."""
    before, after = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (last, now))
    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 8)
    if corners is None or len(corners) < _FEWEST:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    there = found[:, 0] == 1
    if there.sum() < _FEWEST:
        return None
    motion, agree = cv2.findHomography(corners[there], moved[there], cv2.RANSAC, 1.0)
    if motion is None or agree.sum() < _FEWEST:
        return None
    # What comes into view has no past, and is taken to be as it was.
    size = (now.shape[1], now.shape[0])
    past = cv2.warpPerspective(last, motion, size, dst=now.copy(), borderMode=cv2.BORDER_TRANSPARENT)
    difference = cv2.absdiff(now, past).max(axis=2)
    around = cv2.boxFilter(difference, cv2.CV_32F, (_WINDOW, _WINDOW))
    return np.asarray(around / (np.median(around) + 0.5), np.float32)
