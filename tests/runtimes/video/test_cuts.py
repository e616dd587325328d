"""Cuts are found; motion, flicker and a light that goes on are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.runtimes.video.cuts import CutDetector

CLIPS = Path(__file__).resolve().parents[4] / "shared" / "data" / "clips"


def cuts_of(frames: Any) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.push(frame)]


def test_a_flight_has_no_cut(flight: NDArray[np.uint8]) -> None:
    assert cuts_of(flight) == []


def test_a_cut_to_another_picture_is_found_at_its_first_frame(flight: NDArray[np.uint8]) -> None:
    other = 255 - flight
    assert cuts_of([*flight[:6], *other[:3], *flight[6:]]) == [6, 9]


def test_a_light_that_goes_on_is_none(flight: NDArray[np.uint8]) -> None:
    bright = np.clip(flight.astype(int) + 15, 0, 255).astype(np.uint8)
    assert cuts_of([*flight[:6], *bright[6:]]) == []


def test_noise_is_one_shot() -> None:
    rng = np.random.default_rng(0)
    assert cuts_of(rng.integers(0, 256, (20, 90, 160, 3), dtype=np.uint8)) == []


def test_frames_of_changing_size_are_compared(flight: NDArray[np.uint8]) -> None:
    small = [
        np.asarray(cv2.resize(frame, (100, 60), interpolation=cv2.INTER_AREA), np.uint8) for frame in flight
    ]
    assert cuts_of([*flight[:4], *small[4:]]) == []


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips at {CLIPS}")
def test_real_clips_in_a_row_are_cut_where_one_ends() -> None:
    """Every fifteenth clip, twelve frames of each: of different places, so nearly every joint is a cut."""
    detector, frames, joints = CutDetector(), 0, []
    false = []
    for path in sorted(CLIPS.glob("*.mp4"))[::15]:
        capture = cv2.VideoCapture(str(path))
        for index in range(12):
            ok, image = capture.read()
            assert ok, path.name
            cut = detector.push(np.asarray(image, np.uint8))
            frames += 1
            if index:
                false += [(path.name, index)] if cut else []
            elif frames > 1:
                joints.append(cut)
        capture.release()
    assert np.mean(joints) >= 0.9, joints
    assert not false
