"""The frame-to-input definition, bit for bit against loops that a reader can check with the eye."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.errors import FrameError, OptionError
from uva_edge.preprocess import COLORS, YUV_RANGES, Frame, frame_size, network_input, sample_positions

U8 = NDArray[np.uint8]
RESOLUTIONS = (1, 3, 8, 32)
SIZES = ((1, 1), (1, 7), (5, 1), (2, 2), (3, 5), (17, 31), (64, 64), (97, 130), (240, 321))


def reference(
    pixel: Callable[[int, int], Sequence[int]], height: int, width: int, rows: int, columns: int
) -> U8:
    """The definition as its text says it: integer positions, one sample at a time, rounded block means."""
    out = np.zeros((rows, columns, 3), np.uint8)
    for row in range(rows):
        for column in range(columns):
            total = np.zeros(3, np.int64)
            for dy in range(4):
                for dx in range(4):
                    y = ((2 * (4 * row + dy) + 1) * height) // (8 * rows)
                    x = ((2 * (4 * column + dx) + 1) * width) // (8 * columns)
                    total += pixel(y, x)
            out[row, column] = (total + 8) >> 4
    return out


def yuv(y: int, u: int, v: int, yuv_range: str) -> tuple[int, int, int]:
    offset, cy, crv, cgu, cgv, cbu = YUV_RANGES[yuv_range]  # type: ignore[index]
    luma, d, e = (int(y) - offset) * cy, int(u) - 128, int(v) - 128
    rgb = (luma + crv * e, luma - cgu * d - cgv * e, luma + cbu * d)
    return tuple(min(255, max(0, (value + 32768) >> 16)) for value in rgb)  # type: ignore[return-value]


def make(color: str, height: int, width: int, seed: int, yuv_range: str) -> tuple[Frame, Callable]:  # type: ignore[type-arg]
    """A random frame of that format and the function that reads one RGB pixel of it."""
    rng = np.random.default_rng(seed)

    def noise(*shape: int) -> U8:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    if color in ("bgr", "rgb"):
        image = noise(height, width, 3)
        order = slice(None, None, -1) if color == "bgr" else slice(None)
        return image, lambda y, x: image[y, x, order].astype(int)
    if color == "gray":
        image = noise(height, width)
        return image, lambda y, x: (int(image[y, x]),) * 3
    if color == "yuyv":
        image = noise(height, width, 2)
        return image, lambda y, x: yuv(image[y, x, 0], image[y, x & ~1, 1], image[y, x | 1, 1], yuv_range)
    luma, half = noise(height, width), ((height + 1) // 2, (width + 1) // 2)
    u, v = noise(*half), noise(*half)
    planes = (luma, np.dstack((u, v))) if color == "nv12" else (luma, u, v)
    return planes, lambda y, x: yuv(luma[y, x], u[y // 2, x // 2], v[y // 2, x // 2], yuv_range)


@pytest.mark.parametrize("yuv_range", ["limited", "full"])
@pytest.mark.parametrize("color", COLORS)
def test_equals_the_definition(color: str, yuv_range: str) -> None:
    for case, (height, width) in enumerate(SIZES):
        if color == "yuyv":
            width += width % 2
        frame, pixel = make(color, height, width, case, yuv_range)
        for side in RESOLUTIONS:
            ours = network_input(frame, side, color=color, yuv_range=yuv_range)  # type: ignore[arg-type]
            message = f"{color} {width}x{height} to {side}"
            assert ours.shape == (side, side, 3), message
            assert ours.dtype == np.uint8, message
            np.testing.assert_array_equal(ours, reference(pixel, height, width, side, side), err_msg=message)


@settings(max_examples=60, deadline=None)
@given(
    color=st.sampled_from(COLORS),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size(color: str, height: int, width: int, rows: int, columns: int, seed: int) -> None:
    if color == "yuyv":
        width *= 2
    frame, pixel = make(color, height, width, seed, "full")
    ours = network_input(frame, (rows, columns), color=color, yuv_range="full")  # type: ignore[arg-type]
    np.testing.assert_array_equal(ours, reference(pixel, height, width, rows, columns))
    if rows == columns:
        np.testing.assert_array_equal(network_input(frame, rows, color=color, yuv_range="full"), ours)  # type: ignore[arg-type]


@pytest.mark.parametrize("color", ["nv12", "i420"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (1, 2), (3, 4), (5, 6), (48, 64)])
def test_one_array_equals_its_planes(color: str, height: int, width: int) -> None:
    planes, _ = make(color, height, width, 0, "limited")
    packed = np.concatenate([np.asarray(plane).ravel() for plane in planes]).reshape(-1, width)
    assert frame_size(packed, color=color) == (width, height)  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        network_input(packed, 8, color=color),  # type: ignore[arg-type]
        network_input(planes, 8, color=color),  # type: ignore[arg-type]
    )


STRIDES: dict[str, Callable[[U8], U8]] = {
    "flipped": lambda a: a[::-1, ::-1],
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "fortran": np.asfortranarray,
    "cropped from a larger frame": lambda a: np.pad(a, ((2, 3), (1, 4), *[(0, 0)] * (a.ndim - 2)))[
        2:-3, 1:-4
    ],
    "transposed twice": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
    "row broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("name", STRIDES)
@pytest.mark.parametrize("color", COLORS)
def test_strides_do_not_matter(color: str, name: str) -> None:
    frame, _ = make(color, 46, 62, 1, "limited")
    planes = frame if isinstance(frame, tuple) else (frame,)
    strided = tuple(STRIDES[name](plane) for plane in planes)
    for plane in strided:
        plane.flags.writeable = False
    copies = tuple(plane.copy() for plane in strided)
    one = len(planes) == 1
    np.testing.assert_array_equal(
        network_input(strided[0] if one else strided, 16, color=color),  # type: ignore[arg-type]
        network_input(copies[0] if one else copies, 16, color=color),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("shape", [(3, 40000, 3), (40000, 2, 3)])
def test_frames_beyond_the_fast_path(shape: tuple[int, int, int]) -> None:
    frame = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    samples = frame[sample_positions(shape[0], 8)[:, None], sample_positions(shape[1], 8)].astype(int)
    means = (samples.reshape(8, 4, 8, 4, 3).sum(axis=(1, 3)) + 8) >> 4
    np.testing.assert_array_equal(network_input(frame, 8, color="rgb"), means)


def test_large_resolution_equals_indexing() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    samples = frame[sample_positions(480, 256)[:, None], sample_positions(640, 256)].astype(int)
    means = (samples.reshape(256, 4, 256, 4, 3).sum(axis=(1, 3)) + 8) >> 4
    np.testing.assert_array_equal(network_input(frame, 256), means[:, :, ::-1])


def test_the_frame_is_left_alone_and_the_result_is_ours() -> None:
    frame = np.full((4, 4, 3), 7, np.uint8)
    result = network_input(frame, 1, color="rgb")
    result += 1
    assert (frame == 7).all()


@pytest.mark.parametrize(
    ("frame", "color", "words"),
    [
        (None, "bgr", "NoneType"),
        ([[1, 2, 3]], "bgr", "list"),
        (np.zeros((4, 4, 3), np.float32), "bgr", "float32"),
        (np.zeros((4, 4, 3), np.uint16), "rgb", "uint16"),
        (np.zeros((0, 4, 3), np.uint8), "bgr", r"\(0, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), "bgr", r"\[H, W, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), "bgr", "alpha"),
        (np.zeros((1, 4, 4, 3), np.uint8), "rgb", r"\(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), "gray", r"\[H, W\]"),
        (np.zeros((4, 5, 2), np.uint8), "yuyv", "even"),
        (np.zeros((6, 5), np.uint8), "nv12", "planes"),
        (np.zeros((4, 6), np.uint8), "i420", "no H gives 4 rows"),
        (np.zeros((6, 4, 3), np.uint8), "nv12", r"\(6, 4, 3\)"),
        ((np.zeros((4, 4), np.uint8),), "nv12", "Y, UV"),
        ((np.zeros((3, 3), np.uint8), np.zeros((1, 1, 2), np.uint8)), "nv12", r"\(2, 2, 2\)"),
        ((np.zeros((2, 2), np.uint8), np.zeros((1, 1), np.uint8), None), "i420", "NoneType"),
    ],
)
def test_wrong_frames_say_what_came(frame: object, color: str, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        network_input(frame, 8, color=color)  # type: ignore[arg-type]


def test_wrong_options() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(OptionError, match="nv21"):
        network_input(frame, 8, color="nv21")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="tv"):
        network_input(frame, 8, yuv_range="tv")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="0"):
        network_input(frame, 0)
    with pytest.raises(OptionError, match="0"):
        network_input(frame, (8, 0))


def test_faster_than_area_resize() -> None:
    """At least 15 times, 1080p BGR to 64, one thread, in one run. Nearly 40 here: the margin is for noise."""
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        ratios = []
        for _ in range(15):
            start = time.perf_counter()
            cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
            middle = time.perf_counter()
            for _ in range(4):
                network_input(frame, 64)
            ratios.append(4 * (middle - start) / (time.perf_counter() - middle))
    finally:
        cv2.setNumThreads(threads)
    assert statistics.median(ratios) >= 15
