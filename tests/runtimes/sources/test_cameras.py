"""Local cameras, on a driver that stands in."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner
from media import FakeCapture

from uva_edge.cli import main
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


def test_the_command_tells_what_a_camera_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [5000.0, 5100.0, 5200.0, 5500.0, 5600.0]
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture(stamps, size=(32, 24)))
    words = ["predict", "0", "--save", "npy", "--bundle", "uva-32", "--backend", "onnxruntime", "--json"]
    result = CliRunner().invoke(main, [*words, "-o", str(tmp_path)])
    assert result.exit_code == 3, result.stderr
    assert "camera 0: 2 frames dropped\n" in result.stderr
    assert "camera 0 stopped after 5 frames" in result.stderr
    report = json.loads(result.stdout)
    assert (report["dropped"], report["reconnects"], report["lost_seconds"]) == (2, 0, 0.0)


# --- names


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys/class/video4linux with two like cameras, one of which has a second node, and a third one."""
    root = tmp_path / "video4linux"
    for number, name, index in (
        (0, "Arducam IMX477: Arducam", 0),
        (1, "Arducam IMX477: Arducam", 1),
        (2, "HD Webcam", 0),
        (3, "HD Webcam", 1),
        (10, "HD Webcam", 0),
        (11, "HD", 0),
    ):
        (root / f"video{number}").mkdir(parents=True)
        (root / f"video{number}" / "name").write_text(f"{name}\n")
        (root / f"video{number}" / "index").write_text(f"{index}\n")
    (root / "v4l-subdev0").mkdir()
    monkeypatch.setattr(camera, "_SYSFS", root)
    return root


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("camera:Arducam", 0),
        ("v4l2:arducam imx477: arducam", 0),
        ("camera:hd", 11),  # the whole name of one, a part of the others'
        ("7", 7),
        ("/dev/video12", 12),
    ],
)
def test_a_camera_is_found(devices: Path, text: str, number: int) -> None:
    assert camera.camera_number(text) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "camera:webcam",
            r"several cameras fit the name 'webcam'; there are 2 \(HD Webcam\), 10 \(HD Webcam\); give",
        ),
        (
            "camera:Logitech",
            r"no camera fits the name 'Logitech'; there are 0 \(Arducam IMX477: Arducam\), 2 \(HD",
        ),
        ("v4l2:", "no camera fits the name ''"),
        ("/dev/v4l/by-id/usb-none", "leads to no camera; there are 0"),
    ],
)
def test_a_name_that_is_not_one_camera_s_lists_them(devices: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(text)


def test_no_cameras_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_SYSFS", tmp_path / "none")
    with pytest.raises(SourceError, match="there is no camera here"):
        open_source("camera:any")


def test_a_path_by_id_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "by-id" / "usb-Arducam-index0"
    link.parent.mkdir()
    link.symlink_to("/dev/video42")
    monkeypatch.setattr(camera, "_LINK", f"{tmp_path}/")
    assert camera.camera_number(str(link)) == 42


def test_the_latest_frame_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may drop some; what is given is in order and stamped by the driver, and every frame is accounted for."""
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture([5000.0 + 100 * i for i in range(40)]))
    with open_source("0", latest=True) as source:
        frames = list(source)
    seen = [int(frame.image[0, 0, 0]) for frame in frames]
    assert seen == sorted(set(seen))
    assert seen[-1] == 39
    assert len(seen) + source.dropped == 40
    assert [frame.time for frame in frames] == pytest.approx([value / 10 for value in seen])
