"""Meters: the times of the last seconds, and of no others."""

from __future__ import annotations

import numpy as np

from uva_edge.runtimes.view.meters import STAGES, WINDOW_S, Meters


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_was_measured_yet() -> None:
    assert Meters().reading() == {"stages": dict.fromkeys(STAGES), "fps": 0.0, "source_fps": 0.0}


def test_percentiles_and_rate_of_what_was_measured() -> None:
    clock = Clock()
    meters = Meters(clock)
    times = np.linspace(0.001, 0.1, 40)
    for seconds in times:
        clock.now += 0.05
        meters.add("predict", float(seconds))
    for _ in range(9):
        clock.now += 0.02
        meters.add("read", 0.001)
    reading = meters.reading()
    expected = np.percentile(times, [50, 95]) * 1000
    np.testing.assert_allclose(reading["stages"]["predict"], expected, atol=0.001)
    assert reading["stages"]["draw"] is None
    assert reading["fps"] == 20.0
    assert reading["source_fps"] == 50.0


def test_what_is_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    meters = Meters(clock)
    meters.add("read", 1.0)
    clock.now = WINDOW_S + 0.1
    meters.add("read", 0.002)
    assert meters.reading()["stages"]["read"] == [2.0, 2.0]


def test_a_switch_begins_anew() -> None:
    meters = Meters()
    with meters.timed("encode"):
        pass
    assert meters.reading()["stages"]["encode"] is not None
    meters.clear()
    assert meters.reading()["stages"]["encode"] is None


def test_a_reading_is_kept_for_a_while() -> None:
    clock = Clock()
    meters = Meters(clock)
    before = meters.reading()
    meters.add("draw", 0.5)
    assert meters.reading() is before
    clock.now += 0.3
    assert meters.reading()["stages"]["draw"] == [500.0, 500.0]
