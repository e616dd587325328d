"""Any pixel format to BGR at full size: for what people look at. The network's input never comes this way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.preprocess import YUV_RANGES, Color, YuvRange
from uva_edge.preprocess import Frame as Pixels


def to_bgr(pixels: Pixels, color: Color, yuv_range: YuvRange) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] BGR of a frame in the format `color` (see `network_input`); BGR comes back as it is.

    YUV is converted by BT.601 as in `network_input`, with the nearest chroma sample, to within one level.
    """
    if color == "bgr":
        return np.asarray(pixels)
    if color in ("rgb", "gray"):
        import cv2

        image = np.ascontiguousarray(pixels)
        code = cv2.COLOR_RGB2BGR if color == "rgb" else cv2.COLOR_GRAY2BGR
        return np.asarray(cv2.cvtColor(image, code), np.uint8)
    return _converted(_full_yuv(pixels, color), yuv_range)


def _full_yuv(pixels: Pixels, color: Color) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: Y, U, V of every pixel."""
    if color == "yuyv":
        packed = np.asarray(pixels)
        pairs = np.stack([packed[:, 0::2, 1], packed[:, 1::2, 1]], axis=2)
        return np.dstack([packed[:, :, 0], np.repeat(pairs, 2, axis=1)])
    luma, chroma = _planes(pixels, color)
    height, width = luma.shape
    full = np.repeat(np.repeat(chroma, 2, axis=0), 2, axis=1)[:height, :width]
    return np.dstack([luma, full])


def _planes(pixels: Pixels, color: Color) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Y [H, W] and UV [ceil(H/2), ceil(W/2), 2] of a 4:2:0 frame in one array or in planes."""
    if isinstance(pixels, np.ndarray):
        height, width = 2 * len(pixels) // 3, pixels.shape[1]
        luma, rest = pixels[:height], np.ascontiguousarray(pixels[height:])
        if color == "nv12":
            return luma, rest.reshape(-1, width // 2, 2)
        u, v = rest.reshape(2, -1, width // 2)
        return luma, np.dstack([u, v])
    if color == "nv12":
        return pixels[0], pixels[1]
    if color != "i420":
        raise OptionError(f"a {color} frame is one array; got {len(pixels)} planes")
    return pixels[0], np.dstack([pixels[1], pixels[2]])


def _converted(yuv: NDArray[np.uint8], yuv_range: YuvRange) -> NDArray[np.uint8]:
    import cv2

    offset, cy, crv, cgu, cgv, cbu = YUV_RANGES[yuv_range]
    linear = np.array([[cy, cbu, 0], [cy, -cgu, -cgv], [cy, 0, crv]]) / 65536  # rows: B, G, R
    shift = -linear @ np.array([offset, 128, 128])
    return np.asarray(cv2.transform(yuv, np.column_stack([linear, shift])), np.uint8)
