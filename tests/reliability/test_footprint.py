"""The judge of memory: what grows is told, what only settles or jitters is not."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.runtimes.bench.footprint import BLOCKS, LARGEST_GROWTH, Footprint, Samples, footprint, theil_sen

MINUTES = 96 / 60
"""What is judged of two minutes."""


def judged(memory: np.ndarray, minutes: float = MINUTES) -> bool:
    samples = Samples()
    for second, value in zip(np.linspace(24, 24 + 60 * minutes, len(memory)), memory, strict=True):
        samples.add(float(second), Footprint(float(value), 7, 5))
    trends = {trend.name: trend for trend in samples.trends()}
    assert list(trends) == ["memory", "descriptors", "threads"]
    assert trends["descriptors"].steady
    assert trends["threads"].steady
    assert trends["memory"].low <= trends["memory"].per_hour <= trends["memory"].high
    return trends["memory"].steady


def test_the_footprint_is_of_this_process() -> None:
    before = footprint()
    assert before.memory > 20
    ballast = np.ones(64 << 20, np.uint8)
    pipe, end = os.pipe(), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    during = footprint()
    end.set()
    thread.join()
    for descriptor in pipe:
        os.close(descriptor)
    assert 60 < during.memory - before.memory < 80, ballast.size
    assert during.descriptors == before.descriptors + 2
    assert during.threads == before.threads + 1


def test_free_memory_does_not_count() -> None:
    """Small blocks come from the heap, which glibc keeps when they are freed, as far as the last one that is held."""
    before = footprint().memory
    blocks = [np.ones(10_000, np.uint8) for _ in range(4000)]
    held = footprint().memory - before
    last = blocks[-1]
    del blocks
    assert held > 35
    assert footprint().memory - before < 10, last.size


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_steady(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert judged(150 + random.normal(0, 8, 480))
    walk = np.clip(np.cumsum(random.normal(0, 1, 480)), -10, 10)  # settles nowhere, and stays within bounds
    assert judged(150 + walk)


def test_a_step_and_a_peak_are_steady() -> None:
    step = np.full(480, 150.0)
    step[200:] += 40
    assert judged(step)
    peak = np.full(480, 150.0)
    peak[300:330] += 500
    assert judged(peak)


@pytest.mark.parametrize("fps", [20, 100, 1000])
def test_a_map_a_frame_is_told_within_two_minutes(fps: int) -> None:
    """16 KB, at 64x64; with all the jitter of a run."""
    seconds = np.linspace(0, 60 * MINUTES, 480)
    jitter = np.random.default_rng(fps).normal(0, 5, 480)
    assert not judged(150 + jitter + seconds * fps * 16384 / 2**20)


def test_an_hour_tells_a_leak_that_two_minutes_miss() -> None:
    per_hour = 2 * LARGEST_GROWTH.memory
    assert judged(150 + np.linspace(0, per_hour * MINUTES / 60, 480))
    assert not judged(150 + np.linspace(0, per_hour, 480), minutes=60)


def test_falling_memory_is_steady() -> None:
    assert judged(np.linspace(900, 100, 480))


def test_few_samples_are_no_verdict() -> None:
    samples = Samples()
    for second in range(2 * BLOCKS - 1):
        samples.add(second, Footprint(1, 1, 1))
    assert samples.trends() == ()
    samples.add(99, Footprint(1, 1, 1))
    assert len(samples.trends()) == 3


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=BLOCKS, max_size=BLOCKS, unique=True),
    start=st.floats(0, 100),
)
@settings(deadline=None)
def test_the_slope_is_that_of_scipy(values: list[float], start: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="needs the extra 'test'")
    places = [start + 0.5 * place for place in range(BLOCKS)]
    expected = stats.theilslopes(values, places)
    found = (expected.slope, expected.low_slope, expected.high_slope)
    assert theil_sen(places, values) == pytest.approx(found, abs=1e-6)
