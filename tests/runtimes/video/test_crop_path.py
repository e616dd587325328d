"""The path of a crop: the cheapest targets, and a way to them of bounded jerk that stays in the picture."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.runtimes.video.attention import LivePath, Look, planned_path
from uva_edge.runtimes.video.crop_path import (
    LIVE_SPAN,
    PATIENCE,
    SPAN,
    best_targets,
    largest_jerk,
    missed,
    places_of,
    smoothed,
)

Floats = NDArray[np.float64]
LENGTH, WINDOW = 320, 102
PLACES = places_of(LENGTH, WINDOW)
REACH = PLACES[-1] - PLACES[0]


def looks_at(where: Floats, fps: float, *, width: float = 0.1, cuts: tuple[int, ...] = ()) -> list[Look]:
    """Of attention in a band around those parts of the picture's length, one for each frame."""
    at = (np.arange(64) + 0.5) / 64
    found = []
    for index, x in enumerate(where):
        density = np.exp(-0.5 * ((at - x) / width) ** 2).astype(np.float32)
        found.append(Look(index / fps, index in cuts, missed(density, PLACES, WINDOW, LENGTH)))
    return found


def followed(looks: list[Look], *, live: bool) -> Floats:
    if not live:
        return planned_path(looks, PLACES, LENGTH)
    path = LivePath(PLACES, LENGTH)
    return np.array([path.push(look) for look in looks])


def jerk(path: Floats, fps: float) -> float:
    """The largest, in pixels / s ** 3."""
    return float(np.abs(np.diff(path, 3)).max(initial=0)) * fps**3


each_way = pytest.mark.parametrize("live", [False, True], ids=["offline", "live"])


@each_way
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    fps=st.sampled_from([5.0, 24.0, 60.0]),
    kind=st.sampled_from(["jumps", "noise"]),
)
def test_the_jerk_is_bounded_and_the_window_stays_in_the_picture(
    live: bool, seed: int, fps: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    where = rng.random(150) if kind == "noise" else np.repeat(rng.random(10), 15)
    path = followed(looks_at(where, fps), live=live)
    assert path.min() >= PLACES[0]
    assert path.max() <= PLACES[-1]
    bound = largest_jerk(REACH, LIVE_SPAN if live else SPAN)
    assert jerk(path, fps) <= bound * (1 + 1e-6) + 1e-6 * fps**3
    # In picture widths / s ** 3; a path that jumped within a frame would have thousands.
    assert bound / LENGTH == pytest.approx(74 if live else 9.2, rel=0.02)


@each_way
@settings(deadline=None, max_examples=50)
@given(x=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_trembles_about_a_place_does_not_move_the_crop(live: bool, x: float, seed: int) -> None:
    tremor = np.random.default_rng(seed).normal(0, 0.01, 90)
    path = followed(looks_at(x + tremor, 25.0), live=live)
    settled = path[40:] if live else path
    assert np.ptp(settled) <= 8
    still = followed(looks_at(np.full(90, x), 25.0), live=live)
    assert np.ptp(still) == 0


@each_way
def test_a_step_is_followed_once_and_without_overshoot(live: bool) -> None:
    fps = 25.0
    where = np.where(np.arange(200) < 100, 0.2, 0.8)
    path = followed(looks_at(where, fps), live=live)
    at_first, at_last = path[60], path[-1]
    assert at_first + WINDOW / 2 == pytest.approx(0.2 * LENGTH, abs=16)
    assert at_last + WINDOW / 2 == pytest.approx(0.8 * LENGTH, abs=16)
    assert (np.diff(path[60:]) >= -1e-9).all()
    half = int(np.argmax(path >= (at_first + at_last) / 2))
    if live:
        assert 100 <= half <= 100 + fps * (LIVE_SPAN / 2 + 0.8), "after the step, and not long after"
    else:
        assert abs(half - 100) <= 2, "half of the way is done when it happens"


def test_a_glance_is_not_followed() -> None:
    where = np.full(100, 0.25)
    where[50:52] = 0.9
    path = planned_path(looks_at(where, 25.0), PLACES, LENGTH)
    assert np.ptp(path) == 0


@each_way
def test_at_a_cut_the_crop_is_there_at_once(live: bool) -> None:
    where = np.where(np.arange(60) < 30, 0.2, 0.8)
    path = followed(looks_at(where, 25.0, cuts=(30,)), live=live)
    assert np.ptp(path[:30]) == 0
    assert np.ptp(path[30:]) == 0
    assert path[30] - path[29] > 0.4 * LENGTH


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 5), count=st.integers(1, 5))
def test_targets_are_the_cheapest_of_all(seed: int, frames: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(200, count, replace=False)).astype(np.float64)
    costs, seconds = rng.random((frames, count)), rng.uniform(0.01, 0.5, frames)

    def price(way: tuple[int, ...]) -> float:
        moved = np.abs(np.diff(places[list(way)])).sum() * PATIENCE / 200
        return float((costs[range(frames), way] * seconds).sum() + moved)

    found = best_targets(costs, seconds, places, 200)
    way = tuple(int(np.flatnonzero(places == place)[0]) for place in found)
    assert price(way) == pytest.approx(min(map(price, product(range(count), repeat=frames))))


@settings(deadline=None, max_examples=50)
@given(
    gaps=st.lists(st.floats(1e-3, 0.5), min_size=3, max_size=60),
    seed=st.integers(0, 999),
    span=st.floats(0.2, 4),
)
def test_smoothing_at_a_variable_rate_stays_between_its_targets(
    gaps: list[float], seed: int, span: float
) -> None:
    starts = np.cumsum(gaps)
    targets = np.random.default_rng(seed).random(len(gaps))
    path = smoothed(starts, targets, starts, span)
    assert path.min() >= targets.min() - 1e-9
    assert path.max() <= targets.max() + 1e-9


def test_a_jump_becomes_an_s_curve_of_constant_jerk() -> None:
    fps, span = 1000.0, 1.2
    seconds = np.arange(4000) / fps
    path = smoothed(np.array([0.0, 2.0]), np.array([0.0, 1.0]), seconds, span)
    assert path[1000] == 0
    assert path[2000] == pytest.approx(0.5, abs=1e-6)
    assert path[3000] == pytest.approx(1)
    found = np.abs(np.diff(path, 3)) * fps**3
    expected = 1 / (span / 3) ** 3
    assert found.max() == pytest.approx(2 * expected, rel=0.02)
    assert found.max() <= largest_jerk(1.0, span)


@settings(deadline=None, max_examples=50)
@given(length=st.integers(8, 4000).map(lambda n: 2 * n), part=st.floats(0.05, 1))
def test_places_are_even_and_reach_both_ends(length: int, part: float) -> None:
    window = max(2, 2 * round(length * part / 2))
    places = places_of(length, window)
    assert places[0] == 0
    assert places[-1] == length - window
    assert (places % 2 == 0).all()
    assert (np.diff(places) > 0).all()
    assert 1 <= len(places) <= 128


def test_what_a_window_misses() -> None:
    density = np.zeros(32, np.float32)
    density[8:10] = 1
    costs = missed(density, np.array([0.0, 80.0, 85.0, 100.0]), 40, 320)
    np.testing.assert_allclose(costs, [1, 0, 0.25, 1])
    np.testing.assert_array_equal(missed(np.zeros(32, np.float32), np.array([0.0, 10.0]), 40, 320), [0, 0])
