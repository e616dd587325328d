"""The worst frames as pictures: the frame, the reference map, the backend's map and their difference."""

from __future__ import annotations

import base64
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..report import WorstFrame

_SIDE: Final = 192  # px; smaller pictures are enlarged by a whole factor, so that cells stay squares
_NO_NUMBER: Final = (255, 0, 255)
# Less than the reference, equal, more: colours that also those who see no red from green can tell apart.
_LESS, _EQUAL, _MORE = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def data_uri(picture: NDArray[np.uint8]) -> str:
    """A uint8 RGB picture [H, W, 3] as PNG in a ``data:`` address, enlarged where it is small."""
    import cv2

    factor = max(1, _SIDE // max(picture.shape[:2]))
    large = np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)
    _, png = cv2.imencode(".png", np.ascontiguousarray(large[:, :, ::-1]))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode("ascii")


def heat(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map [R, C] in the colours of the overlay: black is 0, yellow is 1. What is no number is magenta."""
    import cv2

    levels = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    colors: NDArray[np.uint8] = np.ascontiguousarray(
        cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    )
    colors[~np.isfinite(values)] = _NO_NUMBER
    return colors


def difference(worst: WorstFrame) -> tuple[NDArray[np.uint8], float]:
    """Blue where the backend has less than the reference, red where it has more, and the difference that has the
    full colour: the largest."""
    apart = worst.found.astype(np.float64) - worst.reference
    finite = np.isfinite(apart)
    scale = float(np.abs(apart[finite]).max()) if finite.any() else 0.0
    share = np.where(finite, apart, 0.0) / (scale or 1.0)
    towards = np.where(share[..., None] < 0, np.array(_LESS), np.array(_MORE))
    colors = np.array(_EQUAL) + (towards - np.array(_EQUAL)) * np.abs(share)[..., None]
    picture = np.rint(colors).astype(np.uint8)
    picture[~finite] = _NO_NUMBER
    return picture, scale


def largest_error(worst: WorstFrame) -> float:
    """Infinite where the backend's map has something else than numbers."""
    apart = np.abs(worst.found.astype(np.float64) - worst.reference)
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")
