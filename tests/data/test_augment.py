"""Views: what the image, the density and the fixations show lies in the same cell, whatever the view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.data.augment import (
    Affine,
    Augmentation,
    identity,
    random_light,
    random_motion,
    random_view,
    see,
    see_density,
    see_points,
)
from uva_edge.metrics import fixation_density
from uva_edge.preprocess import network_input

SIDE = 32
SEEDS = st.integers(0, 2**32 - 1)
FLIP = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
FIXED = Augmentation(crop=(1, 1), aspect=0, brightness=0, contrast=0, pan=0, zoom=0, rotation=0)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def place(view: Affine, point: tuple[float, float]) -> NDArray[np.float64]:
    """Where a point of the view lies in the frame."""
    return np.asarray((view @ (*point, 1.0))[:2])


def dot(size: tuple[int, int], centre: NDArray[np.float64], sigma: float) -> NDArray[np.uint8]:
    """A bright spot on black; its centre in parts of the width and height, sigma in pixels."""
    width, height = size
    x, y = np.arange(width) + 0.5 - centre[0] * width, np.arange(height) + 0.5 - centre[1] * height
    bell = np.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))
    return np.repeat(np.rint(255 * bell).astype(np.uint8)[:, :, None], 3, axis=2)


def brightest(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(values), values.shape))


# --- images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64])
def test_the_whole_of_a_frame_of_4r_is_the_input_bit_for_bit(side: int) -> None:
    frame = noise(4 * side, 4 * side)
    assert np.array_equal(see(frame, identity(), side), network_input(frame, side))


def test_a_crop_and_a_flip_are_those_of_the_frame() -> None:
    frame = noise(8 * SIDE, 8 * SIDE)
    crop = np.array([[0.5, 0, 0.25], [0, 0.5, 0.125], [0, 0, 1]])
    inside = frame[SIDE : 5 * SIDE, 2 * SIDE : 6 * SIDE]
    assert np.array_equal(see(frame, crop, SIDE), network_input(inside, SIDE))
    assert np.array_equal(see(frame, crop @ FLIP, SIDE), network_input(inside[:, ::-1], SIDE))


def test_a_smooth_frame_of_any_size_is_seen_as_a_camera_would() -> None:
    y, x = np.mgrid[0:270, 0:480]
    frame = np.stack([x * 255 / 479, y * 255 / 269, (x + y) / 3], axis=2).astype(np.uint8)
    difference = see(frame, identity(), SIDE).astype(int) - network_input(frame, SIDE)
    assert np.abs(difference).max() <= 2


def test_light_is_a_table_for_what_is_seen() -> None:
    frame, light = noise(90, 120), np.arange(256, dtype=np.uint8)[::-1]
    assert np.array_equal(see(frame, identity(), SIDE, light), 255 - see(frame, identity(), SIDE))


# --- image, density and fixations together --------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, row=st.integers(0, SIDE - 1), column=st.integers(0, SIDE - 1), motion=st.booleans())
def test_a_dot_its_density_and_its_fixation_land_in_one_cell(
    seed: int, row: int, column: int, motion: bool
) -> None:
    rng, ranges = np.random.default_rng(seed), Augmentation(still=0)
    view = random_view(rng, ranges)
    if motion:
        view = view @ random_motion(rng, ranges)
    point = place(view, ((column + 0.5) / SIDE, (row + 0.5) / SIDE))
    # Nearer to the border its mirror image comes into view, which is as bright.
    assume(bool(((point > 0.2) & (point < 0.8)).all()))
    points = point[None].astype(np.float32)
    counts = see_points(points, view, SIDE)
    assert counts[row, column] == counts.sum() == 1
    assert brightest(see(dot((640, 480), point, 2.5), view, SIDE)[:, :, 0]) == (row, column)
    assert brightest(see_density(fixation_density(points, (128, 96)), view, SIDE)) == (row, column)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_a_density_in_view_sums_to_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    density = fixation_density(rng.random((4, 2)), (128, 96))
    seen = see_density(density, random_view(rng, Augmentation()), SIDE)
    assert seen.dtype == np.float32
    assert seen.shape == (SIDE, SIDE)
    assert seen.min() >= 0
    assert seen.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_a_density_keeps_its_form() -> None:
    density = fixation_density(np.array([[0.3, 0.6], [0.8, 0.2]]), (128, 96))
    exact = density.reshape(SIDE, 3, SIDE, 4).sum(axis=(1, 3))
    seen = see_density(density, identity(), SIDE)
    assert np.abs(seen - exact).max() < 0.03 * exact.max()
    assert np.allclose(see_density(density, FLIP, SIDE), seen[:, ::-1], atol=1e-7)


def test_out_of_view_there_is_nothing() -> None:
    elsewhere = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    points = np.array([[0.5, 0.5]], np.float32)
    assert not see_density(fixation_density(points, (128, 96)), elsewhere, SIDE).any()
    assert not see_points(points, elsewhere, SIDE).any()


def test_fixations_are_counted_to_the_very_border() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [1, 1]], np.float32)
    counts = see_points(corners, identity(), SIDE)
    assert counts[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [1, 1, 1, 2]
    assert counts.sum() == 5
    assert np.array_equal(see_points(corners, FLIP, SIDE), counts[:, ::-1])


# --- what views are drawn -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_views_stay_in_their_ranges(seed: int) -> None:
    view = random_view(np.random.default_rng(seed), Augmentation(crop=(0.6, 1.0)))
    width, height = abs(view[0, 0]), view[1, 1]
    assert 0.6 <= np.sqrt(width * height) <= 1
    assert np.exp(-0.15) <= width / height <= np.exp(0.15)
    corners = np.array([place(view, corner) for corner in ((0, 0), (1, 1))])
    if max(width, height) <= 1:
        assert corners.min() >= -1e-9, view
        assert corners.max() <= 1 + 1e-9, view


def test_half_of_the_views_are_flipped() -> None:
    rng = np.random.default_rng(1)
    views = [random_view(rng, FIXED) for _ in range(200)]
    assert all(np.allclose(view, identity()) or np.allclose(view, FLIP) for view in views)
    assert 70 < sum(view[0, 0] < 0 for view in views) < 130


def test_motion_is_small_and_a_share_of_the_pairs_has_none() -> None:
    rng = np.random.default_rng(2)
    motions = [random_motion(rng, Augmentation(still=0.25)) for _ in range(400)]
    still = sum(np.array_equal(motion, identity()) for motion in motions)
    assert 70 < still < 130
    centres = np.array([place(motion, (0.5, 0.5)) for motion in motions]) - 0.5
    assert 0.008 < centres.std() < 0.02  # half of the pan, and 0 for a quarter of them
    assert np.abs([motion[:2, :2] - np.eye(2) for motion in motions]).max() < 0.1


def test_motion_turns_and_zooms_about_the_centre() -> None:
    turning = Augmentation(pan=0, zoom=0.1, rotation=0.1, still=0)
    motion = random_motion(np.random.default_rng(3), turning)
    assert place(motion, (0.5, 0.5)) == pytest.approx((0.5, 0.5))
    assert np.linalg.norm(place(motion, (1, 0.5)) - place(motion, (0, 0.5))) != pytest.approx(1, abs=1e-3)
    assert abs(motion[1, 0]) > 1e-3


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_light_never_reverses(seed: int) -> None:
    light = random_light(np.random.default_rng(seed), Augmentation())
    assert light.dtype == np.uint8
    assert light.shape == (256,)
    assert (np.diff(light.astype(int)) >= 0).all()
    assert abs(int(light[128]) - 128) <= 32
    assert int(light[255]) - int(light[0]) > 150


def test_without_ranges_nothing_changes() -> None:
    rng = np.random.default_rng(4)
    assert np.array_equal(random_light(rng, FIXED), np.arange(256))
    assert np.allclose(random_motion(rng, FIXED), identity())


def test_the_same_seed_draws_the_same() -> None:
    def draw(seed: int) -> list[NDArray[Any]]:
        rng = np.random.default_rng(seed)
        return [draw(rng, Augmentation(still=0)) for draw in (random_view, random_motion, random_light)]

    for one, same, other in zip(draw(5), draw(5), draw(6), strict=True):
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)
