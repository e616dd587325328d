"""Baselines find what they are said to find: the odd one out, the moving thing, the centre."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.errors import FrameError, OptionError
from uva_edge.metrics import auc_judd, fixation_pixels, nss, resize_map
from uva_edge.training.baselines import BASELINES, find_baseline
from uva_edge.training.baselines.frequency import (
    _circular_gaussians,
    _modulus,
    _transform,
    _with_amplitude,
)
from uva_edge.training.baselines.resemblance import _covariances, _lab, _steering_kernels

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Image = NDArray[np.uint8]

STILL = ("spectral-residual", "pqft", "hft", "self-resemblance")
MOVING = ("frame-difference", "pqft")


def predict(name: str, *frames: Image) -> list[NDArray[np.float32]]:
    return list(find_baseline(name)(frames))


def bars(odd: tuple[int, int], *, kind: str) -> Image:
    """A grid of 6x8 bars on dark grey, 48 pixels apart; one differs in orientation or in colour."""
    image = np.full((288, 384, 3), 40, np.uint8)
    for row in range(6):
        for column in range(8):
            is_odd = (row, column) == odd
            centre = (48 * column + 24, 48 * row + 24)
            dx, dy = (14, 0) if is_odd and kind == "orientation" else (0, 14)
            colour = (40, 40, 220) if is_odd and kind == "colour" else (60, 200, 60)
            ends = [(centre[0] + sign * dx, centre[1] + sign * dy) for sign in (-1, 1)]
            cv2.line(image, *ends, colour, 6, cv2.LINE_AA)
    return image


def noisy(image: Image, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def strongest_cell(saliency: NDArray[np.float32]) -> tuple[int, int]:
    """Where the peak of a map lies in the grid of `bars`."""
    row, column = np.unravel_index(int(saliency.argmax()), saliency.shape)
    return int(row) * 6 // saliency.shape[0], int(column) * 8 // saliency.shape[1]


# --- what stands out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [(1, 2), (4, 5), (2, 6)])
@pytest.mark.parametrize("name", ["pqft", "hft"])
def test_the_bar_of_another_colour_is_found(name: str, odd: tuple[int, int]) -> None:
    assert strongest_cell(predict(name, noisy(bars(odd, kind="colour")))[0]) == odd


@pytest.mark.parametrize("odd", [(1, 2), (4, 5), (2, 6)])
@pytest.mark.parametrize("name", ["spectral-residual", "pqft", "hft"])
def test_the_bar_of_another_orientation_is_found(name: str, odd: tuple[int, int]) -> None:
    assert strongest_cell(predict(name, noisy(bars(odd, kind="orientation")))[0]) == odd


@pytest.mark.parametrize("name", STILL)
def test_a_blob_on_a_texture_is_found(name: str) -> None:
    texture = np.random.default_rng(2).integers(100, 130, (240, 320, 1)).repeat(3, axis=2).astype(np.uint8)
    cv2.circle(texture, (230, 80), 16, (60, 200, 230), -1, cv2.LINE_AA)
    blob = np.zeros((240, 320), np.uint8)
    cv2.circle(blob, (230, 80), 20, 1, -1)
    saliency = resize_map(predict(name, texture)[0], (320, 240))
    assert auc_judd(saliency, np.argwhere(blob)) > 0.9


# --- what moves -----------------------------------------------------------------------------------------


def drifting(frames: int) -> Iterator[tuple[Image, tuple[int, int]]]:
    """A small grey square that wanders over a scene of brighter, larger, resting ones, and its place."""
    scene = np.full((180, 240, 3), 90, np.uint8)
    for x, y in ((40, 40), (190, 50), (60, 140), (180, 130)):
        cv2.rectangle(scene, (x, y), (x + 16, y + 16), (210, 210, 210), -1)
    for number in range(frames):
        frame, place = scene.copy(), (90 + 6 * number, 95)
        cv2.rectangle(frame, place, (place[0] + 10, place[1] + 10), (140, 140, 140), -1)
        yield frame, (place[0] + 5, place[1] + 5)


@pytest.mark.parametrize("name", MOVING)
def test_the_moving_thing_outshines_the_resting_ones(name: str) -> None:
    frames, places = zip(*drifting(8), strict=True)
    moving = predict(name, *frames)[-1]
    x, y = places[-1]
    assert auc_judd(resize_map(moving, (240, 180)), np.array([(y, x)])) > 0.9
    resting = predict(name, *[frames[-1]] * 8)[-1]
    share = [
        float(resize_map(m, (240, 180))[y - 8 : y + 9, x - 20 : x + 9].sum() / max(m.sum(), 1e-9))
        for m in (moving, resting)
    ]
    assert share[0] > 1.5 * share[1]


def test_the_frame_difference_is_that_to_the_frame_before() -> None:
    black, white = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    first, second, third, fourth = predict("frame-difference", black, white, white, black)
    assert not first.any()
    np.testing.assert_allclose(second, 1, atol=1e-5)
    assert not third.any()
    np.testing.assert_allclose(fourth, 1, atol=1e-5)


def test_pqft_compares_with_the_third_frame_before() -> None:
    """What was three frames ago counts; what was between does not."""
    frames = [frame for frame, _ in drifting(6)]
    reference = predict("pqft", *frames[:4])[3]
    assert np.array_equal(reference, predict("pqft", frames[0], frames[5], frames[5], frames[3])[3])
    assert not np.array_equal(reference, predict("pqft", frames[1], frames[1], frames[2], frames[3])[3])


# --- the transforms themselves --------------------------------------------------------------------------


def quaternion_product(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c, d = p
    e, f, g, h = q
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def test_the_quaternion_transform_is_its_definition() -> None:
    """``F[u, v] = sum over m, n of e^(-i 2 pi (u m / h + v n / w)) q[m, n]``, by Hamilton's product."""
    planes = np.random.default_rng(1).normal(size=(4, 3, 5))
    spectrum = _transform(*planes)
    for u in range(3):
        for v in range(5):
            m, n = np.mgrid[0:3, 0:5]
            angle = -2 * np.pi * (u * m / 3 + v * n / 5)
            zero = np.zeros_like(angle)
            kernel = np.stack([np.cos(angle), np.sin(angle), zero, zero])
            expected = quaternion_product(kernel, planes).sum(axis=(1, 2))
            simplex, perplex = spectrum[:, u, v]
            got = [simplex.real, simplex.imag, perplex.real, perplex.imag]
            np.testing.assert_allclose(got, expected, atol=1e-9)


def test_the_scales_of_hft_smooth_a_periodic_plane() -> None:
    kernels = _circular_gaussians()
    assert kernels.shape == (8, 128, 128)
    np.testing.assert_allclose(kernels.sum(axis=-1), 1)
    for kernel, sigma in zip(kernels, (0.5, 1, 2, 4, 8, 16, 32, 64), strict=True):
        np.testing.assert_allclose(np.roll(kernel, (1, 1), (0, 1)), kernel)
        if 1 <= sigma <= 8:  # elsewhere sampling or wrapping around changes the deviation
            offsets = (np.arange(128) + 64) % 128 - 64
            assert np.sqrt((kernel[0] * offsets**2).sum()) == pytest.approx(sigma, rel=1e-3)


def test_only_the_amplitude_of_a_spectrum_changes() -> None:
    spectrum = _transform(*np.random.default_rng(1).normal(size=(4, 8, 8)))
    spectrum[:, 3, 4] = 0
    changed = _with_amplitude(spectrum, _modulus(spectrum), np.full((8, 8), 2.0))
    expected = np.full((8, 8), 2.0)
    expected[3, 4] = 0  # nothing has no phase
    np.testing.assert_allclose(_modulus(changed), expected)
    np.testing.assert_allclose(changed * _modulus(spectrum) / 2, spectrum, atol=1e-12)


def test_steering_covariances_are_their_definition() -> None:
    """By singular value decomposition of the nine gradients around a pixel; the inside alone, without mirroring."""
    planes = np.random.default_rng(7).random((9, 11, 2)).astype(np.float32)
    xx, xy, yy = _covariances(planes)
    gy, gx = np.gradient(planes, axis=(0, 1))
    for row, column, plane in ((3, 4, 0), (5, 8, 1), (1, 1, 0)):
        around = np.s_[row - 1 : row + 2, column - 1 : column + 2, plane]
        gradients = np.stack([gx[around].ravel(), gy[around].ravel()], axis=1).astype(np.float64)
        _, (s1, s2), (v1, v2) = np.linalg.svd(gradients)
        stretch, gamma = (s1 + 1) / (s2 + 1), ((s1 * s2 + 1e-7) / 9) ** 0.42
        expected = gamma * (stretch * np.outer(v1, v1) + np.outer(v2, v2) / stretch)
        place = row, column, plane
        np.testing.assert_allclose([[xx[place], xy[place]], [xy[place], yy[place]]], expected, rtol=1e-3)


def test_self_resemblance_is_its_definition() -> None:
    """At pixels inside, with feature matrices put together one kernel after the other."""
    picture = noisy(cv2.resize(bars((2, 3), kind="colour"), (64, 64), interpolation=cv2.INTER_AREA))
    kernels = _steering_kernels(_lab(picture)).astype(np.float64)

    def matrix(row: int, column: int) -> NDArray[np.float64]:
        return kernels[row - 3 : row + 4, column - 3 : column + 4].ravel()

    saliency = predict("self-resemblance", picture)[0]
    for row, column in ((10, 12), (33, 20), (50, 58)):
        own = matrix(row, column)
        total = 0.0
        for other in (matrix(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
            cosine = own @ other / np.sqrt((own @ own) * (other @ other))
            total += np.exp((cosine - 1) / 0.07**2)
        assert saliency[row, column] == pytest.approx(1 / total, rel=1e-3)


# --- what must not matter -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=6, deadline=None)
@given(level=st.integers(0, 255), size=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_an_even_picture_has_no_salient_place(name: str, level: int, size: tuple[int, int]) -> None:
    if name == "centre":
        return
    saliency = predict(name, np.full((*size, 3), level, np.uint8))[0]
    assert np.isfinite(saliency).all()
    assert np.ptp(saliency) <= 1e-4 * max(float(saliency.max()), 1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_maps_are_finite_not_negative_and_the_same_again(name: str) -> None:
    frames = [noisy(bars((2, 3), kind="colour"), seed) for seed in range(3)]
    maps, again = predict(name, *frames), predict(name, *frames)
    assert len(maps) == 3
    for one, other in zip(maps, again, strict=True):
        assert one.dtype == np.float32
        assert one.ndim == 2
        assert np.isfinite(one).all()
        assert one.min() >= 0
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["spectral-residual", "pqft", "hft", "self-resemblance"])
def test_a_mirrored_picture_has_a_mirrored_map(name: str) -> None:
    # At the working size, or the resize would not be mirrored exactly.
    picture = noisy(cv2.resize(bars((1, 2), kind="colour"), (128, 128), interpolation=cv2.INTER_AREA))
    plain = predict(name, picture)[0]
    mirrored = predict(name, np.ascontiguousarray(picture[:, ::-1]))[0][:, ::-1]
    assert np.corrcoef(plain.ravel(), mirrored.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", ["spectral-residual", "pqft", "hft"])
def test_brightness_as_a_whole_does_not_matter(name: str) -> None:
    """The frequency 0 carries it, and no place."""
    picture = noisy(bars((4, 1), kind="colour"))
    darker = predict(name, picture - np.uint8(30))[0]
    assert np.corrcoef(darker.ravel(), predict(name, picture)[0].ravel())[0, 1] > 0.95


def test_frames_are_taken_one_by_one() -> None:
    """So that a video may be longer than memory."""
    for name in BASELINES:
        taken = 0

        def frames() -> Iterator[Image]:
            nonlocal taken
            for frame, _ in drifting(6):
                taken += 1
                yield frame

        for number, _ in enumerate(find_baseline(name)(frames()), start=1):
            assert taken == number, name
        assert taken == 6, name


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "centre"])
@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_anything_but_a_frame_is_refused(name: str, frame: NDArray[np.uint8]) -> None:
    with pytest.raises(FrameError, match="BGR"):
        predict(name, frame)


def test_an_unknown_baseline_is_refused_with_all_names() -> None:
    with pytest.raises(OptionError, match=r"'itti'.*centre, frame-difference.*self-resemblance"):
        find_baseline("itti")


# --- on human fixations ---------------------------------------------------------------------------------


@pytest.mark.skipif(not (DATA / "images.csv").exists(), reason=f"no data at {DATA}")
def test_nss_on_people() -> None:
    """Every fifth validation still of OSIE; the bounds are what each scored there, less what noise would take."""
    from uva_edge.data.still_images import list_stills

    stills = [next(iter(item.read())) for item in list_stills(DATA, "val", "osie")[::5]]
    for name, least in {
        "centre": 0.7,
        "spectral-residual": 0.8,
        "pqft": 0.95,
        "hft": 0.9,
        "self-resemblance": 0.6,
    }.items():
        scores = []
        for still in stills:
            height, width = still.image.shape[:2]
            saliency = resize_map(predict(name, still.image)[0], (width, height))
            assert still.fixations is not None
            scores.append(nss(saliency, fixation_pixels(still.fixations, (width, height))))
        assert np.mean(scores) > least, name
