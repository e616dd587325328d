"""The frames of a soak: the good ones are all good, the bad ones are all bad, and a seed brings them back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.errors import FrameError
from uva_edge.preprocess import COLORS, frame_size, network_input
from uva_edge.runtimes.bench.traffic import LARGEST, Traffic, bad_frames


def planes(frame: Any) -> tuple[Any, ...]:
    return frame if isinstance(frame, tuple) else (frame,)


@given(seed=st.integers(0, 10**6), color=st.sampled_from(COLORS))
@settings(deadline=None, max_examples=200)
def test_good_frames_are_good(seed: int, color: Any) -> None:
    traffic = Traffic(seed)
    size = traffic.size()
    frame = traffic.frame(color, size)
    width, height = frame_size(frame, color=color)
    assert height == size[1]
    assert width in (size[0], size[0] + size[0] % 2)
    assert network_input(frame, 16, color=color).shape == (16, 16, 3)


@pytest.mark.parametrize("color", COLORS)
def test_the_largest_frames_are_good(color: Any) -> None:
    for seed in range(20):
        assert frame_size(Traffic(seed).frame(color, LARGEST), color=color) == LARGEST


def test_sizes_and_layouts_are_all_there() -> None:
    traffic = Traffic(1)
    sizes = [traffic.size() for _ in range(400)]
    assert {(1, 1), LARGEST} <= set(sizes)
    assert sum(width % 2 for width, _ in sizes) > 50
    frames = [traffic.frame("bgr", (64, 48)) for _ in range(100)]
    strides = {frame.strides for frame in frames if isinstance(frame, np.ndarray)}
    assert any(stride[0] < 0 for stride in strides), "no flipped view"
    assert any(stride[1] == 6 for stride in strides), "no view of every other pixel"
    assert any(stride[2] > stride[1] for stride in strides), "none in columns"
    assert (64 * 3, 3, 1) in strides, "none that is packed"
    assert len({frame.tobytes() for frame in frames if isinstance(frame, np.ndarray)}) > 90, "all the same"


def test_a_seed_brings_the_frames_back() -> None:
    def drawn(seed: str) -> list[bytes]:
        traffic = Traffic(seed)
        frames = [traffic.frame("i420", traffic.size()) for _ in range(20)]
        return [plane.tobytes() for frame in frames for plane in planes(frame)]

    assert drawn("0/1") == drawn("0/1") != drawn("0/2")


@pytest.mark.parametrize(("color", "name"), [(color, name) for color in COLORS for name in bad_frames(color)])
def test_bad_frames_are_bad(color: Any, name: str) -> None:
    with pytest.raises(FrameError):
        network_input(bad_frames(color)[name](), 16, color=color)


@pytest.mark.parametrize("color", COLORS)
def test_every_defect_is_drawn(color: Any) -> None:
    traffic = Traffic(5)
    assert {traffic.bad(color)[0] for _ in range(1000)} == set(bad_frames(color))
