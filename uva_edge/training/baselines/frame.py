"""What the baselines make of a frame first: smaller planes of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import FrameError

Image: TypeAlias = NDArray[np.uint8]
"""[H, W, 3] BGR."""
Map: TypeAlias = NDArray[np.float32]
"""[h, w]."""
Plane: TypeAlias = NDArray[np.floating[Any]]
"""[h, w]: one of the numbers that a pixel has."""
Baseline: TypeAlias = Callable[[Iterable[Image]], Iterator[Map]]


def still_baseline(method: Callable[[Image], Map]) -> Baseline:
    """A baseline that looks at each frame by itself."""

    @wraps(method)
    def predict(frames: Iterable[Image]) -> Iterator[Map]:
        return map(method, frames)

    return predict


def shrunk(image: Image, side: int) -> NDArray[np.float32]:
    """The frame stretched to [side, side, 3], BGR in 0..1; raises FrameError for anything but a BGR frame."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FrameError(f"a frame is uint8 [H, W, 3] in BGR; got {image.dtype} {image.shape}")
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small / 255, np.float32)


def intensity(bgr: NDArray[np.float32]) -> Plane:
    """The mean of the three colours."""
    return np.asarray(bgr.mean(axis=2))


def smoothed(values: Plane, sigma: float) -> Map:
    """Under a Gaussian of `sigma` pixels; what lies outside is the mirrored inside."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)
