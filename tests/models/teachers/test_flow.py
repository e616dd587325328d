"""Optical flow: known shifts are found, and every call stands alone."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import FrameError
from uva_edge.models.teachers.flow import dis_flow, flow_image


def texture(seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]


@pytest.mark.parametrize("shift", [(4, 0), (0, -3), (5, 2)])
def test_a_shift_is_found(shift: tuple[int, int]) -> None:
    x, y = shift
    one = texture()
    other = np.roll(one, (y, x), axis=(0, 1))
    flow = dis_flow(one, other)
    assert flow.dtype == np.float32
    assert flow.shape == (120, 160, 2)
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), shift, atol=0.1)


def test_rest_has_no_flow() -> None:
    assert not dis_flow(texture(), texture()).any()


def test_calls_have_no_memory() -> None:
    one, other = texture(), np.roll(texture(), 3, axis=1)
    first = dis_flow(one, other)
    dis_flow(other, texture(5))
    np.testing.assert_array_equal(dis_flow(one, other), first)


def test_the_picture_of_a_flow() -> None:
    flow = np.zeros((12, 40, 2), np.float32)
    flow[0, 0], flow[1, 1] = (0.6, -0.8), (50, 0)
    image = flow_image(flow)
    assert image.dtype == np.float32
    assert image.shape == (3, 12, 40)
    # A twentieth of 40 pixels is 1; beyond, it is cut.
    np.testing.assert_allclose(image[:, 0, 0], (0.3, -0.4, 0.5), rtol=1e-6)
    np.testing.assert_array_equal(image[:, 1, 1], (1, 0, 1))
    assert np.abs(image).max() == 1


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (np.zeros((11, 20, 3), np.uint8), np.zeros((11, 20, 3), np.uint8), "at least 12"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), r"\[H, W, 3\]"),
        (np.zeros((20, 20, 3), np.float32), np.zeros((20, 20, 3), np.float32), "float32"),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 24, 3), np.uint8), "one size"),
    ],
)
def test_wrong_frames(one: NDArray[Any], other: NDArray[Any], said: str) -> None:
    with pytest.raises(FrameError, match=said):
        dis_flow(one, other)
