"""Movies are read as they are: turned, odd, of a variable rate, with sound, damaged; what is none says why."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import SourceError
from uva_edge.runtimes.video.movie import Movie, is_frame, open_movie, picture

Make = Callable[..., Path]
TURNS = {"upright": (1, 0, 0, 1), "right": (0, 1, -1, 0), "half": (-1, 0, 0, -1), "left": (0, -1, 1, 0)}


def turned(path: Path, turn: tuple[int, int, int, int]) -> Path:
    """Write a display matrix into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in turn)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def frames_of(movie: Movie) -> list[Any]:
    return [item for item in movie if is_frame(item)]


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_upright_as_opencv_has_them(
    turn: str, tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]
) -> None:
    path = turned(make_movie(tmp_path / "turned.mp4", flight[:3]), TURNS[turn])
    expected = cv2.VideoCapture(str(path)).read()[1]
    assert expected is not None
    with open_movie(path) as movie:
        assert movie.size == (expected.shape[1], expected.shape[0])
        found = picture(frames_of(movie)[0])
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert (movie.size[0] < movie.size[1]) == (turn in ("right", "left"))


@pytest.mark.parametrize("size", [(31, 48), (32, 47), (33, 47)])
def test_an_odd_side_gets_its_last_line_twice(
    size: tuple[int, int], tmp_path: Path, make_movie: Make
) -> None:
    def full_chroma(stream: Any) -> None:
        stream.pix_fmt = "yuv444p"  # which may be odd

    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path = make_movie(tmp_path / "odd.mp4", [image] * 3, prepare=full_chroma)
    with open_movie(path) as movie:
        assert movie.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        pictures = [frame.to_ndarray() for frame in frames_of(movie)]
    assert len(pictures) == 3
    for found in pictures:
        if size[0] % 2:
            np.testing.assert_array_equal(found[..., -1], found[..., -2])
        if size[1] % 2:
            np.testing.assert_array_equal(found[:, -1], found[:, -2])


def test_time_stamps_of_a_variable_rate_are_kept(
    tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]
) -> None:
    stamps = [0, 0.04, 0.08, 0.28, 0.32, 0.5, 0.9, 0.94]
    with open_movie(make_movie(tmp_path / "vfr.mp4", flight[:8], stamps=stamps)) as movie:
        found = [float(frame.pts * frame.time_base) for frame in frames_of(movie)]
        assert movie.problem is None
    np.testing.assert_allclose(found, stamps, atol=1e-3)


def test_sound_comes_between_the_frames(tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]) -> None:
    with open_movie(make_movie(tmp_path / "sound.mp4", flight, sound="aac")) as movie:
        assert [stream.codec_context.name for stream in movie.sound] == ["aac"]
        kinds = [is_frame(item) for item in movie]
    assert sum(kinds) == len(flight)
    assert len(kinds) - sum(kinds) > 10
    assert movie.problem is None


def test_a_truncated_movie_gives_what_it_holds(tmp_path: Path, make_movie: Make, scene: Any) -> None:
    whole = make_movie(tmp_path / "whole.mkv", [frame.image for frame in scene.frames(24)])
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    with open_movie(tmp_path / "cut.mkv") as movie:
        found = frames_of(movie)
    assert 3 <= len(found) < 24
    assert movie.problem is not None
    assert "truncated" in movie.problem


def test_damage_in_the_middle_is_told(tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]) -> None:
    path = make_movie(tmp_path / "hit.mkv", flight)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data) * 2 // 3, 7):
        data[at] ^= 0x55
    path.write_bytes(data)
    with open_movie(path) as movie:
        found = frames_of(movie)
    assert 1 <= len(found) <= len(flight)
    assert movie.problem is not None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.mp4", None, "does not exist"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"not a video" * 99, "no video"),
        ("list.mp4", b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "playlist"),
        ("head.mp4", b"\0\0\0\x20ftypisom" + b"\0" * 500, "can't be opened as a video"),
        ("noise.mkv", b"\x1aE\xdf\xa3" + bytes(range(256)) * 9, "can't be opened as a video"),
    ],
)
def test_what_is_no_movie_says_why(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words) as raised:
        open_movie(tmp_path / name)
    assert name in str(raised.value)


def test_a_folder_and_sound_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        open_movie(tmp_path)
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="it has no video"):
        open_movie(path)


def test_a_file_opens_nothing_but_itself(tmp_path: Path) -> None:
    """A concat script under a video's name: its first bytes give it away, whatever FFmpeg would do."""
    (tmp_path / "script.mp4").write_bytes(b"ffconcat version 1.0\nfile /etc/hostname\n")
    with pytest.raises(SourceError, match="playlist"):
        open_movie(tmp_path / "script.mp4")


def test_declared_rate_and_shape(tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]) -> None:
    def anamorphic(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = make_movie(tmp_path / "wide.mp4", flight[:4], rate=Fraction(50), prepare=anamorphic)
    with open_movie(path) as movie:
        assert (movie.rate, movie.shape, movie.frame_count) == (50, Fraction(4, 3), 4)
    with open_movie(turned(path, TURNS["right"])) as movie:
        assert movie.shape == Fraction(3, 4)
