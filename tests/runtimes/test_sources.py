"""Sources: every kind is read as it is, and what can't be read says why."""

from __future__ import annotations

import functools
import http.server
import itertools
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uva_edge.errors import OptionError, SourceError
from uva_edge.runtimes import sources
from uva_edge.runtimes.containers import demuxer_of, missing_bytes, playlist_kind
from uva_edge.runtimes.sources import NOMINAL_FPS, Source, open_source

FRAMES = 24
FPS = 12


def level(index: int) -> int:
    """The grey that frame `index` of a test video has; coding and colour conversion move it by a few."""
    return 30 + 8 * index


def write_video(
    path: Path, codec: str = "mpeg4", frames: int = FRAMES, size: tuple[int, int] = (96, 64)
) -> Path:
    """Noise around a grey that rises with the frames, so that each frame has bytes to lose."""
    noise = np.random.default_rng(0)
    options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = size
        stream.bit_rate, stream.gop_size = 4_000_000, 4
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(frames):
            image = level(index) + noise.integers(-30, 31, (size[1], size[0], 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        suffix: write_video(folder / f"clip.{suffix}", codec)
        for suffix, codec in {
            "mp4": "libx264",
            "mov": "mpeg4",
            "avi": "mpeg4",
            "mkv": "libx264",
            "webm": "libvpx",
            "ts": "mpeg2video",
            "flv": "flv1",
            "gif": "gif",
        }.items()
    }


def write_image(path: Path, value: int, size: tuple[int, int] = (20, 10)) -> Path:
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def cut(path: Path, part: float, target: Path) -> Path:
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * part)])
    return target


@contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A port, and the list of those who connected to it."""
    callers: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                callers.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
    thread.join()


class FakeCapture:
    """What cv2.VideoCapture gives for a camera that delivers an image at each of these stamps (ms)."""

    def __init__(self, stamps: list[float], fps: float = 10.0, size: tuple[int, int] = (8, 6)) -> None:
        self.stamps, self.fps, self.size, self.released = stamps, fps, size, False
        self.position = -1

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self.position += 1
        if self.position >= len(self.stamps):
            return False, None
        return True, np.full((self.size[1], self.size[0], 3), self.position, np.uint8)

    def get(self, prop: int) -> float:
        return {
            cv2.CAP_PROP_POS_MSEC: self.stamps[min(self.position, len(self.stamps) - 1)],
            cv2.CAP_PROP_FPS: self.fps,
            cv2.CAP_PROP_FRAME_COUNT: -1.0,
            cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
        }[prop]

    def release(self) -> None:
        self.released = True


# --- videos


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "webm", "ts", "flv", "gif"])
def test_video_gives_every_frame_in_order(videos: dict[str, Path], suffix: str) -> None:
    with open_source(videos[suffix]) as source:
        assert (source.kind, source.name, source.live) == ("video", f"clip.{suffix}", False)
        assert source.size == (96, 64)
        assert source.fps == pytest.approx(FPS, rel=0.02)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    means = [float(frame.image.mean()) for frame in frames]
    assert means == pytest.approx([level(index) for index in range(FRAMES)], abs=6), suffix
    assert {(frame.image.shape, frame.image.dtype) for frame in frames} == {((64, 96, 3), np.dtype(np.uint8))}
    assert [frame.time for frame in frames] == pytest.approx([i / FPS for i in range(FRAMES)], abs=0.02)
    assert source.problem is None
    assert not source.truncated


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "webm", "flv"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_truncated_video_gives_what_it_has_and_says_so(
    videos: dict[str, Path], tmp_path: Path, suffix: str, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_source(cut(videos[suffix], part, tmp_path / f"cut.{suffix}")) as source:
        frames = list(source)
        assert source.truncated
    assert 0.2 * FRAMES < len(frames) < FRAMES
    assert [float(frame.image.mean()) for frame in frames[:3]] == pytest.approx([30, 38, 46], abs=6)
    assert source.problem is not None
    assert source.problem.startswith(
        f"decoded {len(frames)} of {source.frame_count} frames; the file is truncated"
    )
    assert capfd.readouterr() == ("", "")


def test_one_missing_frame_at_the_cut_end_is_reported(videos: dict[str, Path], tmp_path: Path) -> None:
    with open_source(cut(videos["mp4"], 0.97, tmp_path / "cut.mp4")) as source:
        count = sum(1 for _ in source)
    assert FRAMES - 3 <= count < FRAMES
    assert source.truncated


def test_whole_video_in_a_longer_sound_track_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for index in range(FRAMES):
            image = np.full((48, 64, 3), level(index), np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(picture.encode())
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000 * FRAMES // FPS + 1000), np.int16), "s16", "mono"
        )
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with open_source(path) as source:
        frames = list(source)
        assert source.frame_count is not None
        assert source.frame_count > FRAMES  # the container's estimate is off
    assert len(frames) == FRAMES
    assert source.problem is None


@pytest.mark.parametrize(
    ("frames", "seconds", "fps", "damaged"),
    [
        (120, 4.0, 30, False),
        (109, 3.6, 30, False),
        (100, 3.3, 30, True),
        (40, 3.97, 30, False),
        (40, 1, None, True),
    ],
)
def test_rule_for_a_container_of_unknown_length(
    frames: int, seconds: float, fps: float | None, damaged: bool
) -> None:
    capture: Any = type("Capture", (), {"fps": fps, "name": "x"})
    problem = sources._Video(capture, 120).problem(frames, seconds)
    assert problem == (
        f"decoded {frames} of 120 frames; the file is truncated or damaged" if damaged else None
    )


def test_max_frames_is_an_end_like_any_other(videos: dict[str, Path]) -> None:
    with open_source(videos["mp4"], max_frames=5) as source:
        assert (source.frame_count, source.expected) == (FRAMES, 5)
        assert [frame.index for frame in source] == [0, 1, 2, 3, 4]
    assert source.problem is None


def test_times_never_decrease_when_the_container_has_none(videos: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "raw.h264"
    with av.open(str(videos["mp4"])) as container, av.open(str(path), "w", format="h264") as raw:
        stream = raw.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                raw.mux(packet)
    with open_source(path) as source:
        assert source.frame_count is None
        times = [frame.time for frame in source]
        fps = source.fps or NOMINAL_FPS
    assert times == pytest.approx([index / fps for index in range(FRAMES)])
    assert source.problem is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), min_size=1, max_size=30))
def test_time_is_finite_and_never_decreases_whatever_the_stamps(stamps: list[float | None]) -> None:
    pictures = iter([sources.Picture(np.ones((2, 2, 3), np.uint8), stamp, "x") for stamp in stamps])

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


# --- files that are no videos


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", r"is empty \(0 bytes\)"),
        ("garbage.mp4", bytes(range(256)) * 40, "neither, or damaged"),
        ("text.txt", b"hello", "neither, or damaged"),
        ("broken.jpg", b"\xff\xd8\xff\xe0 no picture follows", "damaged or not an image"),
        ("head.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2mp41", "has no video, or was never finished"),
        (
            "cut.mp4",
            b"\0\0\0\x18ftypisom\0\0\2\0isomiso2\0\0\xff\xffmdat123",
            r"65524 bytes at its end are missing",
        ),
    ],
)
def test_unreadable_file_says_why(
    tmp_path: Path, name: str, content: bytes, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


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


def test_audio_only_file_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="it has no video"):
        open_source(path)


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


def test_huge_frames_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture([0.0], size=(20000, 10000))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    with pytest.raises(SourceError, match="20000x10000"):
        open_source("0")
    assert capture.position == -1
    assert capture.released


# --- a local file opens nothing but itself

PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "bom.m3u8": "\ufeff\n#EXTM3U\n#EXTINF:9,\n{url}\n",
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {url}\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 33\n",
    "list.mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
    "list.strm": "{url}\n",
    "list.pls": "[playlist]\nFile1={url}\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlist_is_refused_and_nobody_is_called(tmp_path: Path, name: str) -> None:
    with listening() as (port, callers):
        path = tmp_path / name
        path.write_text(PLAYLISTS[name].format(url=f"http://127.0.0.1:{port}/a.ts"), encoding="utf-8")
        with pytest.raises(SourceError, match="is a playlist"):
            open_source(path)
        time.sleep(0.05)
    assert callers == []


def test_a_playlist_past_the_first_check_is_stopped_by_ffmpeg(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wall: even if the first bytes were misjudged, FFmpeg gets one demuxer and one protocol."""
    path = tmp_path / "list.m3u8"
    path.write_text(PLAYLISTS["list.m3u8"].format(url=videos["ts"]))
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).isOpened()  # FFmpeg alone follows it
    monkeypatch.setattr(sources, "playlist_kind", lambda _: None)
    monkeypatch.setattr(sources, "demuxer_of", lambda _: "mpegts")
    with pytest.raises(SourceError, match="can't be opened"):
        open_source(path)


def test_environment_and_log_level_are_put_back(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;discardcorrupt")
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    seen = []
    real = cv2.VideoCapture

    def spy(*arguments: Any) -> Any:
        seen.append((os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"], os.environ["OPENCV_FFMPEG_LOGLEVEL"]))
        return real(*arguments)

    monkeypatch.setattr(cv2, "VideoCapture", spy)
    before = cv2.getLogLevel()
    with open_source(videos["mkv"]) as source:
        assert sum(1 for _ in source) == FRAMES
    assert seen == [("format_whitelist;matroska|protocol_whitelist;file|fflags;discardcorrupt", "-8")]
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "fflags;discardcorrupt"
    assert "OPENCV_FFMPEG_LOGLEVEL" not in os.environ
    assert cv2.getLogLevel() == before


@pytest.mark.parametrize("name", ["with space.mp4", "ü文.mp4", "a%03d.mp4", "http:x.mp4", "-i.mp4", "pipe:0"])
def test_odd_names_are_only_names(videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(videos["mp4"].read_bytes())
    with open_source(path) as source:
        assert sum(1 for _ in source) == FRAMES


def test_a_name_that_would_crash_opencv_is_refused(videos: dict[str, Path], tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff.mp4")
    with open(path, "wb") as file:
        file.write(videos["mp4"].read_bytes())
    with pytest.raises(SourceError, match="UTF-8; rename"):
        open_source(os.fsdecode(path))


# --- images


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "ppm"])
def test_image_is_a_source_of_one_frame(tmp_path: Path, suffix: str) -> None:
    with open_source(write_image(tmp_path / f"a.{suffix}", 77)) as source:
        assert (source.kind, source.size, source.fps, source.frame_count) == ("image", (20, 10), None, 1)
        (frame,) = source
    assert (frame.index, frame.time, frame.name, frame.image.shape) == (0, 0.0, f"a.{suffix}", (10, 20, 3))
    assert np.abs(frame.image.astype(int) - 77).max() <= 2
    assert source.problem is None


@pytest.mark.parametrize(("value", "expected"), [(0, (0, 0, 0)), (40000, (156, 156, 156))])
def test_deep_and_gray_images_become_bgr_bytes(tmp_path: Path, value: int, expected: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 6), value, np.uint16))
    (frame,) = open_source(tmp_path / "deep.png")
    assert (frame.image.shape, frame.image.dtype) == ((4, 6, 3), np.uint8)
    assert tuple(frame.image[0, 0]) == expected


def test_folder_is_read_in_natural_order_whatever_else_lies_there(tmp_path: Path) -> None:
    order = ["Frame1.png", "frame02.png", "frame2.png", "frame10.JPG", "frame10b.png", "other.bmp"]
    for value, name in enumerate(order):
        target = tmp_path / name
        source = write_image(tmp_path / f"tmp{target.suffix.lower()}", 20 * value, (10 + value, 8))
        source.rename(target)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._frame3.png").write_text("a resource fork")
    (tmp_path / "folder.png").mkdir()
    with open_source(tmp_path) as source:
        assert (source.kind, source.frame_count, source.size) == ("images", 6, (10, 8))
        frames = list(source)
    assert [frame.name for frame in frames] == order
    assert [frame.image.shape[1] for frame in frames] == [10, 11, 12, 13, 14, 15]
    assert [int(frame.image.mean() + 0.5) for frame in frames] == pytest.approx(
        [0, 20, 40, 60, 80, 100], abs=2
    )
    assert [frame.time for frame in frames] == pytest.approx([index / NOMINAL_FPS for index in range(6)])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_damaged_image_in_a_folder_is_named(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "a1.png", 9)
    whole = tmp_path / f"whole.{suffix}"
    cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    cut(whole, 0.6, tmp_path / f"a2.{suffix}")
    whole.unlink()
    frames = iter(open_source(tmp_path))
    assert next(frames).name == "a1.png"
    with pytest.raises(SourceError, match=rf"a2\.{suffix}"):
        next(frames)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_first_image_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.png is empty"):
        open_source(tmp_path)


# --- cameras and streams


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
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(now))
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


def test_url_is_read_and_its_password_is_not_repeated(videos: dict[str, Path]) -> None:
    with serving(videos["mp4"].parent) as address:
        url = address.replace("//", "//user:p@ss@")
        with open_source(f"{address}/clip.mp4?token=secret") as source:
            assert (source.kind, source.name, source.live) == ("stream", f"{address}/clip.mp4", False)
            assert source.frame_count == FRAMES
            assert sum(1 for _ in source) == FRAMES
            assert source.problem is None
        with pytest.raises(SourceError, match="check the address") as caught:
            open_source(f"{url}/none.mp4?token=secret")
    assert "p@ss" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_playlist_from_the_network_reaches_no_local_file(videos: dict[str, Path], tmp_path: Path) -> None:
    playlist = PLAYLISTS["list.m3u8"]
    (tmp_path / "local.m3u8").write_text(playlist.format(url=f"file://{videos['ts']}"))
    (tmp_path / "remote.m3u8").write_text(playlist.format(url="clip.ts"))
    (tmp_path / "clip.ts").write_bytes(videos["ts"].read_bytes())
    with serving(tmp_path) as address:
        with pytest.raises(SourceError, match="can't be opened"):
            open_source(f"{address}/local.m3u8")
        with open_source(f"{address}/remote.m3u8") as source:
            assert sum(1 for _ in source) == FRAMES


def test_live_stream_that_stops_is_reported() -> None:
    capture: Any = type("Capture", (), {"fps": 25.0, "name": "rtsp://host/a"})
    problem = sources._Video(capture, None, live=True).problem(7, 0.3)
    assert problem == "rtsp://host/a stopped after 7 frames: ended by the sender, or cut off"


# --- containers


@given(st.binary(max_size=600))
def test_any_bytes_are_judged_without_failing(head: bytes) -> None:
    assert demuxer_of(head) is None or playlist_kind(head) is None


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "webm"])
@pytest.mark.parametrize("missing", [0, 1, 1000])
def test_missing_bytes_are_counted(
    videos: dict[str, Path], tmp_path: Path, suffix: str, missing: int
) -> None:
    data = videos[suffix].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(data[: len(data) - missing])
    demuxer = demuxer_of(data)
    assert demuxer is not None
    assert missing_bytes(path, demuxer) == missing


@given(st.sampled_from(["mov", "avi", "matroska"]), st.binary(max_size=64))
def test_headers_of_any_bytes_end(
    tmp_path_factory: pytest.TempPathFactory, demuxer: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes({"avi": b"RIFF", "matroska": b"\x1aE\xdf\xa3"}.get(demuxer, b"") + data)
    assert missing_bytes(path, demuxer) >= 0
