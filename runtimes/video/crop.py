"""One crop of a frame: a window that may lie between pixels, at the output's size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError

from .movie import Movie, import_av

_LEAST: Final = 16
_MOST: Final = 16384
_NEGLIGIBLE: Final = 1e-3  # of a pixel
FULL_RANGE: Final = "yuvj420p"


@dataclass(frozen=True)
class Window:
    """The largest window of a shape in a picture.

    Attributes:
        size: (width, height) of the window in pixels, even.
        axis: 0 if it moves from left to right, 1 if from top to bottom.
        length: of the picture along the axis, in pixels.
        output: (width, height) of what is written, even.
    """

    size: tuple[int, int]
    axis: Literal[0, 1]
    length: int
    output: tuple[int, int]

    @property
    def extent(self) -> int:
        """The window's pixels along the axis."""
        return self.size[self.axis]


def window_of(
    picture: tuple[int, int], shape: Fraction, aspect: Fraction | None, output: tuple[int, int] | None
) -> Window:
    """The largest window in a picture.

    Args:
        picture: its (width, height), even.
        shape: width / height of a pixel of the picture.
        aspect: width / height of what is seen; None for that of the output, whose pixels are as the picture's.
        output: (width, height) to be written; None for the window's own.

    Raises:
        OptionError: nothing to go by; the two don't fit each other; or sizes that can't be coded.
    """
    if aspect is None and output is None:
        raise OptionError("give an aspect, such as 9:16, or a size, such as 1080x1920")
    if output is not None and not all(_LEAST <= side <= _MOST and side % 2 == 0 for side in output):
        raise OptionError(
            f"the sides of the size must be even and from {_LEAST} to {_MOST}, got {output[0]}x{output[1]}"
        )
    if aspect is not None and not Fraction(1, 10) <= aspect <= 10:
        raise OptionError(
            f"the aspect must be from 1:10 to 10:1, got {aspect.numerator}:{aspect.denominator}"
        )
    ratio = Fraction(*output) if aspect is None and output is not None else aspect / shape  # type: ignore[operator]
    if output is not None and abs(Fraction(*output) / ratio - 1) > Fraction(1, 50):
        raise OptionError(
            f"a size of {output[0]}x{output[1]} does not have the aspect; leave one of them out"
        )
    width, height = picture
    if ratio < Fraction(width, height):
        axis: Literal[0, 1] = 0
        size = (_even(height * ratio), height)
    else:
        axis = 1
        size = (width, _even(width / ratio))
    if min(size) < _LEAST:
        raise OptionError(
            f"a window of that aspect is {size[0]}x{size[1]} in a picture of {width}x{height}; "
            f"its sides must be at least {_LEAST}"
        )
    return Window(size, axis, picture[axis], output or size)


def _even(side: Fraction) -> int:
    return 2 * round(side / 2)


class Cropper:
    """Crops the frames of a movie, in 4:2:0 of 8 bits."""

    def __init__(self, movie: Movie, window: Window) -> None:
        self._av: Any = import_av()
        self._window, self._time_base = window, movie.time_base
        self.format = FULL_RANGE if movie.format.startswith("yuvj") else "yuv420p"

    def cropped(self, frame: Any, place: float) -> Any:
        """The frame within the window that begins at `place`, in pixels along the axis."""
        planes = _planes(frame.to_ndarray(format=self.format), frame.width, frame.height)
        parts = [self._plane(plane, place, 1 if plane is planes[0] else 2) for plane in planes]
        joined = np.concatenate([part.reshape(-1) for part in parts])
        width, height = self._window.output
        cropped = self._av.VideoFrame.from_ndarray(joined.reshape(height * 3 // 2, width), format=self.format)
        cropped.pts, cropped.time_base = frame.pts, self._time_base
        return cropped

    def _plane(self, plane: NDArray[np.uint8], place: float, step: int) -> NDArray[np.uint8]:
        """One plane, of which a pixel stands for step x step of the picture's."""
        import cv2

        size = tuple(side // step for side in self._window.size)
        output = tuple(side // step for side in self._window.output)
        part = _shifted(plane, place / step, size, self._window.axis)
        if size == output:
            return part
        shrinks = output[0] < size[0]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(part, output, interpolation=way), np.uint8)


def _planes(stacked: NDArray[np.uint8], width: int, height: int) -> list[NDArray[np.uint8]]:
    """Y, U and V of even sides, as PyAV stacks them."""
    flat = stacked.reshape(-1)
    luma, chroma = width * height, width * height // 4
    half = (height // 2, width // 2)
    return [
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    ]


def _shifted(plane: NDArray[np.uint8], place: float, size: tuple[int, ...], axis: int) -> NDArray[np.uint8]:
    """The window [height, width] that begins at `place`: copied at whole pixels, interpolated between them."""
    import cv2

    width, height = size
    whole = round(place)
    if abs(place - whole) < _NEGLIGIBLE:
        x, y = (whole, 0) if axis == 0 else (0, whole)
        return np.ascontiguousarray(plane[y : y + height, x : x + width])
    back = np.array([[1, 0, place], [0, 1, 0]] if axis == 0 else [[1, 0, 0], [0, 1, place]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(plane, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
