"""The golden clip as a camera would give it: the same scene in every frame format.

Each pixel of the network's input becomes a block of 2x2, which is one chroma sample: BGR and RGB come back bit for
bit (`network_input` averages equal samples), YUV within what its own eight bits lose. ``gray`` is not among them: it
has no colours, and the golden clip has no reference without.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.preprocess import YUV_RANGES, Color, Frame

from .backend import Frames

FORMATS: Final[tuple[Color, ...]] = ("bgr", "rgb", "nv12", "i420", "yuyv")

_SUBSAMPLED: Final = ("nv12", "i420", "yuyv")


def is_exact(color: Color) -> bool:
    """Whether a frame of this format holds the network's input without loss."""
    return color not in _SUBSAMPLED


def camera_frames(inputs: Frames, color: Color) -> list[Frame]:
    """Network inputs, uint8 [N, R, C, 3] RGB, as N frames of [2R, 2C] pixels in one of `FORMATS`."""
    return [_frame(picture, color) for picture in inputs]


def _frame(picture: NDArray[np.uint8], color: Color) -> Frame:
    if is_exact(color):
        ordered = picture if color == "rgb" else picture[..., ::-1]
        return ordered.repeat(2, axis=0).repeat(2, axis=1)
    luma, u, v = np.moveaxis(_to_yuv(picture), -1, 0)
    luma = luma.repeat(2, axis=0).repeat(2, axis=1)
    if color == "i420":
        return luma, u, v
    chroma = np.stack((u, v), axis=-1)
    if color == "nv12":
        return luma, chroma
    # YUYV: one U and one V for two pixels of a row.
    packed = chroma.reshape(len(chroma), -1).repeat(2, axis=0)
    return np.stack((luma, packed), axis=-1)


def _to_yuv(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `network_input`'s conversion of limited range (BT.601), rounded to bytes."""
    offset, luma, v_to_r, u_to_g, v_to_g, u_to_b = YUV_RANGES["limited"]
    to_rgb = np.array([[luma, 0, v_to_r], [luma, -u_to_g, -v_to_g], [luma, u_to_b, 0]]) / 65536
    yuv = rgb @ np.linalg.inv(to_rgb).T + (offset, 128, 128)
    return yuv.round().clip(0, 255).astype(np.uint8)
