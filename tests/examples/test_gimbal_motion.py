"""What moves by itself, before a ground that moves as a whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from gimbal_motion import MotionSense
from numpy.typing import NDArray

SIZE = (480, 270)


@pytest.fixture(scope="module")
def texture() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (90, 140, 3), np.uint8)
    smooth = cv2.resize(noise, (840, 540), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(smooth, (0, 0), 2), np.uint8)


def frame(
    texture: NDArray[np.uint8], turn: float, car: float | None, scale: float = 1.0
) -> NDArray[np.uint8]:
    """A camera that turns, tilts and zooms by `turn`, over a ground with a box at `car` in pixels of the frame."""
    corners = np.array([[150, 120], [630, 120], [630, 390], [150, 390]], np.float32)
    moved = corners + turn * np.array([[9, 4], [6, 5], [8, 2], [4, 3]], np.float32)
    ends = np.array([[0, 0], [SIZE[0], 0], [SIZE[0], SIZE[1]], [0, SIZE[1]]], np.float32)
    image = cv2.warpPerspective(texture, cv2.getPerspectiveTransform(moved, ends), SIZE)
    if car is not None:
        cv2.rectangle(image, (round(car), 120), (round(car) + 40, 140), (30, 30, 220), -1)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_box_that_moves_is_found_from_beside_it(texture: NDArray[np.uint8], scale: float) -> None:
    sense = MotionSense()
    for step in range(4):
        sense.update(frame(texture, step, 200 + 6 * step, scale))
        if step:
            left = 200 + 6 * step
            for x, y in ((left + 20, 130), (left + 60, 130), (left + 20, 100)):
                found = sense.near(scale * x, scale * y)
                assert found is not None, (step, x, y)
                assert left - 15 <= found[0] / scale <= left + 50
                assert 105 <= found[1] / scale <= 155
            assert sense.near(scale * 60, scale * 60) is None
            assert sense.near(scale * 420, scale * 220) is None


def test_a_camera_that_moves_over_still_ground_sees_no_motion(texture: NDArray[np.uint8]) -> None:
    sense = MotionSense()
    for step in range(4):
        sense.update(frame(texture, step, None))
        if step:
            places = [(x, y) for x in range(20, 480, 40) for y in range(20, 270, 40)]
            assert [place for place in places if sense.near(*place)] == []


def test_without_a_past_or_a_ground_a_peak_stays_where_it_is(texture: NDArray[np.uint8]) -> None:
    sense = MotionSense()
    sense.update(frame(texture, 0, 100))
    assert sense.near(33, 44) == (33, 44)
    sense.update(frame(texture, 0, 100, 0.5))  # of another size
    assert sense.near(33, 44) == (33, 44)
    blank = np.zeros((90, 160, 3), np.uint8)
    sense.update(blank)
    sense.update(blank)
    assert sense.near(33, 44) == (33, 44)
