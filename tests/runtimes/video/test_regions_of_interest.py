"""Rectangles say what the offsets said, are few, and lie in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.runtimes.video.regions_of_interest import (
    BLOCK,
    LIMIT,
    MAX_REGIONS,
    RegionOfInterest,
    cell_density,
    cells_of,
    qp_offsets,
    regions_of,
)

sizes = st.tuples(st.integers(2, 4096), st.integers(2, 2304))


def painted(regions: tuple[RegionOfInterest, ...], size: tuple[int, int]) -> NDArray[np.int_]:
    """The offset of each pixel: the earlier of two regions is on top."""
    canvas = np.zeros((size[1], size[0]), int)
    for region in reversed(regions):
        canvas[region.y : region.y + region.height, region.x : region.x + region.width] = region.qp
    return canvas


@settings(deadline=None, max_examples=50)
@given(size=sizes, seed=st.integers(0, 99), spread=st.sampled_from([0.0, 0.6, 4.0, 12.0]))
def test_regions_say_what_the_offsets_said(size: tuple[int, int], seed: int, spread: float) -> None:
    rows, columns, side = cells_of(size)
    assert rows * side >= size[1]
    assert columns * side >= size[0]
    assert side % BLOCK == 0
    offsets = (spread * np.random.default_rng(seed).standard_normal((rows, columns))).astype(np.float32)
    regions = regions_of(offsets, size)
    assert len(regions) <= MAX_REGIONS
    for region in regions:
        assert 0 <= region.x < region.x + region.width <= size[0]
        assert 0 <= region.y < region.y + region.height <= size[1]
    top_left = painted(regions, size)[::side, ::side]
    steps = [step for step in range(1, 200) if (top_left == np.rint(offsets / step).astype(int) * step).all()]
    assert steps, "no rounding gives these regions"


def test_few_levels_are_kept_to_the_qp() -> None:
    offsets = np.zeros((12, 20), np.float32)
    offsets[4:8, 6:10] = -5.2
    offsets[0] = 2.6
    regions = regions_of(offsets, (320, 180))
    assert set(regions) == {
        RegionOfInterest(0, 0, 320, 16, 3),
        RegionOfInterest(96, 64, 64, 64, -5),
    }


def test_the_usual_level_is_one_rectangle_below_all_others() -> None:
    offsets = np.full((12, 20), 2, np.float32)
    offsets[3, 3] = -4
    assert regions_of(offsets, (320, 180)) == (
        RegionOfInterest(48, 48, 16, 16, -4),
        RegionOfInterest(0, 0, 320, 180, 2),
    )


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 99),
    strength=st.floats(0, 10),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_offsets_fall_where_people_look_whatever_the_scale(seed: int, strength: float, scale: float) -> None:
    density = np.random.default_rng(seed).random((9, 16), np.float32)
    offsets = qp_offsets(density * np.float32(scale), strength=strength)
    assert np.abs(offsets).max() <= LIMIT
    order = np.argsort(density, axis=None)
    assert (np.diff(offsets.ravel()[order]) <= 1e-4).all()
    np.testing.assert_allclose(offsets, qp_offsets(density, strength=strength), atol=1e-3)


def test_a_doubled_weight_is_worth_the_strength() -> None:
    density = np.array([[1, 2, 4, 8]], np.float32)
    np.testing.assert_allclose(np.diff(qp_offsets(density, strength=2, floor=0)), [[-2, -2, -2]], atol=1e-5)
    assert abs(qp_offsets(density, strength=2, floor=0).mean()) < 1e-5


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_map_without_contrast_moves_nothing(value: float) -> None:
    offsets = qp_offsets(np.full((9, 16), value, np.float32), strength=3)
    assert regions_of(offsets, (256, 144)) == ()


@settings(deadline=None, max_examples=50)
@given(size=sizes, side=st.integers(1, 70), seed=st.integers(0, 20))
def test_cells_keep_the_mean_of_the_map(size: tuple[int, int], side: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((side, side), np.float32)
    cells = cell_density(values, size)
    rows, columns, step = cells_of(size)
    assert cells.shape == (rows, columns)
    assert cells.min() >= values.min() - 1e-5
    assert cells.max() <= values.max() + 1e-5
    heights = np.minimum(step, size[1] - np.arange(rows) * step)
    widths = np.minimum(step, size[0] - np.arange(columns) * step)
    area = np.outer(heights, widths)
    assert (cells * area).sum() / area.sum() == pytest.approx(values.mean(), rel=1e-4)
