"""Video files: every frame in its order, and what can't be read says why."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import FPS, FRAMES, cut, level, listening

from uva_edge.errors import SourceError
from uva_edge.runtimes.sources import NOMINAL_FPS, open_source, opening, video


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
    problem = video.Video(capture, 120).problem(frames, seconds)
    assert problem == (
        f"decoded {frames} of 120 frames; the file is truncated or damaged" if damaged else None
    )


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
    monkeypatch.setattr(opening, "playlist_kind", lambda _: None)
    monkeypatch.setattr(opening, "demuxer_of", lambda _: "mpegts")
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
