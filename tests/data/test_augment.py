"""Views and looks: what the image, the density and the fixations show lies in the same cell, whatever the view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.data.augment import (
    Affine,
    Augmentation,
    Look,
    identity,
    random_look,
    random_motion,
    random_view,
    see,
    see_density,
    see_points,
)
from uva_edge.errors import OptionError
from uva_edge.metrics import fixation_density
from uva_edge.preprocess import network_input

SIDE = 32
SEEDS = st.integers(0, 2**32 - 1)
FLIP = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
PLAIN = np.arange(256, dtype=np.uint8)
CROP = (0.6, 1.05)


def noise(side: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def place(view: Affine, point: tuple[float, float]) -> NDArray[np.float64]:
    """Where a point of the view lies in the frame."""
    return np.asarray((view @ (*point, 1.0))[:2])


def dot(side: int, centre: NDArray[np.float64], sigma: float) -> NDArray[np.uint8]:
    """A bright spot on black; its centre in parts of the side, sigma in pixels."""
    x, y = (np.arange(side) + 0.5 - part * side for part in centre)
    bell = np.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))
    return np.repeat(np.rint(255 * bell).astype(np.uint8)[:, :, None], 3, axis=2)


def density_of(points: NDArray[Any]) -> NDArray[np.uint8]:
    """As a pack holds it."""
    density = fixation_density(points, (96, 96))
    return np.rint(density * (255 / density.max())).astype(np.uint8)


def brightest(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(values), values.shape))


# --- images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("times", [1, 2])
def test_the_whole_of_a_frame_is_the_networks_input_bit_for_bit(resolution: int, times: int) -> None:
    frame = noise(times * resolution)
    assert np.array_equal(see(frame, identity(), resolution), network_input(frame, resolution))


def test_a_larger_frame_is_averaged_and_not_skipped() -> None:
    frame = noise(4 * SIDE)
    exact = frame.reshape(SIDE, 4, SIDE, 4, 3).mean(axis=(1, 3))[:, :, ::-1]
    assert np.abs(see(frame, identity(), SIDE) - exact).max() <= 1.1


def test_a_crop_and_a_flip_are_those_of_the_frame() -> None:
    frame = noise(4 * SIDE)
    crop = np.array([[0.5, 0, 0.25], [0, 0.5, 0.125], [0, 0, 1]])
    inside = frame[SIDE // 2 : 5 * SIDE // 2, SIDE : 3 * SIDE]
    assert np.array_equal(see(frame, crop, SIDE), network_input(inside, SIDE))
    assert np.array_equal(see(frame, crop @ FLIP, SIDE), network_input(inside[:, ::-1], SIDE))


def test_beyond_the_border_there_is_the_mirror_image() -> None:
    frame = noise(2 * SIDE)
    beyond = np.array([[1.0, 0, -0.25], [0, 1, 0], [0, 0, 1]])
    seen, whole = see(frame, beyond, SIDE), see(frame, identity(), SIDE)
    assert np.array_equal(seen[:, SIDE // 4 :], whole[:, : -SIDE // 4])
    reflected = np.pad(frame, ((0, 0), (SIDE // 2, 0), (0, 0)), mode="reflect")[:, : 2 * SIDE]
    assert np.array_equal(seen, network_input(np.ascontiguousarray(reflected), SIDE))


# --- looks ----------------------------------------------------------------------------------------------


def test_light_is_a_table_for_what_is_seen() -> None:
    frame = noise(2 * SIDE)
    assert np.array_equal(see(frame, identity(), SIDE, Look(PLAIN)), see(frame, identity(), SIDE))
    negative = see(frame, identity(), SIDE, Look(PLAIN[::-1]))
    assert np.array_equal(negative, 255 - see(frame, identity(), SIDE))


@pytest.mark.parametrize("times", [1, 2])
def test_blur_is_in_cells_of_the_input(times: int) -> None:
    frame = noise(times * SIDE)
    blurred = np.asarray(cv2.GaussianBlur(frame, (0, 0), 0.6 * times), np.uint8)
    seen = see(frame, identity(), SIDE, Look(PLAIN, blur=0.6))
    assert np.array_equal(seen, network_input(blurred, SIDE))
    assert seen.std() < 0.8 * network_input(frame, SIDE).std()


def test_compression_is_that_of_the_cameras_picture() -> None:
    frame = noise(2 * SIDE)
    data = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 20))[1]
    stored = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    seen = see(frame, identity(), SIDE, Look(PLAIN, quality=20))
    assert np.array_equal(seen, network_input(stored, SIDE))
    assert not np.array_equal(seen, network_input(frame, SIDE))


def test_noise_is_that_of_a_sensor() -> None:
    grey = np.full((2 * SIDE, 2 * SIDE, 3), 100, np.uint8)
    noisy = see(grey, identity(), SIDE, Look(PLAIN, noise=4.0), np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(100, abs=0.5)
    assert noisy.std() == pytest.approx(4, rel=0.1)
    for extreme in (np.zeros_like(grey), np.full_like(grey, 255)):
        noisy = see(extreme, identity(), SIDE, Look(PLAIN, noise=4.0), np.random.default_rng(0))
        assert np.abs(noisy.astype(int) - extreme[0, 0, 0]).max() < 30, "it overflows"


def test_of_a_look_noise_alone_differs_from_frame_to_frame() -> None:
    frame, rng = noise(2 * SIDE), np.random.default_rng(0)
    calm = Look(PLAIN[::-1], blur=0.4, quality=30)
    one, other = (see(frame, identity(), SIDE, calm, rng) for _ in range(2))
    assert np.array_equal(one, other)
    noisy = replace(calm, noise=3.0)
    one, other = (see(frame, identity(), SIDE, noisy, rng) for _ in range(2))
    assert not np.array_equal(one, other)


def test_tint_is_a_gain_for_each_colour() -> None:
    frame = noise(2 * SIDE)
    plain = see(frame, identity(), SIDE).astype(float)
    seen = see(frame, identity(), SIDE, Look(PLAIN, tint=(0.5, 1.0, 1.5)))
    assert np.array_equal(seen, np.clip(np.rint(plain * (0.5, 1.0, 1.5)), 0, 255))


def test_a_grey_look_has_no_colour_but_the_same_brightness() -> None:
    frame = noise(2 * SIDE)
    seen = see(frame, identity(), SIDE, Look(PLAIN, grey=True, tint=(0.5, 1.0, 1.5)))
    assert (np.ptp(seen, axis=2) == 0).all()
    weighted = see(frame, identity(), SIDE) @ (0.299, 0.587, 0.114)
    assert np.abs(seen[:, :, 0] - weighted).max() <= 1


# --- image, density and fixations together --------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    seed=SEEDS,
    row=st.integers(0, SIDE - 1),
    column=st.integers(0, SIDE - 1),
    motion=st.booleans(),
    times=st.sampled_from((2, 4)),
)
def test_a_dot_its_density_and_its_fixation_land_in_one_cell(
    seed: int, row: int, column: int, motion: bool, times: int
) -> None:
    rng = np.random.default_rng(seed)
    view = random_view(rng, Augmentation(), CROP)
    if motion:
        view = view @ random_motion(rng, Augmentation(still=0))
    point = place(view, ((column + 0.5) / SIDE, (row + 0.5) / SIDE))
    # Nearer to the border its mirror image comes into view, which is as bright.
    assume(bool(((point > 0.2) & (point < 0.8)).all()))
    points = point[None].astype(np.float32)
    counts = see_points(points, view, SIDE)
    assert counts[row, column] == counts.sum() == 1
    assert brightest(see(dot(times * SIDE, point, 2.0), view, SIDE)[:, :, 0]) == (row, column)
    assert brightest(see_density(density_of(points), view, SIDE)) == (row, column)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, resolution=st.sampled_from((32, 64, 256)))
def test_a_density_in_view_sums_to_1(seed: int, resolution: int) -> None:
    rng = np.random.default_rng(seed)
    seen = see_density(density_of(rng.random((40, 2))), random_view(rng, Augmentation(), CROP), resolution)
    assert seen.dtype == np.float32
    assert seen.shape == (resolution, resolution)
    assert seen.min() >= 0
    assert seen.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_a_density_keeps_its_form() -> None:
    density = density_of(np.array([[0.3, 0.6], [0.8, 0.2]]))
    exact = density.reshape(SIDE, 3, SIDE, 3).sum(axis=(1, 3)) / density.sum(dtype=np.float64)
    seen = see_density(density, identity(), SIDE)
    assert np.abs(seen - exact).max() < 0.03 * exact.max()
    assert np.allclose(see_density(density, FLIP, SIDE), seen[:, ::-1], atol=1e-7)


def test_out_of_view_there_is_nothing() -> None:
    elsewhere = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    points = np.array([[0.5, 0.5]], np.float32)
    assert not see_density(density_of(points), elsewhere, SIDE).any()
    assert not see_points(points, elsewhere, SIDE).any()
    assert not see_density(np.zeros((96, 96), np.uint8), identity(), SIDE).any()


def test_beyond_the_border_nobody_looks() -> None:
    beyond = np.array([[1.5, 0, -0.5], [0, 1, 0], [0, 0, 1]])
    seen = see_density(np.full((96, 96), 255, np.uint8), beyond, 30)
    assert not seen[:, :9].any()
    assert (seen[:, 11:29] > 0).all()


def test_fixations_are_counted_to_the_very_border() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [1, 1]], np.float32)
    counts = see_points(corners, identity(), SIDE)
    assert counts[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [1, 1, 1, 2]
    assert counts.sum() == 5
    assert np.array_equal(see_points(corners, FLIP, SIDE), counts[:, ::-1])


# --- what is drawn --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, crop=st.sampled_from(((0.6, 1.0), (0.9, 1.02))))
def test_views_stay_in_their_ranges(seed: int, crop: tuple[float, float]) -> None:
    view = random_view(np.random.default_rng(seed), Augmentation(), crop)
    width, height = abs(view[0, 0]), view[1, 1]
    assert crop[0] <= np.sqrt(width * height) <= crop[1]
    assert np.exp(-0.15) <= width / height <= np.exp(0.15)
    corners = np.array([place(view, corner) for corner in ((0, 0), (1, 1))])
    low, high = corners.min(axis=0), corners.max(axis=0)
    for extent, first, last in zip((width, height), low, high, strict=True):
        inner, outer = ((first, last), (0, 1)) if extent <= 1 else ((0, 1), (first, last))
        assert outer[0] - 1e-9 <= inner[0] <= inner[1] <= outer[1] + 1e-9, "neither holds the other"


def test_half_of_the_views_are_flipped() -> None:
    rng, whole = np.random.default_rng(1), replace(Augmentation.none(), flip=0.5)
    views = [random_view(rng, whole, whole.crop) for _ in range(200)]
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


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_light_never_reverses(seed: int) -> None:
    light = random_look(np.random.default_rng(seed), Augmentation()).light
    assert light.dtype == np.uint8
    assert light.shape == (256,)
    assert (np.diff(light.astype(int)) >= 0).all()
    assert abs(int(light[128]) - 128) <= 32
    assert int(light[255]) - int(light[0]) > 150


@pytest.mark.parametrize("part", ["blur", "noise", "compression", "grey"])
def test_a_share_of_the_looks_has_each_flaw(part: str) -> None:
    rng, ranges = np.random.default_rng(4), replace(Augmentation.none(), **{part: 0.3})
    looks = [random_look(rng, ranges) for _ in range(400)]
    flawed = {
        "blur": [look.blur > 0 for look in looks],
        "noise": [look.noise > 0 for look in looks],
        "compression": [look.quality < 100 for look in looks],
        "grey": [look.grey for look in looks],
    }
    assert 90 < sum(flawed.pop(part)) < 150
    assert not any(any(others) for others in flawed.values())


def test_without_ranges_nothing_changes() -> None:
    rng, none = np.random.default_rng(5), Augmentation.none()
    for crop in (none.crop, none.video_crop):
        assert np.allclose(random_view(rng, none, crop), identity())
    assert np.array_equal(random_motion(rng, none), identity())
    look = random_look(rng, none)
    assert np.array_equal(look.light, PLAIN)
    assert (look.blur, look.noise, look.quality, look.tint, look.grey) == (0, 0, 100, (1, 1, 1), False)


def test_the_same_seed_draws_the_same() -> None:
    def draw(seed: int) -> list[NDArray[Any]]:
        rng, ranges = np.random.default_rng(seed), Augmentation(still=0)
        return [random_view(rng, ranges, CROP), random_motion(rng, ranges), random_look(rng, ranges).light]

    for one, same, other in zip(draw(5), draw(5), draw(6), strict=True):
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("crop", (0.0, 1.0), r"crop must be a range above 0, least first; got \(0\.0, 1\.0\)"),
        ("crop", (1.0, 0.6), "crop must be a range"),
        ("video_crop", (float("nan"), 1.0), "video_crop must be a range"),
        ("flip", 1.5, r"flip must be in 0\.\.1, got 1\.5"),
        ("noise", -0.1, "noise must be"),
        ("contrast", 2.0, "contrast must be"),
        ("pan", float("nan"), "pan must be"),
        ("rotation", -1.0, "rotation must be"),
    ],
)
def test_ranges_are_checked(field: str, value: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Augmentation(**{field: value})
