"""Frames as cameras of all kinds send them, good and bad, drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.preprocess import COLORS, Color, Frame, Plane, YuvRange

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""

LARGEST: Final[Size] = (1920, 1080)
_LARGEST_COPY: Final = 320 * 180
"""Pixels; larger frames are views, so that the network gets the time and not memcpy."""
_MARGIN: Final = 64
_CELL: Final = 24


class Traffic:
    """Frames of any color format, size and memory layout; the same ones for the same seed.

    All are windows into one picture, which is read-only: a write into a camera's frame is an error.
    """

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)
        self._picture = _picture()

    def color(self) -> tuple[Color, YuvRange]:
        return self.random.choice(COLORS), self.random.choice(("limited", "full"))

    def size(self) -> Size:
        """The smallest, the largest, or anything between, small ones as often as large ones."""
        if self.random.random() < 0.1:
            return self.random.choice(((1, 1), LARGEST))
        width, height = (round(math.exp(self.random.uniform(0, math.log(most)))) for most in LARGEST)
        return width, height

    def frame(self, color: Color, size: Size) -> Frame:
        """A good frame; its width may be one more than asked for where the format wants it even."""
        width, height = size
        planar = color in ("nv12", "i420") and self.random.random() < 0.5
        if color in ("nv12", "i420", "yuyv") and not planar:
            width += width % 2
        if planar:
            return self._planes(color, width, height)
        if color in ("nv12", "i420"):
            return self._window(width, height + (height + 1) // 2)[:, :, 0]
        window = self._window(width, height)
        if color == "gray":
            return window[:, :, :1] if self.random.random() < 0.5 else window[:, :, 0]
        return window[:, :, :2] if color == "yuyv" else window

    def bad(self, color: Color) -> tuple[str, Any]:
        """The name of a defect that a frame of the format can have, and such a frame."""
        defects = bad_frames(color)
        name = self.random.choice(list(defects))
        return name, defects[name]()

    def _planes(self, color: Color, width: int, height: int) -> tuple[Plane, ...]:
        chroma = self._window((width + 1) // 2, (height + 1) // 2)
        luma = self._window(width, height)[:, :, 0]
        if color == "nv12":
            return luma, chroma[:, :, 1:]
        return luma, chroma[:, :, 1], chroma[:, :, 2]

    def _window(self, width: int, height: int) -> Plane:
        """uint8 [height, width, 3] from somewhere in the picture, in any memory layout."""
        high, wide = self._picture.shape[:2]
        layout = self.random.choice(("rows", "flipped", "every other", "columns", "packed"))
        step = 2 if layout == "every other" and 2 * width <= wide and 2 * height <= high else 1
        top = self.random.randrange(high - step * height + 1)
        left = self.random.randrange(wide - step * width + 1)
        window = self._picture[top : top + step * height : step, left : left + step * width : step]
        if layout == "flipped":
            return window[::-1, ::-1]
        if width * height <= _LARGEST_COPY and layout in ("columns", "packed"):
            return np.array(window, order="F" if layout == "columns" else "C")
        return window


@lru_cache(maxsize=1)
def _picture() -> Plane:
    """Bright and dark cells under noise: windows of it differ after averaging too, where bare noise would be grey."""
    random = np.random.default_rng(0)
    rows, columns = LARGEST[1] * 3 // 2 + _MARGIN, LARGEST[0] + _MARGIN
    cells = random.integers(0, 192, (-(-rows // _CELL), -(-columns // _CELL), 3), dtype=np.uint8)
    picture = cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[:rows, :columns].copy()
    picture += random.integers(0, 64, picture.shape, dtype=np.uint8)
    picture.flags.writeable = False
    return picture


# --- bad frames: whatever `network_input` refuses ------------------------------------------------------------


def bad_frames(color: Color) -> dict[str, Callable[[], Any]]:
    """By the name of the defect, what makes a frame that has it. Each is a `FrameError`."""
    shape: tuple[int, ...] = {"gray": (6, 8), "yuyv": (6, 8, 2), "nv12": (6, 8), "i420": (6, 8)}.get(
        color, (6, 8, 3)
    )
    return {**_of_any_color(shape), **_of_color(color)}


def _of_any_color(shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    def of_type(dtype: Any, fill: Any = 0) -> Callable[[], NDArray[Any]]:
        return lambda: np.full(shape, fill, dtype)

    return {
        "nothing": lambda: None,
        "bytes": lambda: bytes(math.prod(shape)),
        "a string": lambda: "frame.png",
        "a number": lambda: 7,
        "floats": of_type(np.float32, 0.5),
        "NaN": of_type(np.float64, np.nan),
        "int64": of_type(np.int64),
        "uint16": of_type(np.uint16),
        "bool": of_type(np.bool_),
        "complex": of_type(np.complex64),
        "objects": of_type(np.object_, None),
        "text": of_type("U1", "x"),
        "no rows": lambda: np.zeros((0, *shape[1:]), np.uint8),
        "no columns": lambda: np.zeros((shape[0], 0, *shape[2:]), np.uint8),
        "no dimension": lambda: np.array(7, np.uint8),
        "one dimension": lambda: np.zeros(math.prod(shape), np.uint8),
        "a batch": lambda: np.zeros((2, *shape[:2], 3), np.uint8),
        "alpha": lambda: np.zeros((*shape[:2], 4), np.uint8),
    }


def _of_color(color: Color) -> dict[str, Callable[[], Any]]:
    def zeros(*shape: int) -> NDArray[np.uint8]:
        return np.zeros(shape, np.uint8)

    if color == "yuyv":
        return {"an odd width": lambda: zeros(6, 7, 2), "three channels": lambda: zeros(6, 8, 3)}
    if color in ("bgr", "rgb"):
        return {"no channels": lambda: zeros(6, 8), "two channels": lambda: zeros(6, 8, 2)}
    if color == "gray":
        return {"three channels": lambda: zeros(6, 8, 3)}
    chroma = [zeros(3, 4, 2)] if color == "nv12" else [zeros(3, 4), zeros(3, 4)]
    return {
        "an odd width": lambda: zeros(6, 7),
        "rows of no height": lambda: zeros(7, 8),
        "one row": lambda: zeros(1, 8),
        "no planes": lambda: (),
        "a plane too few": lambda: (zeros(6, 8), *chroma[1:]),
        "a plane too many": lambda: (zeros(6, 8), *chroma, zeros(3, 4)),
        "a plane of nothing": lambda: (None, *chroma),
        "a plane of floats": lambda: (zeros(6, 8), *(plane.astype(np.float32) for plane in chroma)),
        "an empty plane": lambda: (zeros(0, 8), *chroma),
        "luma in three dimensions": lambda: (zeros(6, 8, 1), *chroma),
        "chroma of another size": lambda: (zeros(6, 10), *chroma),
    }
