"""Local cameras, on a driver that stands in."""

from __future__ import annotations

import cv2
import pytest
from media import FakeCapture

from uva_edge.errors import SourceError
from uva_edge.runtimes.sources import camera, open_source


def test_camera_yields_every_frame_with_the_driver_s_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture([5000, 5100, 5200, 5500, 5600])  # two were not picked up in time
    opened: list[int] = []

    def open_it(number: int) -> FakeCapture:
        opened.append(number)
        return capture

    monkeypatch.setattr(cv2, "VideoCapture", open_it)
    with open_source("/dev/video3") as source:
        assert (source.kind, source.name, source.live) == ("camera", "camera 3", True)
        assert (source.fps, source.frame_count, source.path, source.expected) == (10.0, None, None, None)
        frames = list(source)
    assert opened == [3]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.5, 0.6])
    assert source.dropped == 2
    assert source.problem == "camera 3 stopped after 5 frames: unplugged, or taken by another program?"
    assert not source.truncated
    assert capture.released


def test_camera_without_a_clock_gets_times_of_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([70.0, 70.25, 71.0])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture([0, 0, 0], fps=0))
    monkeypatch.setattr(camera.time, "monotonic", lambda: next(now))
    with open_source("0", max_frames=3) as source:
        assert [frame.time for frame in source] == [0, 0.25, 1.0]
        assert source.fps is None
    assert source.dropped == 0


def test_absent_or_mute_camera_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match="camera 97 can't be opened"):
        open_source("97")
    assert capfd.readouterr() == ("", "")
    capture = FakeCapture([])
    capture.stamps = []
    monkeypatch.setattr(capture, "get", lambda _: 0.0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    with pytest.raises(SourceError, match="camera 0: no frame can be decoded"):
        open_source("0")
    assert capture.released
