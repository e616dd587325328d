"""Scores by hand, by brute force, and by what must not change them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from uva_edge import metrics
from uva_edge.errors import OptionError

QUARTERS = np.array([[0.0, 1.0], [2.0, 3.0]])
FIXATED_SCORES: dict[str, Any] = {"nss": metrics.nss, "auc_judd": metrics.auc_judd}
DENSITY_SCORES: dict[str, Any] = {"cc": metrics.cc, "sim": metrics.sim, "kld": metrics.kld}


def pixels(*points: tuple[int, int]) -> NDArray[np.int64]:
    return np.array(points, np.int64).reshape(-1, 2)


def brute_auc(positives: list[float], negatives: list[float]) -> float:
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives)) if negatives else 0.5


@st.composite
def scored_maps(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """A small map of few levels, so with many ties, and two sets of fixations with repeats."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    values = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 7.0])))
    point = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))
    fixations, others = (draw(st.lists(point, min_size=1, max_size=12)) for _ in range(2))
    return values, pixels(*fixations), pixels(*others)


distributions = hnp.arrays(
    np.float64, (4, 5), elements=st.floats(0, 1000, allow_subnormal=False).map(lambda v: round(v, 3))
).filter(lambda a: a.max() > 0)


# --- by hand --------------------------------------------------------------------------------------------


def test_auc_judd_by_hand() -> None:
    assert metrics.auc_judd(QUARTERS, pixels((1, 1))) == 1
    assert metrics.auc_judd(QUARTERS, pixels((0, 0))) == 0
    assert metrics.auc_judd(QUARTERS, pixels((1, 0))) == pytest.approx(2 / 3)
    # The pixel (0, 1) is fixated twice and (1, 1) once, against the pixels 0 and 2.
    assert metrics.auc_judd(QUARTERS, pixels((0, 1), (0, 1), (1, 1))) == pytest.approx((1 + 1 + 2) / 6)


def test_auc_judd_takes_rows_before_columns() -> None:
    saliency_map = np.zeros((2, 5))
    saliency_map[1, 4] = 1
    assert metrics.auc_judd(saliency_map, pixels((1, 4))) == 1


def test_auc_shuffled_by_hand() -> None:
    others = pixels((0, 0), (1, 1), (1, 1), (0, 1))
    assert metrics.auc_shuffled(QUARTERS, pixels((0, 1)), others) == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert metrics.auc_shuffled(QUARTERS, pixels((1, 1)), pixels((0, 0))) == 1


def test_auc_shuffled_does_not_reward_the_centre_bias() -> None:
    rng = np.random.default_rng(5)
    places = np.clip(rng.normal(0.5, 0.15, (400, 2)), 0, 1)
    bias = metrics.fixation_density(places, (64, 48), 0.1)
    pixels_of_all = metrics.fixation_pixels(places, (64, 48))
    mine, others = pixels_of_all[:200], pixels_of_all[200:]
    assert metrics.auc_judd(bias, mine) > 0.8
    assert metrics.auc_shuffled(bias, mine, others) == pytest.approx(0.5, abs=0.06)


def test_nss_by_hand() -> None:
    deviation = math.sqrt(1.25)
    assert metrics.nss(QUARTERS, pixels((1, 1))) == pytest.approx(1.5 / deviation)
    assert metrics.nss(QUARTERS, pixels((1, 1), (1, 1), (0, 0))) == pytest.approx(0.5 / deviation)


def test_density_scores_by_hand() -> None:
    predicted, truth = np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[2.0, 2.0], [0.0, 4.0]])
    assert metrics.sim(predicted, truth) == pytest.approx(0.25 + 0.25)
    assert metrics.cc(predicted, truth) == pytest.approx(-4 / math.sqrt(2 * 8))
    eps = 2.0**-52
    expected = 2 * 0.25 * math.log(eps + 0.25 / (0.25 + eps)) + 0.5 * math.log(eps + 0.5 / eps)
    assert metrics.kld(predicted, truth) == pytest.approx(expected)


def test_kld_is_from_the_density_to_the_map() -> None:
    wide, narrow = np.ones((2, 2)), np.array([[1.0, 1.0], [0.0, 0.0]])
    assert metrics.kld(wide, narrow) == pytest.approx(math.log(2))
    assert metrics.kld(narrow, wide) > 10


# --- by brute force -------------------------------------------------------------------------------------


@given(scored_maps())
def test_auc_judd_counts_all_pairs(case: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]) -> None:
    values, fixations, _ = case
    fixated = {tuple(point) for point in fixations.tolist()}
    negatives = [float(value) for place, value in np.ndenumerate(values) if place not in fixated]
    positives = [float(values[tuple(point)]) for point in fixations]
    assert metrics.auc_judd(values, fixations) == pytest.approx(brute_auc(positives, negatives))


@given(scored_maps())
def test_auc_shuffled_counts_all_pairs(
    case: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    values, fixations, others = case
    lists = [[float(values[tuple(point)]) for point in points] for points in (fixations, others)]
    assert metrics.auc_shuffled(values, fixations, others) == pytest.approx(brute_auc(lists[0], lists[1]))


@given(distributions, distributions)
def test_cc_agrees_with_numpy(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    a[0, :2], b[0, :2] = (0, 1000), (500, 0)
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert metrics.cc(a, b) == pytest.approx(expected, abs=1e-9)


# --- invariances ----------------------------------------------------------------------------------------


@given(scored_maps())
def test_auc_needs_only_the_order_of_values(
    case: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    values, fixations, others = case
    steeper = np.exp(values.astype(np.float64)) - 3
    assert metrics.auc_judd(steeper, fixations) == metrics.auc_judd(values, fixations)
    assert metrics.auc_shuffled(steeper, fixations, others) == metrics.auc_shuffled(values, fixations, others)


@given(scored_maps())
def test_reversing_the_map_mirrors_auc(
    case: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    values, fixations, others = case
    assert metrics.auc_judd(-values, fixations) == pytest.approx(1 - metrics.auc_judd(values, fixations))
    mirrored = metrics.auc_shuffled(values, others, fixations)
    assert metrics.auc_shuffled(values, fixations, others) == pytest.approx(1 - mirrored)


@given(scored_maps(), st.floats(0.01, 1e6), st.floats(-1e3, 1e3))
def test_nss_and_cc_ignore_scale_and_offset(
    case: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]], scale: float, offset: float
) -> None:
    values, fixations, _ = case
    moved = values.astype(np.float64) * scale + offset
    density = metrics.fixation_density(np.array([[0.2, 0.7]]), (values.shape[1], values.shape[0]))
    assert metrics.nss(moved, fixations) == pytest.approx(metrics.nss(values, fixations), abs=1e-6)
    assert metrics.cc(moved, density) == pytest.approx(metrics.cc(values, density), abs=1e-6)
    assert metrics.cc(-moved, density) == pytest.approx(-metrics.cc(values, density), abs=1e-6)


@given(distributions, st.floats(0.01, 1e6))
def test_equal_maps_score_best_at_any_scale(density: NDArray[np.float64], scale: float) -> None:
    assert metrics.sim(scale * density, density) == pytest.approx(1)
    assert metrics.kld(scale * density, density) == pytest.approx(0, abs=1e-9)
    if density.min() < density.max():
        assert metrics.cc(scale * density, density) == pytest.approx(1)


@given(distributions, distributions)
def test_bounds_and_symmetry(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    assert 0 <= metrics.sim(a, b) <= 1 + 1e-12
    assert metrics.sim(a, b) == pytest.approx(metrics.sim(b, a))
    assert metrics.cc(a, b) == pytest.approx(metrics.cc(b, a))
    assert metrics.kld(a, b) >= 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32, np.float64])
def test_any_real_dtype_gives_the_same_scores(dtype: type) -> None:
    values = (np.random.default_rng(3).random((9, 7)) * 200).astype(np.uint8)
    fixations = pixels((0, 3), (8, 6), (4, 4))
    density = metrics.fixation_density(np.array([[0.5, 0.5]]), (7, 9), 0.2)
    for name, score in FIXATED_SCORES.items():
        expected = score(values.astype(np.float64), fixations)
        assert score(values.astype(dtype), fixations) == pytest.approx(expected), name
    for name, score in DENSITY_SCORES.items():
        expected = score(values.astype(np.float64), density)
        assert score(values.astype(dtype), density) == pytest.approx(expected), name


# --- degenerate maps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 4)])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e30])
def test_a_constant_map_scores_as_chance(shape: tuple[int, int], value: float) -> None:
    flat = np.full(shape, value)
    fixations = pixels((0, 0), (0, shape[1] - 1))
    density = metrics.fixation_density(np.array([[0.1, 0.9]]), shape[::-1])
    assert metrics.auc_judd(flat, fixations) == 0.5
    assert metrics.auc_shuffled(flat, fixations, fixations[:1]) == 0.5
    assert metrics.nss(flat, fixations) == 0
    assert metrics.cc(flat, density) == 0
    assert metrics.cc(density, flat) == 0
    if value >= 0:
        uniform = np.ones(shape)
        assert metrics.sim(flat, density) == pytest.approx(metrics.sim(uniform, density))
        assert metrics.kld(flat, density) == pytest.approx(metrics.kld(uniform, density), abs=1e-12)


def test_every_pixel_fixated_is_chance() -> None:
    assert metrics.auc_judd(QUARTERS, np.argwhere(QUARTERS >= 0)) == 0.5


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 3e307])
def test_extreme_scales_do_not_overflow(scale: float) -> None:
    fixations, truth = pixels((1, 1)), np.array([[1.0, 0.0], [2.0, 5.0]])
    assert metrics.nss(QUARTERS * scale, fixations) == pytest.approx(metrics.nss(QUARTERS, fixations))
    for name, score in DENSITY_SCORES.items():
        assert score(QUARTERS * scale, truth * scale) == pytest.approx(score(QUARTERS, truth)), name


# --- what is refused ------------------------------------------------------------------------------------

BAD_MAPS = {
    "nan": np.array([[0.0, math.nan]]),
    "infinity": np.array([[0.0, -math.inf]]),
    "three axes": np.zeros((2, 2, 1)),
    "empty": np.zeros((0, 3)),
    "complex": np.zeros((2, 2), complex),
    "objects": np.array([[None, 1]]),
    "a list": [[0.0, 1.0]],
}
BAD_FIXATIONS = {
    "none": (pixels(), "at least one row"),
    "floats": (np.array([[0.5, 0.5]]), "fixation_pixels"),
    "one axis": (np.array([0, 1]), r"\[N, 2\]"),
    "three columns": (np.zeros((4, 3), int), r"\(4, 3\)"),
    "a list": ([[0, 0]], "list"),
    "negative": (pixels((0, 0), (1, -1)), r"\(1, -1\) at index 1"),
    "row outside": (pixels((2, 0)), r"\(2, 0\) at index 0"),
    "column outside": (pixels((0, 3)), r"\(0, 3\) at index 0"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_a_map_that_is_none_is_refused(case: str) -> None:
    bad: Any = BAD_MAPS[case]
    point = pixels((0, 0))
    for score in (metrics.nss, metrics.auc_judd):
        with pytest.raises(OptionError, match="saliency_map must be"):
            score(bad, point)
    with pytest.raises(OptionError, match="saliency_map must be"):
        metrics.auc_shuffled(bad, point, point)
    with pytest.raises(OptionError, match="saliency_map must be"):
        metrics.resize_map(bad, (4, 4))
    for score in DENSITY_SCORES.values():
        with pytest.raises(OptionError, match="saliency_map must be"):
            score(bad, QUARTERS)
        with pytest.raises(OptionError, match="density must be"):
            score(QUARTERS, bad)


@pytest.mark.parametrize("case", BAD_FIXATIONS)
def test_bad_fixations_are_refused(case: str) -> None:
    bad: Any
    bad, message = BAD_FIXATIONS[case]
    values, good = np.zeros((2, 3)), pixels((0, 0))
    for score in (metrics.nss, metrics.auc_judd):
        with pytest.raises(OptionError, match=f"^fixations must.*{message}"):
            score(values, bad)
    with pytest.raises(OptionError, match=f"^fixations must.*{message}"):
        metrics.auc_shuffled(values, bad, good)
    with pytest.raises(OptionError, match=f"^other_fixations must.*{message}"):
        metrics.auc_shuffled(values, good, bad)


@pytest.mark.parametrize("score", DENSITY_SCORES.values(), ids=DENSITY_SCORES)
def test_unequal_shapes_are_refused(score: Any) -> None:
    with pytest.raises(OptionError, match=r"\(2, 2\) and \(2, 3\)"):
        score(QUARTERS, np.ones((2, 3)))


@pytest.mark.parametrize("score", [metrics.sim, metrics.kld])
def test_what_is_no_distribution_is_refused(score: Any) -> None:
    with pytest.raises(OptionError, match=r"saliency_map must not be negative.*-1"):
        score(QUARTERS - 1, QUARTERS)
    with pytest.raises(OptionError, match="density must not be negative"):
        score(QUARTERS, QUARTERS - 1)
    with pytest.raises(OptionError, match="density must have some mass"):
        score(QUARTERS, np.zeros((2, 2)))


# --- ground truth ---------------------------------------------------------------------------------------


def test_fixation_pixels_are_rows_and_columns_inside_the_picture() -> None:
    points = np.array([[0, 0], [0.5, 0.5], [0.999, 0.999], [1, 1], [-0.2, 9], [7, -1], [0.25, 0.75]])
    found = metrics.fixation_pixels(points, (4, 2))
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 0], [1, 2], [1, 3], [1, 3], [1, 0], [0, 3], [1, 1]]
    assert metrics.fixation_pixels(points[:0], (4, 2)).shape == (0, 2)
    assert metrics.fixation_pixels(np.array([[1e308, -1e308]]), (4, 2)).tolist() == [[0, 3]]


def test_fixation_density_is_the_formula() -> None:
    points = np.array([[0.31, 0.62], [0.7, 0.2], [0.7, 0.2]])
    width, height, sigma = 24, 16, 0.06
    rows, columns = np.mgrid[:height, :width] + 0.5
    expected = np.zeros((height, width))
    for x, y in points:
        squared = (columns - x * width) ** 2 + (rows - y * height) ** 2
        bell = np.exp(-squared / (2 * (sigma * width) ** 2))
        expected += bell / bell.sum() / len(points)
    density = metrics.fixation_density(points, (width, height), sigma)
    assert density.dtype == np.float32
    np.testing.assert_allclose(density, expected, rtol=1e-4, atol=1e-9)


def test_fixation_density_is_round_in_pixels() -> None:
    density = metrics.fixation_density(np.array([[0.5, 0.5]]), (201, 101), 0.05)
    offset = 8
    assert density[50, 100 + offset] == pytest.approx(density[50 + offset, 100], rel=1e-5)
    assert density[50, 100 + offset] < density[50, 100]


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.just(2)),
        elements=st.floats(-1e308, 1e308) | st.floats(0, 1),
    ),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(1e-300, 1e300) | st.floats(0.01, 1),
)
def test_fixation_density_always_sums_to_one(
    points: NDArray[np.float64], width: int, height: int, sigma: float
) -> None:
    density = metrics.fixation_density(points, (width, height), sigma)
    assert density.shape == (height, width)
    assert density.min() >= 0
    assert density.sum() == pytest.approx(1, abs=1e-5)


def test_many_points_make_the_density_of_their_parts() -> None:
    points = np.random.default_rng(0).random((9000, 2))
    parts = [metrics.fixation_density(part, (16, 12)) for part in np.split(points, 3)]
    np.testing.assert_allclose(metrics.fixation_density(points, (16, 12)), np.mean(parts, axis=0), rtol=1e-4)


BAD_POINTS = {
    "nan": np.array([[0.5, math.nan]]),
    "infinity": np.array([[math.inf, 0.5]]),
    "three columns": np.zeros((2, 3)),
    "one axis": np.zeros(2),
    "text": np.array([["0", "1"]]),
    "a list": [[0.5, 0.5]],
}


@pytest.mark.parametrize("case", BAD_POINTS)
def test_bad_points_are_refused(case: str) -> None:
    bad: Any = BAD_POINTS[case]
    for make in (metrics.fixation_pixels, metrics.fixation_density):
        with pytest.raises(OptionError, match=r"points must be a real numpy array \[N, 2\] of \(x, y\)"):
            make(bad, (4, 4))


def test_a_density_needs_fixations_and_a_width() -> None:
    with pytest.raises(OptionError, match="got none"):
        metrics.fixation_density(np.zeros((0, 2)), (4, 4))
    for sigma in (0, -1, math.nan, math.inf):
        with pytest.raises(OptionError, match="sigma must be above 0"):
            metrics.fixation_density(np.zeros((1, 2)), (4, 4), sigma)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,), (4.0, 4), None, (1 << 20, 1 << 20)], ids=str)
def test_bad_sizes_are_refused(size: Any) -> None:
    for make in (
        lambda: metrics.resize_map(QUARTERS, size),
        lambda: metrics.fixation_pixels(np.zeros((1, 2)), size),
        lambda: metrics.fixation_density(np.zeros((1, 2)), size),
    ):
        with pytest.raises(OptionError, match="size must be"):
            make()


def test_resize_map_aligns_pixel_centres() -> None:
    row = np.array([[0.0, 4.0]])
    np.testing.assert_allclose(metrics.resize_map(row, (4, 1)), [[0, 1, 3, 4]])
    ramp = np.arange(8, dtype=np.uint8)[None].repeat(3, 0)
    doubled = metrics.resize_map(ramp, (16, 6))
    np.testing.assert_allclose(doubled[0, 1:-1], (np.arange(1, 15) + 0.5) / 2 - 0.5)
    assert doubled.shape == (6, 16)
    assert doubled.dtype == np.float32


@settings(max_examples=60)
@given(st.floats(0, 1, width=32), st.integers(1, 70), st.integers(1, 99), st.integers(1, 99))
def test_a_constant_map_stays_constant_when_resized(value: float, side: int, width: int, height: int) -> None:
    resized = metrics.resize_map(np.full((side, side), value, np.float32), (width, height))
    assert (resized == np.float32(value)).all()


def test_resize_map_refuses_what_does_not_fit_in_float32() -> None:
    with pytest.raises(OptionError, match="fit in float32"):
        metrics.resize_map(np.array([[0, 1e300]]), (4, 4))


def test_resize_map_gives_a_new_array() -> None:
    values = QUARTERS.astype(np.float32)
    resized = metrics.resize_map(values, (2, 2))
    np.testing.assert_array_equal(resized, values)
    resized[:] = 9
    assert values.max() == 3
