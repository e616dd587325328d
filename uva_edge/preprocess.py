"""The one way from a camera frame to the network's input.

The definition, bit for bit, for training, calibration, every backend and the C code. With a frame of
H x W pixels and an input of R x R, or of R rows and C columns:

1. sample a grid of 4R x 4C pixels at the cell centres, rows ``y_i = ((2i + 1) * H) // (8R)`` and columns
   ``x_j = ((2j + 1) * W) // (8C)`` (integer arithmetic; a small frame repeats samples);
2. bring each sample to RGB: BGR and RGB reorder, gray repeats, YUV converts by BT.601 (`YUV_RANGES`),
   where a pixel (y, x) of a 4:2:0 frame has the chroma sample (y // 2, x // 2), and of YUYV the U of
   pixel ``x - x % 2`` and the V of the pixel right of it;
3. average each block of 4x4 samples: ``(sum + 8) >> 4`` per channel.

There is no crop and no letterbox: the frame is stretched to the input, as [UVA] does. A full area resize
reads every pixel of the frame and costs more than the network; this reads 16 R C of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import FrameError, OptionError

Plane: TypeAlias = NDArray[np.uint8]
Frame: TypeAlias = "Plane | Sequence[Plane]"
Color: TypeAlias = Literal["bgr", "rgb", "gray", "nv12", "i420", "yuyv"]
YuvRange: TypeAlias = Literal["limited", "full"]
Grid: TypeAlias = tuple[int, int]
"""Rows and columns of the network's input."""

COLORS: Final[tuple[Color, ...]] = ("bgr", "rgb", "gray", "nv12", "i420", "yuyv")

YUV_RANGES: Final[dict[YuvRange, tuple[int, int, int, int, int, int]]] = {
    # luma offset, then the BT.601 coefficients in 1/65536: Y, V to R, U to G, V to G, U to B
    "limited": (16, 76309, 104597, 25675, 53279, 132201),
    "full": (0, 65536, 91881, 22554, 46802, 116130),
}
"""``R = (cy (Y - y0) + crv (V - 128) + 32768) >> 16``, likewise G and B, each clipped to 0..255."""

_OVERSAMPLING: Final = 4
_REMAP_LIMIT: Final = 32767  # cv2.remap takes int16 coordinates
_REMAP_CHUNK: Final = 65536  # pixels; cv2 spreads larger calls over threads that the caller did not ask for


def network_input(
    frame: Frame, resolution: int | Grid, *, color: Color = "bgr", yuv_range: YuvRange = "limited"
) -> NDArray[np.uint8]:
    """The network's input for one camera frame: uint8 [R, R, 3] or [R, C, 3], RGB.

    Args:
        frame: uint8, any size from 1x1, any strides, read-only or not. By `color`:
            ``bgr``, ``rgb``: [H, W, 3]. ``gray``: [H, W] or [H, W, 1].
            ``nv12``: [H + H/2, W] with W even, or the planes (Y [H, W], UV [ceil(H/2), ceil(W/2), 2]).
            ``i420``: [H + H/2, W] with W even, or the planes (Y, U, V), U and V [ceil(H/2), ceil(W/2)].
            ``yuyv``: [H, W, 2] with W even: Y in channel 0, U and V in turns in channel 1.
        resolution: the network's input in pixels: R, its side, or (R, C), its rows and columns.
        color: the pixel format of the frame.
        yuv_range: ``limited`` (luma 16..235, what video uses) or ``full`` (0..255, as in JPEG).

    Raises:
        FrameError: the frame is not what its color format says.
        OptionError: an unknown color or range, or a resolution below 1.
    """
    grid = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(grid) < 1:
        raise OptionError(f"resolution must be at least 1, got {resolution}")
    if yuv_range not in YUV_RANGES:
        raise OptionError(f'yuv_range must be "limited" or "full", got {yuv_range!r}')
    planes = _planes(frame, color)
    return _CONVERTERS[color](planes, grid, yuv_range)


def frame_size(frame: Frame, *, color: Color = "bgr") -> tuple[int, int]:
    """(width, height) in pixels of a frame; raises like `network_input`."""
    height, width = _planes(frame, color)[0].shape[:2]
    return width, height


def sample_positions(length: int, resolution: int) -> NDArray[np.intp]:
    """The rows (or columns) of a frame of that length which are sampled: 4R indices, ascending."""
    count = _OVERSAMPLING * resolution
    return ((2 * np.arange(count, dtype=np.int64) + 1) * length // (2 * count)).astype(np.intp)


# --- checking what came ---------------------------------------------------------------------------------


def _planes(frame: Frame, color: Color) -> tuple[Plane, ...]:
    if color not in COLORS:
        raise OptionError(f"color must be one of {', '.join(COLORS)}; got {color!r}")
    if color in ("nv12", "i420"):
        return _planes_420(frame, color)
    image = _checked_array(frame, color)
    expected = {"gray": "[H, W] or [H, W, 1]", "yuyv": "[H, W, 2]"}.get(color, "[H, W, 3]")
    channels = {"gray": 1, "yuyv": 2}.get(color, 3)
    if color == "gray" and image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] != channels:
        hint = " (drop the alpha channel first)" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise FrameError(f"a {color} frame is uint8 {expected}; got shape {np.shape(frame)}{hint}")
    if color == "yuyv" and image.shape[1] % 2:
        raise FrameError(f"yuyv packs two pixels in four bytes, so W is even; got shape {image.shape}")
    return (image,)


def _checked_array(value: object, color: Color) -> Plane:
    if not isinstance(value, np.ndarray):
        hint = " (did the camera or file end?)" if value is None else ""
        raise FrameError(f"a {color} frame is a numpy array of uint8; got {type(value).__name__}{hint}")
    if value.dtype != np.uint8:
        hint = "; scale to 0..255 and convert with .astype(np.uint8)" if value.dtype.kind == "f" else ""
        raise FrameError(f"a {color} frame has dtype uint8; got {value.dtype}{hint}")
    if value.size == 0:
        raise FrameError(f"a {color} frame has at least one pixel; got shape {value.shape}")
    return value


def _planes_420(frame: Frame, color: Color) -> tuple[Plane, ...]:
    if isinstance(frame, (tuple, list)):
        return _separate_planes_420([_checked_array(plane, color) for plane in frame], color)
    image = _checked_array(frame, color)
    layout = "Y rows, then the chroma rows: [H + ceil(H / 2), W] with W even"
    if image.ndim != 2 or image.shape[1] % 2:
        raise FrameError(
            f"a {color} frame in one array is uint8 {layout}; got shape {image.shape}. "
            "Pass the planes as a tuple for an odd width or padded rows"
        )
    rows, width = image.shape
    height = 2 * rows // 3
    if height < 1 or height + (height + 1) // 2 != rows:
        raise FrameError(f"a {color} frame in one array is {layout}; no H gives {rows} rows")
    luma, chroma = image[:height], image[height:]
    if color == "nv12":
        return luma, _split_pairs(chroma)
    flat = chroma.reshape(2, -1, width // 2)
    return luma, flat[0][:, :, None], flat[1][:, :, None]


def _split_pairs(rows: Plane) -> Plane:
    """[h, 2w] interleaved bytes as [h, w, 2], without a copy whatever the strides."""
    height, width = rows.shape
    row, column = rows.strides
    return np.lib.stride_tricks.as_strided(
        rows, (height, width // 2, 2), (row, 2 * column, column), writeable=False
    )


def _separate_planes_420(planes: list[Plane], color: Color) -> tuple[Plane, ...]:
    names = ("Y", "UV") if color == "nv12" else ("Y", "U", "V")
    if len(planes) != len(names):
        raise FrameError(f"a {color} frame has the planes {', '.join(names)}; got {len(planes)} arrays")
    luma = planes[0]
    if luma.ndim != 2:
        raise FrameError(f"the Y plane of a {color} frame is uint8 [H, W]; got shape {luma.shape}")
    half = ((luma.shape[0] + 1) // 2, (luma.shape[1] + 1) // 2)
    expected = (*half, 2) if color == "nv12" else half
    for name, plane in zip(names[1:], planes[1:], strict=True):
        if plane.shape != expected:
            raise FrameError(
                f"the {name} plane of a {color} frame with Y {luma.shape} has shape {expected}; "
                f"got {plane.shape}"
            )
    return luma, *(plane if plane.ndim == 3 else plane[:, :, None] for plane in planes[1:])


# --- sampling -------------------------------------------------------------------------------------------


def _indices(
    height: int, width: int, grid: Grid, subsampling: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows [R, 4, 1, 1] and columns [1, 1, 4, C] of all samples, ordered (block row, sample in block, block column).

    With the 16 samples of a block in 16 consecutive rows, the averages become sums of contiguous memory.
    """
    rows, columns = grid
    ys = sample_positions(height, rows).reshape(rows, _OVERSAMPLING, 1, 1) // subsampling[0]
    xs = sample_positions(width, columns).reshape(columns, _OVERSAMPLING).T[None, None] // subsampling[1]
    return ys, xs


@lru_cache(maxsize=32)
def _coordinates(height: int, width: int, grid: Grid, subsampling: tuple[int, int]) -> NDArray[np.int16]:
    """The same as cv2.remap takes them: (x, y) of each sample, [16 R, C, 2]."""
    ys, xs = _indices(height, width, grid, subsampling)
    samples = np.stack(np.broadcast_arrays(xs.astype(np.int16), ys.astype(np.int16)), axis=-1)
    return samples.reshape(-1, grid[1], 2)


def _gather(
    plane: Plane,
    grid: Grid,
    size: tuple[int, ...] | None = None,
    subsampling: tuple[int, int] = (1, 1),
) -> NDArray[np.uint8]:
    """The samples of one plane, [16 R, C, channels].

    A chroma plane says the (H, W) of its frame and how many rows and columns of that share one of its own.
    """
    height, width = size or plane.shape[:2]
    channels = plane.shape[2] if plane.ndim == 3 else 1
    packed = plane.strides[1] == channels and (plane.ndim == 2 or channels == 1 or plane.strides[2] == 1)
    if not packed or plane.strides[0] < plane.shape[1] * channels or max(height, width) > _REMAP_LIMIT:
        return plane[_indices(height, width, grid, subsampling)].reshape(-1, grid[1], channels)
    # cv2.remap copies pixels at given coordinates several times faster than numpy's indexing.
    import cv2

    coordinates = _coordinates(height, width, grid, subsampling)
    samples = np.empty((*coordinates.shape[:2], channels), np.uint8)
    step = max(1, _REMAP_CHUNK // grid[1])
    for start in range(0, len(coordinates), step):
        part = slice(start, start + step)
        cv2.remap(plane, coordinates[part], None, cv2.INTER_NEAREST, dst=samples[part])  # type: ignore[call-overload]
    return samples


# --- one function a color format: planes to [R, C, 3] RGB -----------------------------------------------
# BGR and gray are reordered after the averages, which are per channel: the same numbers, 16 times less work.


def _from_bgr(planes: tuple[Plane, ...], grid: Grid, _: YuvRange) -> NDArray[np.uint8]:
    return np.take(_block_means(_gather(planes[0], grid)), (2, 1, 0), axis=2)


def _from_rgb(planes: tuple[Plane, ...], grid: Grid, _: YuvRange) -> NDArray[np.uint8]:
    return _block_means(_gather(planes[0], grid))


def _from_gray(planes: tuple[Plane, ...], grid: Grid, _: YuvRange) -> NDArray[np.uint8]:
    return np.repeat(_block_means(_gather(planes[0], grid)), 3, axis=2)


def _from_nv12(planes: tuple[Plane, ...], grid: Grid, yuv_range: YuvRange) -> NDArray[np.uint8]:
    luma, chroma = planes
    uv = _gather(chroma, grid, luma.shape, (2, 2))
    return _block_means(_yuv_to_rgb(_gather(luma, grid), uv[:, :, :1], uv[:, :, 1:], yuv_range))


def _from_i420(planes: tuple[Plane, ...], grid: Grid, yuv_range: YuvRange) -> NDArray[np.uint8]:
    luma, u, v = planes
    u_samples, v_samples = (_gather(plane, grid, luma.shape, (2, 2)) for plane in (u, v))
    return _block_means(_yuv_to_rgb(_gather(luma, grid), u_samples, v_samples, yuv_range))


def _from_yuyv(planes: tuple[Plane, ...], grid: Grid, yuv_range: YuvRange) -> NDArray[np.uint8]:
    image = planes[0]
    height, width = image.shape[:2]
    groups = _gather(image.reshape(height, width // 2, 4), grid, (height, width), (1, 2))  # Y U Y V
    luma = _gather(image, grid)[:, :, :1]
    return _block_means(_yuv_to_rgb(luma, groups[:, :, 1:2], groups[:, :, 3:], yuv_range))


def _yuv_to_rgb(
    y: NDArray[np.uint8], u: NDArray[np.uint8], v: NDArray[np.uint8], yuv_range: YuvRange
) -> NDArray[np.uint8]:
    offset, cy, crv, cgu, cgv, cbu = (np.int32(value) for value in YUV_RANGES[yuv_range])
    luma = (y.astype(np.int32) - offset) * cy + np.int32(32768)
    blue_difference = u.astype(np.int32) - np.int32(128)
    red_difference = v.astype(np.int32) - np.int32(128)
    rgb = np.empty((*y.shape[:2], 3), np.uint8)
    for channel, term in enumerate(
        (red_difference * crv, -(blue_difference * cgu + red_difference * cgv), blue_difference * cbu)
    ):
        term += luma
        term >>= 16
        rgb[:, :, channel] = np.clip(term, 0, 255, out=term)[:, :, 0]
    return rgb


def _block_means(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[16 R, C, channels] samples to the rounded means of their blocks, [R, C, channels]."""
    blocks = samples.reshape(-1, _OVERSAMPLING**2, samples.shape[1] * samples.shape[2])
    sums = cast("NDArray[np.uint16]", blocks.sum(axis=1, dtype=np.uint16))
    sums += 8
    sums >>= 4
    return sums.astype(np.uint8).reshape(len(blocks), *samples.shape[1:])


_CONVERTERS: Final[dict[Color, Callable[[tuple[Plane, ...], Grid, YuvRange], NDArray[np.uint8]]]] = {
    "bgr": _from_bgr,
    "rgb": _from_rgb,
    "gray": _from_gray,
    "nv12": _from_nv12,
    "i420": _from_i420,
    "yuyv": _from_yuyv,
}
