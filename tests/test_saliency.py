"""Saliency: what it keeps, where it finds peaks and regions, and what its overlay does to a picture."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from uva_edge.errors import FrameError, OptionError
from uva_edge.saliency import OverlayColor, Peak, Region, Saliency

FULL_HD = (1920, 1080)


def blobs(side: int, *places: tuple[float, float, float], spread: float = 1.5) -> NDArray[np.float32]:
    """Gaussian blobs of (row, column, height), in cells."""
    rows, columns = np.mgrid[:side, :side]
    total = np.zeros((side, side))
    for row, column, height in places:
        squared = (rows - row) ** 2 + (columns - column) ** 2
        total = np.maximum(total, height * np.exp(-squared / (2 * spread**2)))
    return total.astype(np.float32)


def cells(side: int, *places: tuple[int, int, float]) -> NDArray[np.float32]:
    values = np.zeros((side, side), np.float32)
    for row, column, value in places:
        values[row, column] = value
    return values


def centre_of(row: float, column: float, side: int, size: tuple[int, int]) -> tuple[float, float]:
    return (column + 0.5) * size[0] / side - 0.5, (row + 0.5) * size[1] / side - 0.5


def photo(width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 3 + columns, rows + columns * 2 + 40, rows * columns // 7]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)


# Few levels make plateaus, terraces and ties; the rest are ordinary maps.
any_map = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda shape: hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 1]))
    ),
    hnp.arrays(np.float32, (8, 8), elements=st.floats(0, 1, width=32)),
)
any_size = st.tuples(st.integers(1, 50), st.integers(1, 50))


# --- the map itself -------------------------------------------------------------------------------------


def test_it_keeps_a_read_only_copy() -> None:
    values = blobs(8, (2, 3, 1))
    before = values.copy()
    saliency = Saliency(values, FULL_HD)
    np.testing.assert_array_equal(saliency.map, before)
    assert saliency.map.dtype == np.float32
    assert values.flags.writeable
    values[:] = 0
    np.testing.assert_array_equal(saliency.map, before)
    with pytest.raises(ValueError, match="read-only"):
        saliency.map[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        saliency.size = (1, 1)  # type: ignore[misc]


def test_it_is_equal_to_itself_only_and_has_a_short_repr() -> None:
    values = blobs(8, (2, 3, 1))
    saliency = Saliency(values, FULL_HD)
    assert saliency == saliency
    assert saliency != Saliency(values, FULL_HD)
    assert len({saliency, Saliency(values, FULL_HD)}) == 2
    assert repr(saliency) == "Saliency(size=(1920, 1080))"


def test_read_only_and_strided_maps_are_welcome() -> None:
    clip = np.stack([blobs(8, (2, 3, 1)), blobs(8, (6, 1, 1))], axis=-1)
    clip.flags.writeable = False
    saliency = Saliency(clip[:, :, 1], (80, 80))
    np.testing.assert_array_equal(saliency.map, clip[:, :, 1])
    assert saliency.resized().shape == (80, 80)
    assert len(saliency.peaks()) == len(saliency.regions()) == 1


def test_values_a_hair_outside_are_clipped() -> None:
    saliency = Saliency(np.array([[-0.01, 0.5], [1.02, 1]], np.float32), (4, 4))
    np.testing.assert_array_equal(saliency.map, np.array([[0, 0.5], [1, 1]], np.float32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.0]], "got list"),
        (np.zeros((4, 4)), "float64.*astype"),
        (np.zeros((4, 4), np.uint8), "uint8"),
        (np.zeros(4, np.float32), r"\(4,\)"),
        (np.zeros((1, 4, 4), np.float32), r"\(1, 4, 4\)"),
        (np.zeros((0, 0), np.float32), r"\(0, 0\)"),
        (np.array([[0, math.nan], [0, 1]], np.float32), "NaN"),
        (np.array([[0, math.inf], [0, 1]], np.float32), "infinity"),
        (np.array([[0, 255], [0, 1]], np.float32), "from 0 to 255"),
        (np.array([[-1, 1], [0, 1]], np.float32), "from -1 to 1"),
    ],
)
def test_what_is_no_map_is_refused(values: Any, message: str) -> None:
    with pytest.raises(OptionError, match=f"map must be a float32.*{message}"):
        Saliency(values, (4, 4))


@pytest.mark.parametrize("size", [(0, 4), (4, 65536), (4, 4, 3), 4, "ab", None, (4.0, 4)], ids=str)
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match=r"size must be \(width, height\)"):
        Saliency(np.zeros((2, 2), np.float32), size)


def test_sizes_of_numpy_integers_become_plain() -> None:
    saliency = Saliency(blobs(4, (1, 1, 1)), tuple(np.array([7, 5])))
    assert saliency.size == (7, 5)
    assert [type(side) for side in saliency.size] == [int, int]


# --- resized --------------------------------------------------------------------------------------------


def test_resized_aligns_pixel_centres() -> None:
    saliency = Saliency(np.array([[0, 1], [0, 1]], np.float32), (4, 2))
    np.testing.assert_allclose(saliency.resized(), [[0, 0.25, 0.75, 1]] * 2)
    assert saliency.resized((3, 5)).shape == (5, 3)
    assert saliency.resized().dtype == np.float32


def test_resized_gives_a_new_array_each_time() -> None:
    saliency = Saliency(np.array([[0, 1], [0, 1]], np.float32), (2, 2))
    saliency.resized()[:] = 7
    np.testing.assert_array_equal(saliency.resized(), saliency.map)


@settings(max_examples=60)
@given(any_map, any_size)
def test_resized_stays_between_the_values_of_the_map(
    values: NDArray[np.float32], size: tuple[int, int]
) -> None:
    resized = Saliency(values, size).resized()
    assert resized.shape == size[::-1]
    assert values.min() <= resized.min()
    assert resized.max() <= values.max()


@pytest.mark.parametrize("size", [(0, 1), (60000, 60000), (2.5, 2)], ids=str)
def test_resized_refuses_bad_sizes(size: Any) -> None:
    with pytest.raises(OptionError, match="size must"):
        Saliency(blobs(4, (1, 1, 1)), (8, 8)).resized(size)


# --- peaks ----------------------------------------------------------------------------------------------


def test_peaks_come_strongest_first_in_pixels_of_the_frame() -> None:
    saliency = Saliency(blobs(32, (8, 20, 0.6), (25, 5, 1.0), (20, 28, 0.3)), FULL_HD)
    expected = [(25, 5, 1.0), (8, 20, 0.6), (20, 28, 0.3)]
    peaks = saliency.peaks()
    assert len(peaks) == len(expected)
    for peak, (row, column, value) in zip(peaks, expected, strict=True):
        assert (peak.x, peak.y) == pytest.approx(centre_of(row, column, 32, FULL_HD), abs=0.5)
        assert peak.value == pytest.approx(value, abs=1e-4)
    assert saliency.peaks(2) == peaks[:2]
    assert saliency.peaks(0) == ()


def test_a_cell_is_found_at_its_centre() -> None:
    saliency = Saliency(cells(4, (0, 0, 1), (3, 3, 0.5)), (400, 80))
    assert saliency.peaks() == (Peak(49.5, 9.5, 1.0), Peak(349.5, 69.5, 0.5))


def test_peaks_are_found_below_one_cell() -> None:
    for row, column in ((10.3, 21.8), (15.5, 7.25), (5.0, 25.49)):
        (peak,) = Saliency(blobs(32, (row, column, 1), spread=2), (3200, 1600)).peaks()
        x, y = centre_of(row, column, 32, (3200, 1600))
        assert abs(peak.x - x) < 5, f"{(row, column)}: a twentieth of a cell of 100 pixels"
        assert abs(peak.y - y) < 2.5, f"{(row, column)}: a twentieth of a cell of 50 pixels"


def test_near_peaks_are_suppressed_by_the_stronger() -> None:
    saliency = Saliency(cells(20, (5, 5, 1.0), (5, 7, 0.9), (5, 9, 0.8)), (200, 200))
    values = [round(peak.value, 1) for peak in saliency.peaks(min_distance=0.1)]
    assert values == [1.0, 0.9, 0.8]
    values = [round(peak.value, 1) for peak in saliency.peaks(min_distance=0.15)]
    assert values == [1.0, 0.8], "what is suppressed suppresses nothing"
    assert len(saliency.peaks(min_distance=1)) == 1


def test_weak_peaks_are_left_out_relative_to_the_maximum() -> None:
    saliency = Saliency(cells(20, (5, 5, 0.5), (15, 15, 0.1), (5, 15, 0.04)), (200, 200))
    assert len(saliency.peaks()) == 2
    assert len(saliency.peaks(min_value=0)) == 3
    assert len(saliency.peaks(min_value=1)) == 1


def test_equal_peaks_are_ordered_by_row_then_column() -> None:
    saliency = Saliency(cells(20, (15, 3, 1), (2, 12, 1), (2, 3, 1)), (20, 20))
    assert [(peak.y, peak.x) for peak in saliency.peaks()] == [(2, 3), (2, 12), (15, 3)]


def test_a_plateau_is_one_peak_at_its_middle() -> None:
    values = np.zeros((16, 16), np.float32)
    values[3:14, 2:15] = 1
    (peak,) = Saliency(values, (16, 16)).peaks(10, min_distance=0)
    assert (peak.x, peak.y) == (8, 8)
    pair = cells(16, (4, 6, 1), (4, 7, 1))
    (peak,) = Saliency(pair, (16, 16)).peaks(10, min_distance=0)
    assert (peak.x, peak.y) == (6.5, 4), "a plateau of two cells peaks between them"


def test_a_terrace_on_a_slope_is_no_peak() -> None:
    steps = np.repeat(np.array([0, 0.25, 0.5, 1], np.float32), 4)
    values = np.minimum(steps[None, :], steps[:, None])
    (peak,) = Saliency(values, (16, 16)).peaks(10, min_distance=0)
    assert peak.value == 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("side", [1, 2, 64])
def test_a_map_without_contrast_has_no_peaks_and_no_regions(side: int, value: float) -> None:
    saliency = Saliency(np.full((side, side), value, np.float32), FULL_HD)
    assert saliency.peaks(min_value=0) == ()
    assert saliency.regions() == ()
    np.testing.assert_array_equal(saliency.resized((7, 5)), np.full((5, 7), np.float32(value)))


def brute_maxima(values: NDArray[np.float32]) -> list[float]:
    """Values of all regional maxima, by flooding each plateau."""
    (high, wide), seen, found = values.shape, set[tuple[int, ...]](), []
    for start in np.ndindex(values.shape):
        if start in seen:
            continue
        plateau, todo, is_top = {tuple(start)}, [tuple(start)], True
        while todo:
            row, column = todo.pop()
            for r in range(max(0, row - 1), min(high, row + 2)):
                for c in range(max(0, column - 1), min(wide, column + 2)):
                    is_top &= bool(values[r, c] <= values[start])
                    if values[r, c] == values[start] and (r, c) not in plateau:
                        plateau.add((r, c))
                        todo.append((r, c))
        seen |= plateau
        if is_top and len(plateau) < values.size:
            found.append(float(values[start]))
    return sorted(found, reverse=True)


@given(any_map, any_size)
def test_peaks_are_all_regional_maxima_inside_the_frame(
    values: NDArray[np.float32], size: tuple[int, int]
) -> None:
    peaks = Saliency(values, size).peaks(values.size, min_distance=0, min_value=0)
    assert [peak.value for peak in peaks] == brute_maxima(values)
    for peak in peaks:
        assert 0 <= peak.x <= size[0] - 1
        assert 0 <= peak.y <= size[1] - 1


@given(any_map)
def test_mirroring_the_map_mirrors_a_single_peak(values: NDArray[np.float32]) -> None:
    strongest = values == values.max()
    assume(strongest.sum() == 1 and values.size > 1)
    (peak,) = Saliency(values, (90, 90)).peaks(1)
    (mirrored,) = Saliency(np.ascontiguousarray(values[:, ::-1]), (90, 90)).peaks(1)
    assert mirrored.x == pytest.approx(89 - peak.x)
    assert mirrored.y == pytest.approx(peak.y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("count", value) for value in (-1, 1.5, True, None)),
        *((name, value) for name in ("min_distance", "min_value") for value in (-0.1, 1.1, math.nan, "1")),
    ],
)
def test_bad_options_of_peaks_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be"):
        Saliency(blobs(8, (2, 3, 1)), (8, 8)).peaks(**{name: value})


def test_a_map_that_is_no_square() -> None:
    """24 rows of 10 pixels, 32 columns of 20: places, distances and boxes go by each axis."""
    values = np.zeros((24, 32), np.float32)
    values[3, 30], values[9, 30], values[3, 22] = 1, 0.75, 0.5
    saliency = Saliency(values, (640, 240))
    assert saliency.peaks(min_distance=0.25) == (
        Peak(609.5, 34.5, 1),
        Peak(609.5, 94.5, 0.75),
        Peak(449.5, 34.5, 0.5),
    )
    assert len(saliency.peaks(min_distance=0.26)) == 1, "6 of 24 rows are as far as 8 of 32 columns"
    strongest = saliency.regions()[0]
    assert (strongest.x, strongest.y, strongest.width, strongest.height) == (600, 30, 20, 10)
    frame = np.zeros((240, 640, 3), np.uint8)
    lit = saliency.overlay(frame).sum(axis=2)
    assert np.unravel_index(lit.argmax(), lit.shape) == pytest.approx((34.5, 609.5), abs=10)
    assert saliency.resized().shape == (240, 640)


# --- regions --------------------------------------------------------------------------------------------


def test_regions_are_boxes_in_pixels_of_the_frame() -> None:
    values = np.zeros((8, 8), np.float32)
    values[1:3, 4:7] = 0.6
    values[6, 0] = 1
    values[4, 4] = 0.4  # below the threshold, but part of the map's mass
    weak, strong = Saliency(values, (80, 160)).regions()[::-1]
    assert strong == Region(0, 120, 10, 20, Peak(4.5, 129.5, 1.0), strong.share)
    assert strong.share == pytest.approx(1 / 5)
    assert (weak.x, weak.y, weak.width, weak.height) == (40, 20, 30, 40)
    assert weak.share == pytest.approx(3.6 / 5)
    assert weak.peak.value == pytest.approx(0.6)


def test_a_region_touches_every_pixel_that_its_cells_touch() -> None:
    (region,) = Saliency(cells(4, (1, 2, 1)), (10, 7)).regions()
    # Columns 5.0 to 7.5, rows 1.75 to 3.5.
    assert (region.x, region.y, region.width, region.height) == (5, 1, 3, 3)


def test_corners_connect_and_the_peak_is_the_strongest() -> None:
    saliency = Saliency(cells(8, (1, 1, 0.7), (2, 2, 0.9), (3, 3, 0.7), (6, 6, 0.8)), (8, 8))
    first, second = saliency.regions()
    assert (first.x, first.y, first.width, first.height) == (1, 1, 3, 3)
    assert (first.peak.x, first.peak.y, second.peak.x) == (2, 2, 6)


def test_threshold_and_area_choose_the_regions() -> None:
    saliency = Saliency(cells(10, (1, 1, 0.5), (1, 2, 0.5), (7, 7, 0.2)), (10, 10))
    assert len(saliency.regions()) == 1
    assert len(saliency.regions(threshold=0.3)) == 2, "0.3 of a maximum of 0.5"
    assert len(saliency.regions(threshold=0.3, min_area=0.02)) == 1
    assert saliency.regions(min_area=0.021) == ()


def test_equal_peaks_rank_by_share() -> None:
    saliency = Saliency(cells(10, (1, 1, 1), (7, 7, 1), (7, 8, 0.9)), (10, 10))
    assert [region.x for region in saliency.regions()] == [7, 1]


@given(any_map, any_size, st.floats(0.01, 1))
def test_regions_lie_in_the_frame_and_share_the_mass(
    values: NDArray[np.float32], size: tuple[int, int], threshold: float
) -> None:
    saliency = Saliency(values, size)
    regions = saliency.regions(threshold=threshold)
    assert bool(regions) == (values.min() < values.max())
    mass = float(values[values >= np.float32(threshold * values.max())].sum(dtype=np.float64))
    if regions:
        assert sum(region.share for region in regions) == pytest.approx(mass / values.sum(dtype=np.float64))
        assert regions[0].peak.value == values.max()
    for region in regions:
        assert 0 <= region.x < region.x + region.width <= size[0]
        assert 0 <= region.y < region.y + region.height <= size[1]
        assert region.x - 0.5 <= region.peak.x <= region.x + region.width - 0.5
        assert region.y - 0.5 <= region.peak.y <= region.y + region.height - 0.5
        assert region.peak in saliency.peaks(values.size, min_distance=0, min_value=0)


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 0), ("threshold", 1.5), ("min_area", -1), ("min_area", math.nan)]
)
def test_bad_options_of_regions_are_refused(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{name} must be"):
        Saliency(blobs(8, (2, 3, 1)), (8, 8)).regions(**{name: value})


# --- overlay --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", get_args(OverlayColor))
def test_overlay_changes_the_salient_place_and_nothing_else(color: OverlayColor) -> None:
    frame = photo(160, 96)
    picture = frame[:, :, 0] if color == "gray" else frame
    plain = np.repeat(picture[:, :, None], 3, axis=2) if color == "gray" else frame
    before = picture.copy()
    shown = Saliency(blobs(32, (8, 24, 1)), (160, 96)).overlay(picture, color=color)
    assert shown.shape == (96, 160, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(shown[:, :80], plain[:, :80])
    np.testing.assert_array_equal(shown[60:], plain[60:])
    assert np.abs(shown[20:30, 118:126].astype(int) - plain[20:30, 118:126]).mean() > 20


def test_heat_is_warm_in_the_channels_of_the_frame() -> None:
    saliency = Saliency(blobs(32, (16, 16, 1), spread=4), (64, 64))
    black = np.zeros((64, 64, 3), np.uint8)
    bgr, rgb = saliency.overlay(black), saliency.overlay(black, color="rgb")
    np.testing.assert_array_equal(bgr, rgb[:, :, ::-1])
    flank = bgr[33, 39].astype(int)
    assert flank[2] > flank[1], "red above green"
    assert flank[2] > 2 * flank[0], "red above blue"


def test_opacity_grows_with_saliency_up_to_alpha() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    saliency = Saliency(ramp, (64, 64))
    white = np.full((64, 64, 3), 255, np.uint8)
    for alpha in (0.25, 0.5, 1.0):
        light, dark = (saliency.overlay(frame, alpha=alpha)[32] for frame in (white, np.zeros_like(white)))
        transparency = (light.astype(int) - dark).max(axis=1) / 255
        assert (np.diff(transparency) <= 0).all(), f"alpha {alpha}"
        assert transparency[0] == pytest.approx(1, abs=0.03), f"alpha {alpha}"
        assert transparency[-1] == pytest.approx(1 - alpha, abs=0.01), f"alpha {alpha}"
        assert transparency[16] < 1 - 0.4 * alpha, f"alpha {alpha}: a quarter of the peak is seen clearly"


def test_nothing_salient_or_no_opacity_leaves_the_picture() -> None:
    frame = photo(50, 40)
    np.testing.assert_array_equal(Saliency(np.zeros((8, 8), np.float32), (50, 40)).overlay(frame), frame)
    saliency = Saliency(blobs(8, (3, 3, 1)), (50, 40))
    shown = saliency.overlay(frame, alpha=0)
    np.testing.assert_array_equal(shown, frame)
    assert not np.shares_memory(shown, frame)


def test_overlay_fits_frames_of_any_size() -> None:
    saliency = Saliency(blobs(32, (8, 24, 1)), FULL_HD)
    for width, height in ((1, 1), (3, 200), (160, 90), (1921, 1079)):
        frame = np.full((height, width, 3), 90, np.uint8)
        shown = saliency.overlay(frame, peaks=1)
        assert shown.shape == frame.shape
        assert (shown != frame).any() or width == 1, f"{width}x{height}"


def test_overlay_takes_read_only_and_strided_frames() -> None:
    saliency = Saliency(blobs(32, (8, 24, 1)), (60, 40))
    wide = photo(120, 40)
    wide.flags.writeable = False
    for name, view in (
        ("every second column", wide[:, ::2]),
        ("mirrored", wide[:, 60::-1]),
        ("channels reversed", wide[..., ::-1]),
        ("crop", wide[5:30, 7:50]),
    ):
        expected = saliency.overlay(np.ascontiguousarray(view))
        np.testing.assert_array_equal(saliency.overlay(view), expected, err_msg=name)


def test_rings_mark_the_peaks_in_the_frame_that_is_shown() -> None:
    saliency = Saliency(blobs(32, (8, 24, 1), (24, 8, 0.5)), FULL_HD)
    thumbnail = photo(320, 180)
    plain = saliency.overlay(thumbnail)
    for count, places in ((1, [(8, 24)]), (2, [(8, 24), (24, 8)])):
        changed = np.argwhere((saliency.overlay(thumbnail, peaks=count) != plain).any(axis=2))
        distances = [
            np.hypot(*(changed - centre_of(row, column, 32, (320, 180))[::-1]).T) for row, column in places
        ]
        assert len(changed) > 20 * count
        assert np.min(distances, axis=0).max() < 13
        assert np.min(distances, axis=0).min() > 3, "the peak itself stays visible"


@pytest.mark.parametrize(
    ("frame", "color"),
    [
        (None, "bgr"),
        (photo(8, 8).astype(np.float32), "bgr"),
        (photo(8, 8)[:, :, 0], "bgr"),
        (photo(8, 8)[:, :, :2], "rgb"),
        (np.zeros((8, 8, 4), np.uint8), "rgb"),
        (photo(8, 8), "gray"),
        (np.zeros((0, 8, 3), np.uint8), "bgr"),
    ],
)
def test_wrong_frames_are_refused(frame: Any, color: OverlayColor) -> None:
    with pytest.raises(FrameError, match=f"a {color} frame"):
        Saliency(blobs(8, (3, 3, 1)), (8, 8)).overlay(frame, color=color)


@pytest.mark.parametrize(
    ("name", "value"), [("color", "nv12"), ("alpha", 1.2), ("alpha", None), ("peaks", -1)]
)
def test_bad_options_of_overlay_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be"):
        Saliency(blobs(8, (3, 3, 1)), (8, 8)).overlay(photo(8, 8), **{name: value})


# --- for machines ---------------------------------------------------------------------------------------


def test_as_dict_is_json_of_peaks_and_regions() -> None:
    saliency = Saliency(blobs(32, (8, 20, 0.6), (25, 5, 1.0)), FULL_HD)
    read = json.loads(json.dumps(saliency.as_dict()))
    assert read["size"] == [1920, 1080]
    assert [Peak(**peak) for peak in read["peaks"]] == list(saliency.peaks())
    regions = [Region(**{**region, "peak": Peak(**region["peak"])}) for region in read["regions"]]
    assert regions == list(saliency.regions())
    assert len(regions) == 2
    assert len(saliency.as_dict(peaks=1)["peaks"]) == 1
    assert len(saliency.as_dict(threshold=0.9)["regions"]) == 1
