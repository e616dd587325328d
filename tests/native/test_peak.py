"""The peak in C against the first of `Saliency.peaks`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from uva_edge import Saliency

F32 = NDArray[np.float32]
Library = Callable[[int, int], ctypes.CDLL]
FLOAT: Final = 2.0**-24  # what rounding to a float may lose of a number

SIZES: Final = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
SMALL_GRIDS: Final = st.sampled_from(((5, 7), (32, 32), (1, 9), (6, 1)))


def peak_in_c(library: Library, values: F32, size: tuple[int, int]) -> tuple[float, float, float]:
    x, y, value = (ctypes.c_float(-1) for _ in range(3))
    values = np.ascontiguousarray(values)
    where = ctypes.c_void_p(values.ctypes.data)
    found = (ctypes.byref(x), ctypes.byref(y), ctypes.byref(value))
    assert library(*values.shape).uva_peak(where, *map(ctypes.c_int32, size), *found) == 0
    return x.value, y.value, value.value


def check(library: Library, values: F32, size: tuple[int, int]) -> None:
    x, y, value = peak_in_c(library, values, size)
    peaks = Saliency(values, size).peaks(1)
    if not peaks:
        assert (x, y, value) == ((size[0] - 1) / 2, (size[1] - 1) / 2, 0)
        return
    assert value == peaks[0].value
    # Python computes in double, C in float: a handful of roundings of numbers up to the side.
    assert x == pytest.approx(peaks[0].x, abs=8 * FLOAT * size[0]), f"{peaks[0]} of {size}"
    assert y == pytest.approx(peaks[0].y, abs=8 * FLOAT * size[1]), f"{peaks[0]} of {size}"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), grid=SMALL_GRIDS, size=SIZES)
def test_any_map(library: Library, seed: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    values = np.random.default_rng(seed).random(grid, dtype=np.float32)
    check(library, values / values.max(), size)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), grid=SMALL_GRIDS, size=SIZES)
def test_few_levels_make_plateaus(
    library: Library, data: st.DataObject, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    """As INT8 makes them, and of every shape: rings, bays, several of the same height."""
    levels = st.sampled_from((0.0, 0.25, 0.9375, 1.0))
    check(library, data.draw(arrays(np.float32, grid, elements=levels, fill=st.nothing())), size)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.02, 0.98))
def test_dense_plateaus(library: Library, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    check(library, (rng.random((32, 32)) < density).astype(np.float32), (1920, 1080))


def spiral(side: int) -> F32:
    """One path of cells a cell apart, from a corner to the centre: the plateau that takes the most sweeps."""
    values = np.zeros((side, side), np.float32)
    row, column, step = 0, -1, (0, 1)
    lengths = [side, *(length for part in range(side - 1, 0, -2) for length in (part, part))]
    for length in lengths:
        for _ in range(length):
            row, column = row + step[0], column + step[1]
            values[row, column] = 1
        step = (step[1], -step[0])
    return values


@pytest.mark.parametrize("side", [32, 256])
def test_a_spiral_is_one_plateau(library: Library, side: int) -> None:
    values = spiral(side)
    assert 0.4 < values.mean() < 0.6
    check(library, values, (640, 480))


def test_values_out_of_range_are_clipped(library: Library) -> None:
    values = np.full((32, 32), -0.04, np.float32)
    values[3, 4:7] = 1.04, 1.01, 1.02  # equal once clipped: the middle one is the peak
    check(library, values, (320, 240))
    values[20, 20] = np.nan
    assert peak_in_c(library, values, (320, 240))[2] == 1


def test_a_map_without_contrast_has_no_peak(library: Library) -> None:
    for level in (0.0, 0.5, 1.0):
        check(library, np.full((32, 32), level, np.float32), (321, 240))
    check(library, np.ones((1, 1), np.float32), (3, 2))
    assert peak_in_c(library, np.full((32, 32), np.nan, np.float32), (3, 2)) == (1.0, 0.5, 0.0)


def test_refusals(library: Library) -> None:
    values = np.zeros((32, 32), np.float32)
    where = ctypes.c_void_p(values.ctypes.data)
    outs = [ctypes.c_float(-1) for _ in range(3)]
    found = [ctypes.byref(out) for out in outs]
    peak = library(32, 32).uva_peak
    assert peak(None, 8, 8, *found) == -1
    for place in range(3):
        assert peak(where, 8, 8, *(None if i == place else found[i] for i in range(3))) == -1
    for length in (0, -1, 32769, 2**31 - 1, -(2**31)):
        assert peak(where, length, 8, *found) == -2
        assert peak(where, 8, length, *found) == -2
    assert [out.value for out in outs] == [-1, -1, -1]
