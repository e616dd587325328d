"""Live sources: the newest frame, and connections that come back. Time is a clock that the tests set."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from uva_edge.errors import SourceError
from uva_edge.runtimes.sources import Losses, Picture, Source, live
from uva_edge.runtimes.sources.live import Latest, Reconnecting, Retry


class Gated:
    """A reader whose pictures (or errors) are let through one by one."""

    def __init__(self, items: list[Picture | Exception | None]) -> None:
        self._items = iter(items)
        self._gate = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)
        self.closed = False

    def open(self, count: int) -> None:
        self._gate.release(count)

    def expect_reads(self, count: int) -> None:
        """Waits until `read` was called so many times more."""
        for _ in range(count):
            assert self.taken.acquire(timeout=10)

    def read(self) -> Picture | None:
        self.taken.release()
        assert self._gate.acquire(timeout=10)
        item = next(self._items, None)
        if isinstance(item, Exception):
            raise item
        return item

    def problem(self, frames: int, seconds: float) -> str | None:
        return f"ended after {frames}"

    def close(self) -> None:
        self.closed = True


def picture(value: int, seconds: float | None = None) -> Picture:
    return Picture(np.full((2, 2, 3), value, np.uint8), seconds, "x")


def values(frames: Iterator[Any]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def test_the_newest_frame_is_given_and_the_others_are_counted() -> None:
    reader, losses = Gated([picture(value, value / 10) for value in range(8)]), Losses()
    reader.open(1)
    source = Source(Latest(reader, losses), "camera", "x", live=True, losses=losses)
    frames = iter(source)
    assert values(itertools.islice(frames, 1)) == [0]
    reader.expect_reads(2)
    for read in range(4):  # 1 to 4 come, and somebody looks only then
        reader.open(1)
        reader.expect_reads(1)
        assert source.dropped == read
    frame = next(frames)
    assert (int(frame.image[0, 0, 0]), frame.index, source.dropped) == (4, 1, 3)
    assert frame.time == 0.4  # the camera's own
    reader.open(9)
    source.close()
    assert reader.closed


@pytest.mark.parametrize("items", [1, 5])
def test_every_frame_is_given_to_who_is_fast_and_the_end_comes_after_them(items: int) -> None:
    reader, losses = Gated([picture(value) for value in range(items)]), Losses()
    reader.open(1)
    source = Source(Latest(reader, losses), "camera", "x", live=True, losses=losses)
    seen = []
    for frame in source:
        seen.append(int(frame.image[0, 0, 0]))
        reader.open(1)
    assert seen == list(range(items))
    assert (source.problem, source.dropped) == (f"ended after {items}", 0)
    source.close()


def test_what_the_reader_raises_is_raised_where_its_frame_would_be() -> None:
    reader, losses = Gated([picture(0), SourceError("the lens fell off")]), Losses()
    reader.open(1)
    with Source(Latest(reader, losses), "camera", "x", live=True, losses=losses) as source:
        frames = iter(source)
        assert values(itertools.islice(frames, 1)) == [0]
        reader.open(1)
        with pytest.raises(SourceError, match="lens"):
            next(frames)
    assert reader.closed


# --- connections


class Clock:
    """`time.monotonic`, and the waiting of a connection, without waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        monkeypatch.setattr(live.time, "monotonic", lambda: self.now)

        def wait(event: threading.Event, timeout: float) -> bool:
            self.waits.append(timeout)
            self.now += timeout
            return event.is_set()

        monkeypatch.setattr(live.threading.Event, "wait", wait)


class Session:
    """A connection that gives pictures at 10 per second and then ends."""

    def __init__(self, clock: Clock, first: int, count: int) -> None:
        self._clock, self._next, self._left, self.start = clock, first, count, 0
        self.closed = False

    def read(self) -> Picture | None:
        if not self._left:
            return None
        self._left -= 1
        self._clock.now += 0.1
        self._next, self.start = self._next + 1, self.start + 1
        return picture(self._next - 1, 0.5 + (self.start - 1) / 10)

    def problem(self, frames: int, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_lost_connection_is_found_again_and_time_goes_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = [Session(clock, 0, 3), Session(clock, 3, 0), Session(clock, 3, 2)]
    later: list[Any] = [None, sessions[1], sessions[2]]
    losses = Losses()
    reader = Reconnecting(
        sessions[0], lambda: later.pop(0) if later else None, "rtsp://host/a", losses, Retry()
    )
    with caplog.at_level(logging.WARNING), Source(reader, "stream", "x", live=True, losses=losses) as source:
        frames = list(source)
    assert values(iter(frames)) == [0, 1, 2, 3, 4]
    # Nobody answers, one answers without a picture, then it goes on: 0.5 + 1 + 2 s of waiting and 0.1 s for a picture.
    assert [frame.time for frame in frames] == pytest.approx([0.5, 0.6, 0.7, 0.7 + 3.6, 0.7 + 3.7])
    assert (losses.reconnects, losses.seconds) == (1, pytest.approx(3.6))
    assert all(session.closed for session in sessions)
    assert "rtsp://host/a: lost after 3 frames" in caplog.text
    assert "connected again; 3.6 s are missing" in caplog.text


def test_waits_are_longer_each_time_and_end(clock: Clock) -> None:
    losses = Losses()
    retry = Retry(first=1, longest=4, give_up=20)
    reader = Reconnecting(Session(clock, 0, 2), lambda: None, "rtsp://host/a", losses, retry)
    with Source(reader, "stream", "x", live=True, losses=losses) as source:
        assert values(iter(source)) == [0, 1]
    assert clock.waits == [1, 2, 4, 4, 4, 4, 4]
    assert source.problem == (
        "rtsp://host/a stopped after 2 frames: ended by the sender, or cut off, and did not come back in 20 s "
        "(7 attempts)"
    )
    assert losses == Losses()


def test_a_connection_that_never_gave_anything_is_an_error_at_once(clock: Clock) -> None:
    reader = Reconnecting(Session(clock, 0, 0), pytest.fail, "rtsp://host/a", Losses(), Retry())
    with pytest.raises(SourceError, match="no frame can be decoded"):
        Source(reader, "stream", "x", live=True)
    assert clock.waits == []


def test_an_error_while_connecting_is_told_and_tried_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([SourceError("frames of 99999x99999"), Session(clock, 1, 1)])

    def connect() -> Any:
        answer = next(answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = Reconnecting(Session(clock, 0, 1), connect, "rtsp://host/a", Losses(), Retry())
    with caplog.at_level(logging.WARNING), Source(reader, "stream", "x", live=True) as source:
        assert values(iter(source)) == [0, 1]
    assert "frames of 99999x99999" in caplog.text


def test_closing_ends_the_waiting_of_a_thread() -> None:
    """Without the fake clock: closed within the first wait, which would be an hour."""
    reader: Any = Gated([picture(0), None])
    reader.open(2)
    losses = Losses()
    retry = Retry(first=3600, longest=3600, give_up=3600)
    source = Source(
        Latest(Reconnecting(reader, pytest.fail, "x", losses, retry), losses),
        "stream",
        "x",
        live=True,
        losses=losses,
    )
    source.close()
    assert reader.closed
