"""Playback: the source's own pace, the newest frame, laps, and whatever ends it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge.errors import SourceError
from uva_edge.runtimes.view.playback import Playback, _Clock


def test_a_file_is_played_once_when_it_is_asked_for(script: Any) -> None:
    clip = script(frames=6, file=True, remark="decoded 6 of 20 frames")
    playback = Playback(clip.open, once=True)
    playback.open()
    played = list(playback.frames())
    assert [item.lap for item in played] == [0] * len(played)
    assert played[-1].frame.index == 5, "the last frame waits for who takes it"
    assert len(played) + playback.dropped == 6
    assert (clip.opened, clip.closed) == (1, 1)
    assert playback.remark == "decoded 6 of 20 frames"
    assert not playback.loops


def test_a_file_begins_again(script: Any) -> None:
    clip = script(frames=3, file=True)
    playback = Playback(clip.open)
    playback.open()
    assert playback.loops
    laps = []
    for played in playback.frames():
        laps.append(played.lap)
        if played.lap == 2:
            playback.stop()
    assert set(laps) >= {0, 2}
    assert laps == sorted(laps)


def test_what_is_live_is_not_paced(script: Any) -> None:
    """A thousand frames at one a second would take a quarter of an hour by their clock."""
    clip = script(frames=1000, fps=1.0, live=True)
    playback = Playback(clip.open)
    playback.open()
    taken = sum(1 for _ in playback.frames())
    assert clip.given == 1000
    assert playback.dropped >= 1000 - taken  # the driver's gaps come on top


def test_only_the_newest_frame_waits(script: Any) -> None:
    clip = script(frames=20, live=True)
    playback = Playback(clip.open)
    playback.open()
    frames = playback.frames()
    first = next(frames)
    deadline = time.monotonic() + 30
    while clip.closed == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    rest = list(frames)
    assert [played.frame.index for played in rest] in ([19], []), "older ones were dropped"
    assert first.frame.index + sum(1 for _ in rest) <= 20


def test_what_the_source_raises_comes_after_its_frames(script: Any) -> None:
    clip = script(frames=4, fails="the camera is gone")
    playback = Playback(clip.open)
    playback.open()
    taken: list[int] = []
    with pytest.raises(SourceError, match="the camera is gone"):
        taken.extend(played.frame.index for played in playback.frames())
    assert taken[-1] == 3
    assert clip.closed == 1


def test_a_source_that_does_not_open_raises_at_once(script: Any) -> None:
    with pytest.raises(SourceError, match="no such thing"):
        Playback(script(refuses="no such thing").open).open()


def test_stopping_does_not_wait_for_the_source(script: Any) -> None:
    clip = script(live=True)
    clip.gate.clear()
    playback = Playback(clip.open)
    playback.open()
    frames = playback.frames()
    next(frames)
    threading.Timer(0.05, playback.stop).start()
    assert list(frames) == [], "the source still holds its thread"
    assert clip.closed == 0
    clip.gate.set()


def test_it_may_be_stopped_before_it_is_opened(script: Any) -> None:
    clip = script()
    playback = Playback(clip.open)
    playback.stop()
    playback.open()
    assert list(playback.frames()) == []
    assert playback.stopped


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.lists(st.floats(0.001, 0.4), min_size=1, max_size=30))
def test_the_clock_keeps_time_and_never_hurries(busy: list[float]) -> None:
    """Frames of 10 FPS, with work of `busy` seconds before each: never early, and late by half a second at most."""
    clock, now = _Clock(), 100.0
    zero = now + busy[0]
    for index, work in enumerate(busy):
        now += work
        now += clock.wait_s(index / 10, now)
        assert now >= zero + index / 10 - 1e-9, f"frame {index} came early"
    wait = clock.wait_s(len(busy) / 10, now)
    assert wait <= 0.1 + 1e-9, "after a delay it goes on, it does not make up for it by waiting"


def test_the_clock_goes_on_through_the_laps() -> None:
    clock = _Clock()
    assert clock.wait_s(0.0, 50.0) == 0
    assert clock.wait_s(0.1, 50.0) == pytest.approx(0.1)
    clock.begin_again(10.0)
    assert clock.wait_s(0.0, 50.1) == pytest.approx(0.1)  # one frame after the last
    clock.begin_again(None)
    assert clock.wait_s(0.0, 50.2) == pytest.approx(0.04)


def test_a_clock_that_was_held_up_goes_on_from_there() -> None:
    clock = _Clock()
    clock.wait_s(0.0, 0.0)
    assert clock.wait_s(0.1, 60.0) == 0
    assert clock.wait_s(0.2, 60.0) == pytest.approx(0.1), "the minute is not made up for"
