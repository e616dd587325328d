"""What holds for every source: it is read once, its time goes forward, its options are checked."""

from __future__ import annotations

import itertools
import math
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import FRAMES, FakeCapture, write_image

from uva_edge.errors import MissingPackageError, OptionError, SourceError
from uva_edge.runtimes.sources import Picture, Source, open_source


def test_max_frames_is_an_end_like_any_other(videos: dict[str, Path]) -> None:
    with open_source(videos["mp4"], max_frames=5) as source:
        assert (source.frame_count, source.expected) == (FRAMES, 5)
        assert [frame.index for frame in source] == [0, 1, 2, 3, 4]
    assert source.problem is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), min_size=1, max_size=30))
def test_time_is_finite_and_never_decreases_whatever_the_stamps(stamps: list[float | None]) -> None:
    pictures = iter([Picture(np.ones((2, 2, 3), np.uint8), stamp, "x") for stamp in stamps])

    class Reader:
        def read(self) -> Any:
            return next(pictures, None)

        def problem(self, frames: int, seconds: float) -> None: ...

        def close(self) -> None: ...

    times = [frame.time for frame in Source(Reader(), "video", "x")]
    assert len(times) == len(stamps)
    assert all(math.isfinite(value) and value >= 0 for value in times)
    assert all(a < b for a, b in itertools.pairwise(times))


def test_source_is_read_once_and_not_after_close(videos: dict[str, Path]) -> None:
    source = open_source(videos["avi"])
    assert len(list(source)) == FRAMES
    with pytest.raises(SourceError, match="open it again"):
        iter(source)
    source.close()
    source.close()
    with pytest.raises(SourceError, match="was closed already"):
        iter(source)
    source = open_source(videos["avi"])
    frames = iter(source)
    next(frames)
    source.close()
    with pytest.raises(SourceError, match="closed while it was read, after 1 frames"):
        next(frames)


def test_places_without_a_source_say_why(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    os.mkfifo(tmp_path / "pipe")
    for spec, message in {
        tmp_path / "none.mp4": "does not exist",
        tmp_path: "folder without images",
        tmp_path / "pipe": "device, pipe or socket",
        tmp_path / "notes.txt" / "x": "can't be read: Not a directory",
        "": "no path",
        "a\0b": "no path",
        "ftp://host/clip.mp4": "scheme ftp is not supported",
        "file:///etc/passwd": "plain path",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(spec)


def test_permission_denied_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png", 5)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode stops
    with pytest.raises(SourceError, match="permission denied"):
        open_source(path)


@pytest.mark.parametrize(
    "arguments", [{"max_frames": 0}, {"max_frames": True}, {"max_frames": 2.0}, {"threads": 0}]
)
def test_options_out_of_range(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(arguments))} must be a whole number"):
        open_source(tmp_path, **arguments)


def test_a_number_that_is_no_text_is_explained() -> None:
    with pytest.raises(OptionError, match='as text \\("0"\\), got 0'):
        open_source(0)  # type: ignore[arg-type]


def test_a_bag_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n")
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'uva-edge\[ros\]'"):
        open_source(tmp_path / "a.bag")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("clip.mp4", {"fps": 5}, "fps is for images and raw video, which have no clock"),
        ("clip.mp4", {"latest": True}, "whose frames all count"),
        ("clip.mp4", {"topic": "/a"}, "a topic is of a ROS bag"),
        ("0", {"fps": 5}, "fps is for images"),
        ("rtsp://host/a", {"topic": "/a"}, "a topic is of a ROS bag"),
        ("a.bag", {"fps": 5}, "fps is for images"),
    ],
)
def test_options_that_mean_nothing_for_a_source(
    videos: dict[str, Path], tmp_path: Path, name: str, arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n")
    path = {"clip.mp4": videos["mp4"], "a.bag": tmp_path / "a.bag"}.get(name, name)
    with pytest.raises(OptionError, match=message):
        open_source(path, **arguments)


def test_huge_frames_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture([0.0], size=(20000, 10000))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    with pytest.raises(SourceError, match="20000x10000"):
        open_source("0")
    assert capture.position == -1
    assert capture.released
