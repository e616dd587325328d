"""A contact sheet of crops: frames of a movie with their windows, and below them what is left."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..writers import contact_sheet
from .crop import Window
from .movie import picture

_HEIGHT: Final = 180
_KEPT: Final = 8  # times as many as are drawn, so that those can be evenly spread
_SHADE: Final = 0.35
_LINE: Final = (80, 220, 255)


class CropSheet:
    """Shown every frame of a movie, it keeps some that are evenly spread, however many there are.

    Args:
        columns: frames on the sheet, at most.

    Attributes:
        seen: frames that it was shown.
    """

    def __init__(self, columns: int = 6) -> None:
        self._columns = columns
        self._kept: list[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.seen, self._step = 0, 1

    def show(self, frame: Any, cropped: Any, window: Window, place: float) -> None:
        """A frame (`av.VideoFrame`), and what is left of it in a window that begins at `place` pixels."""
        if self.seen % self._step == 0:
            if len(self._kept) == _KEPT * self._columns:
                self._kept, self._step = self._kept[::2], 2 * self._step
            if self.seen % self._step == 0:
                before = _small(_marked(picture(frame), window, place))
                self._kept.append((frame.time or 0.0, before, _small(picture(cropped))))
        self.seen += 1

    def drawn(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] BGR: the frames in a row with what is cut off in the shade, the crops below them."""
        chosen = np.unique(np.rint(np.linspace(0, len(self._kept) - 1, self._columns)).astype(int))
        shown = [self._kept[index] for index in chosen]
        pictures = [before for _, before, _ in shown] + [after for _, _, after in shown]
        captions = [f"{seconds:.1f} s" for seconds, _, _ in shown] + ["cropped"] * len(shown)
        return contact_sheet(pictures, len(shown), captions=captions)


def _marked(image: NDArray[np.uint8], window: Window, place: float) -> NDArray[np.uint8]:
    import cv2

    x, y = (round(place), 0) if window.axis == 0 else (0, round(place))
    right, bottom = x + window.size[0], y + window.size[1]
    shaded = (image * _SHADE).astype(np.uint8)
    shaded[y:bottom, x:right] = image[y:bottom, x:right]
    thick = max(2, round(image.shape[0] / 120))
    cv2.rectangle(shaded, (x, y), (right - 1, bottom - 1), _LINE, thick)
    return shaded


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
