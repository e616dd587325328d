"""What is shown of a frame: the overlay and the map by itself, as JPEGs of bounded size."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OutputError
from uva_edge.saliency import Saliency

Image = NDArray[np.uint8]

_QUALITY: Final = 80
_MAP_SIDE: Final = 96


def overlay(frame: Image, saliency: Saliency, max_width: int, alpha: float) -> Image:
    """The frame, uint8 [H, W, 3] BGR, with its map as heat, at most `max_width` wide and twice as high."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(1.0, max_width / width, 2 * max_width / height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return saliency.overlay(frame, alpha=alpha)


def small_map(saliency: Saliency) -> Image:
    """The map in the colours of the overlay's heat, uint8 [96, 96, 3] BGR."""
    levels = np.rint(saliency.resized((_MAP_SIDE, _MAP_SIDE)) * 255).astype(np.uint8)
    return _colors().take(levels, axis=0)


@lru_cache(maxsize=1)
def _colors() -> Image:
    """Of the 256 levels, [256, 3]: OpenCV makes them anew with every picture, in 10 ms."""
    import cv2

    levels = np.arange(256, dtype=np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8)[:, 0]


def jpeg(image: Image) -> bytes:
    """Raises OutputError where OpenCV can't."""
    import cv2

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OutputError(
            f"a picture of {image.shape} can't be written as JPEG; is this OpenCV built without it?"
        )
    return data.tobytes()
