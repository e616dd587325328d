"""The frame functions in C, bit for bit against `network_input`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from frames import FORMATS, FrameCase, Rows
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.preprocess import YuvRange

U8 = NDArray[np.uint8]
Library = Callable[[int, int], ctypes.CDLL]
GRIDS: Final = ((32, 32), (64, 64), (96, 96), (32, 64), (256, 256), (5, 7))
GUARD: Final = 64
SENTINEL: Final = 0xA5
WITHOUT_RANGE: Final = ("bgr", "rgb", "gray")

OK, NULL, SIZE, STRIDE, RANGE = 0, -1, -2, -3, -4


def rows_arguments(rows: Rows, memory: U8) -> tuple[ctypes.c_void_p, ctypes.c_ssize_t]:
    return ctypes.c_void_p(memory.ctypes.data + rows.top), ctypes.c_ssize_t(rows.stride)


def arguments(case: FrameCase, memory: U8) -> list[object]:
    """All but `rgb`."""
    size = ctypes.c_int32(case.width), ctypes.c_int32(case.height)
    source, stride = rows_arguments(case.planes[0], memory)
    if case.format.endswith("_planes"):
        found: list[object] = []
        for rows in case.planes:
            found += rows_arguments(rows, memory)
        found += size
    else:
        found = [source, *size, stride]
    if case.format not in WITHOUT_RANGE:
        found.append(ctypes.c_int(("limited", "full").index(case.yuv_range)))
    return found


def frame_in_c(library: ctypes.CDLL, case: FrameCase, memory: U8, grid: tuple[int, int]) -> U8:
    """What C makes of a frame; fails if it writes elsewhere."""
    guarded = np.full(grid[0] * grid[1] * 3 + 2 * GUARD, SENTINEL, np.uint8)
    source = np.concatenate((np.full(GUARD, SENTINEL, np.uint8), memory, np.full(GUARD, SENTINEL, np.uint8)))
    before = source.copy()
    rgb = ctypes.c_void_p(guarded.ctypes.data + GUARD)
    status = getattr(library, f"uva_frame_{case.format}")(*arguments(case, source[GUARD:]), rgb)
    assert status == OK, f"{case}: {status}"
    np.testing.assert_array_equal(source, before, err_msg=f"{case} wrote into the frame")
    edges = np.concatenate((guarded[:GUARD], guarded[-GUARD:]))
    assert (edges == SENTINEL).all(), f"{case} wrote outside of rgb"
    return guarded[GUARD:-GUARD].reshape(*grid, 3)


def check(library: Library, case: FrameCase, grid: tuple[int, int]) -> None:
    memory = case.memory()
    ours = frame_in_c(library(*grid), case, memory, grid)
    np.testing.assert_array_equal(ours, case.expected(memory, grid), err_msg=f"{case} to {grid}")


@st.composite
def cases(draw: st.DrawFn) -> FrameCase:
    name = draw(st.sampled_from(FORMATS))
    side = st.one_of(st.integers(1, 40), st.integers(1, 700))
    width = draw(side)
    return FrameCase(
        name,
        width + width % 2 if name == "yuyv" else width,
        draw(side),
        draw(st.tuples(*[st.integers(0, 70)] * 3)),
        draw(st.booleans()) if name not in ("nv12", "i420") else False,
        draw(st.sampled_from(("limited", "full"))),
        draw(st.integers(0, 2**32 - 1)),
    )


@settings(max_examples=300, deadline=None)
@given(case=cases(), grid=st.sampled_from(GRIDS))
@example(case=FrameCase("nv12", 1, 1), grid=(32, 32))
@example(case=FrameCase("i420", 1, 1), grid=(32, 32))
@example(case=FrameCase("yuyv", 2, 1), grid=(32, 32))
def test_equals_network_input(library: Library, case: FrameCase, grid: tuple[int, int]) -> None:
    check(library, case, grid)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(32768, 1), (32768, 2), (2, 32768), (32766, 3), (1920, 1080)])
@pytest.mark.parametrize("grid", [(64, 64), (256, 256)])
def test_the_longest_sides(library: Library, name: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    check(library, FrameCase(name, *size, seed=sum(size)), grid)


@pytest.mark.parametrize("yuv_range", ["limited", "full"])
def test_colours_are_converted_alike(library: Library, yuv_range: YuvRange) -> None:
    """Every Y with every U = V, which is all that red and blue depend on, and many others for green."""
    y, chroma = (part.ravel() for part in np.mgrid[:256, :256])
    others = np.random.default_rng(0).integers(0, 256, (3, 256 * 256))
    y, u, v = np.concatenate(((y, chroma, chroma), others), axis=1)
    case = FrameCase("yuyv", 128, 64, yuv_range=yuv_range)
    for start in range(0, len(y), 64 * 64):
        at = slice(start, start + 64 * 64)
        # The two pixels of a pair are the same, so that all samples of a cell are its colour.
        memory = np.stack((y[at], u[at], y[at], v[at]), axis=1).astype(np.uint8).ravel()
        ours = frame_in_c(library(64, 64), case, memory, (64, 64))
        np.testing.assert_array_equal(ours, case.expected(memory, (64, 64)), err_msg=f"colours from {start}")


STRIDES: Final = {
    "bgr": (24,),
    "rgb": (24,),
    "gray": (8,),
    "yuyv": (16,),
    "nv12": (8,),
    "i420": (8,),
    "nv12_planes": (8, 8),
    "i420_planes": (8, 4, 4),
}
"""Bytes in the rows of each plane of a frame of 8 x 4."""


def status_of(
    library: Library,
    name: str,
    *,
    width: int = 8,
    height: int = 4,
    strides: dict[int, int] | None = None,
    yuv_range: int = 0,
    null: int | None = None,
) -> int:
    """The status of a call for a frame of 8 x 4 but for what is given, during which `rgb` must stay as it is.

    `null` is the number of the plane whose pointer is NULL, -1 for that of `rgb`.
    """
    memory = ctypes.create_string_buffer(8 * 4 * 4)
    rgb = np.full(32 * 32 * 3, SENTINEL, np.uint8)
    size = [ctypes.c_int32(width), ctypes.c_int32(height)]
    planes: list[list[object]] = []
    for plane, stride in enumerate(STRIDES[name]):
        pointer = None if null == plane else ctypes.cast(memory, ctypes.c_void_p)
        planes.append([pointer, ctypes.c_ssize_t((strides or {}).get(plane, stride))])
    first = [value for pair in planes for value in pair] + size
    if len(planes) == 1:
        first = [planes[0][0], *size, planes[0][1]]
    last = [] if name in WITHOUT_RANGE else [ctypes.c_int(yuv_range)]
    out = None if null == -1 else ctypes.c_void_p(rgb.ctypes.data)
    status = getattr(library(32, 32), f"uva_frame_{name}")(*first, *last, out)
    assert (rgb == SENTINEL).all(), f"{name} wrote in spite of {status}"
    return int(status)


@pytest.mark.parametrize("name", FORMATS)
def test_null_is_refused(library: Library, name: str) -> None:
    for plane in range(-1, len(STRIDES[name])):
        assert status_of(library, name, null=plane) == NULL, plane
        # What is told first does not depend on what else is wrong.
        assert status_of(library, name, null=plane, width=0, strides={0: 0}, yuv_range=9) == NULL, plane


@pytest.mark.parametrize("name", FORMATS)
def test_impossible_sizes_are_refused(library: Library, name: str) -> None:
    for length in (0, -1, -(2**31), 32769, 2**31 - 1):
        assert status_of(library, name, width=length, strides={0: 0}, yuv_range=9) == SIZE, f"width {length}"
        assert status_of(library, name, height=length, strides={0: 0}, yuv_range=9) == SIZE, (
            f"height {length}"
        )


@pytest.mark.parametrize("name", FORMATS)
def test_short_strides_are_refused(library: Library, name: str) -> None:
    for plane, length in enumerate(STRIDES[name]):
        for stride in (0, 1, length - 1, -1, 1 - length):
            status = status_of(library, name, strides={plane: stride}, yuv_range=9)
            assert status == STRIDE, f"plane {plane}, stride {stride}"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in WITHOUT_RANGE])
def test_unknown_ranges_are_refused(library: Library, name: str) -> None:
    for value in (-1, 2, 256, 2**31 - 1, -(2**31)):
        assert status_of(library, name, yuv_range=value) == RANGE, value


def test_one_buffer_is_not_bottom_up(library: Library) -> None:
    for name in ("nv12", "i420"):
        for stride in (-8, -64, -(2 ** (8 * ctypes.sizeof(ctypes.c_ssize_t) - 1))):
            assert status_of(library, name, strides={0: stride}) == STRIDE, f"{name} {stride}"


def test_an_odd_width_needs_room_for_its_last_pair(library: Library) -> None:
    assert status_of(library, "nv12", width=7, strides={0: 7}) == STRIDE
    assert status_of(library, "nv12_planes", width=7, strides={1: 7}) == STRIDE
    assert status_of(library, "yuyv", width=7) == SIZE


def test_every_status_has_words(library: Library) -> None:
    strerror = library(32, 32).uva_strerror
    strerror.restype = ctypes.c_char_p
    words = [strerror(status).decode() for status in range(-7, 1)]
    assert len(set(words)) == 8
    assert "unknown status" not in words
    for other in (1, -8, 2**31 - 1, -(2**31)):
        assert strerror(other) == b"unknown status"
