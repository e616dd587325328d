"""Reframing: the crop is where people look, copied exactly when it rests; sizes, sound, cuts and failures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.cli import main
from uva_edge.errors import OptionError, OutputError, SourceError
from uva_edge.runtimes.video.crop import window_of
from uva_edge.runtimes.video.crop_sheet import CropSheet
from uva_edge.runtimes.video.movie_writer import Coding
from uva_edge.runtimes.video.reframe import reframe_video

Make = Callable[..., Path]
NINE_SIXTEEN = Fraction(9, 16)
FINE = Coding(crf=4, preset="veryfast")
SQUARE = Fraction(1)


def drawn(count: int, at: Callable[[int], float]) -> list[NDArray[np.uint8]]:
    """320x180: a texture with a bright disc, whose centre is at that part of the width."""
    texture = np.random.default_rng(0).integers(60, 90, (45, 80, 3), dtype=np.uint8)
    ground = np.asarray(cv2.resize(texture, (320, 180), interpolation=cv2.INTER_CUBIC), np.uint8)
    frames = []
    for index in range(count):
        frame = ground.copy()
        cv2.circle(frame, (round(320 * at(index)), 90), 14, (240, 240, 240), -1)
        frames.append(frame)
    return frames


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("live", [False, True], ids=["offline", "live"])
def test_the_crop_is_where_people_look(live: bool, tmp_path: Path, make_movie: Make, looker: Any) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(30, lambda _: 0.75), sound="aac")
    report = reframe_video(
        looker(lambda _: (0.75, 0.5)),
        source,
        tmp_path / "out.mp4",
        aspect=NINE_SIXTEEN,
        live=live,
        coding=FINE,
    )
    assert (report.frames, report.size, report.cuts, report.problem) == (30, (102, 180), 0, None)
    assert report.kept > 0.85
    assert report.kept_centred < 0.3
    frames = decoded(report.output)
    assert len(frames) == 30
    for frame in frames:
        columns = np.flatnonzero(frame[90, :, 1] > 180)
        assert abs(columns.mean() - 51) < 6, "the disc is in the middle of the crop"
    with av.open(str(report.output)) as container:
        assert len(container.streams.audio) == 1


def test_a_crop_that_rests_copies_the_pixels(tmp_path: Path, make_movie: Make, looker: Any) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(6, lambda _: 0.3))
    out = reframe_video(
        looker(lambda _: (0.3, 0.5)), source, tmp_path / "out.mkv", aspect=SQUARE, coding=replace(FINE, crf=0)
    ).output
    with av.open(str(source)) as before, av.open(str(out)) as after:
        for whole, part in zip(before.decode(video=0), after.decode(video=0), strict=True):
            luma = whole.to_ndarray()[:180]
            crop = part.to_ndarray()[:180]
            assert any((luma[:, x : x + 180] == crop).all() for x in range(0, 141, 2))


@pytest.mark.parametrize("live", [False, True], ids=["offline", "live"])
def test_the_crop_goes_with_what_moves_and_jumps_at_a_cut(
    live: bool, tmp_path: Path, make_movie: Make, looker: Any
) -> None:
    def at(index: int) -> float:
        return 0.2 + 0.5 * index / 60 if index < 60 else 0.15

    frames = drawn(60, at) + [255 - frame for frame in drawn(30, lambda _: 0.15)]
    source = make_movie(tmp_path / "in.mp4", frames)
    eye = looker(lambda index: (at(index), 0.5))
    report = reframe_video(eye, source, tmp_path / "out.mp4", aspect=NINE_SIXTEEN, live=live, coding=FINE)
    assert report.cuts == 1
    assert eye.resets == 1
    found = decoded(report.output)
    assert all((frame[90] > 180).any() for frame in found[:60]), "the disc is never lost"
    dark = [np.flatnonzero(frame[90, :, 1] < 90) for frame in found[60:]]
    assert all(len(columns) and abs(columns.mean() - 48) < 10 for columns in dark), "there at once"


def test_taller_than_the_picture_moves_up_and_down(tmp_path: Path, make_movie: Make, looker: Any) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(5, lambda _: 0.5))
    eye = looker(lambda _: (0.5, 0.9))
    report = reframe_video(eye, source, tmp_path / "out.mp4", aspect=Fraction(21, 9), coding=FINE)
    assert report.size == (320, 138)
    assert report.kept > report.kept_centred + 0.2


@pytest.mark.parametrize("size", [(90, 160), (360, 640)])
def test_the_size_is_what_is_asked_for(
    size: tuple[int, int], tmp_path: Path, make_movie: Make, looker: Any
) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(4, lambda _: 0.25))
    report = reframe_video(looker(), source, tmp_path / "out.mp4", size=size, coding=FINE)
    assert report.size == size
    frame = decoded(report.output)[0]
    assert frame.shape == (size[1], size[0], 3)
    columns = np.flatnonzero(frame[size[1] // 2, :, 1] > 180)
    assert columns.mean() == pytest.approx(size[0] / 2, abs=0.06 * size[0])
    assert len(columns) == pytest.approx(29 * size[1] / 180, rel=0.1)


def test_two_passes_take_one_path(tmp_path: Path, make_movie: Make, looker: Any) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(40, lambda index: 0.2 + index / 80))
    sheet = CropSheet()
    seen: list[tuple[int, int | None]] = []
    report = reframe_video(
        looker(lambda index: (0.2 + index / 80, 0.5)),
        source,
        tmp_path / "out.mp4",
        aspect=SQUARE,
        live=True,
        sheet=sheet,
        coding=Coding(crf=None, bitrate=200_000, preset="veryfast"),
        progress=lambda now: seen.append((now.frames, now.total)),
    )
    assert report.frames == 40
    assert seen[-1] == (80, 80)
    assert sheet.seen == 40, "of one pass"
    assert all((frame[90] > 180).any() for frame in decoded(report.output))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_turned_and_stretched_movie_has_the_shape_that_is_seen() -> None:
    assert window_of((320, 180), Fraction(1), NINE_SIXTEEN, None).size == (102, 180)
    # Pixels twice as wide as high: the picture is seen as 640x180, so half as many columns are a square.
    assert window_of((320, 180), Fraction(2), SQUARE, None).size == (90, 180)


@settings(deadline=None, max_examples=60)
@given(
    picture=st.tuples(st.integers(40, 2000), st.integers(40, 2000)),
    aspect=st.fractions(Fraction(1, 3), Fraction(3), max_denominator=40),
)
def test_the_window_is_the_largest_of_its_shape(picture: tuple[int, int], aspect: Fraction) -> None:
    even = (picture[0] * 2, picture[1] * 2)
    window = window_of(even, Fraction(1), aspect, None)
    assert window.size[1 - window.axis] == even[1 - window.axis]
    assert 16 <= window.extent <= window.length == even[window.axis]
    assert window.extent % 2 == 0
    other = window.size[1 - window.axis]
    ideal = other * aspect if window.axis == 0 else other / aspect
    assert abs(window.extent - ideal) <= 1
    assert window.output == window.size


@pytest.mark.parametrize(
    ("aspect", "size", "words"),
    [
        (None, None, "aspect, such as 9:16"),
        (Fraction(1, 11), None, "from 1:10 to 10:1"),
        (None, (101, 180), "even"),
        (None, (14, 32), "from 16"),
        (SQUARE, (90, 160), "leave one of them out"),
        (Fraction(1, 10), None, "is 4x40"),
    ],
)
def test_windows_that_are_none(aspect: Fraction | None, size: tuple[int, int] | None, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        window_of((40, 40), Fraction(1), aspect, size)


def test_whatever_is_raised_nothing_is_left(tmp_path: Path, make_movie: Make, looker: Any) -> None:
    source = make_movie(tmp_path / "in.mp4", drawn(8, lambda _: 0.5))

    def breaks(frame: int) -> tuple[float, float]:
        if frame == 5:
            raise KeyboardInterrupt
        return 0.5, 0.5

    for live in (False, True):
        with pytest.raises(KeyboardInterrupt):
            reframe_video(looker(breaks), source, tmp_path / "out.mp4", aspect=SQUARE, live=live)
    with pytest.raises(OptionError, match="is the source"):
        reframe_video(looker(), source, source, aspect=SQUARE)
    with pytest.raises(OutputError, match="create its folder"):
        reframe_video(looker(), source, tmp_path / "no" / "out.mp4", aspect=SQUARE)
    with pytest.raises(SourceError, match="does not exist"):
        reframe_video(looker(), tmp_path / "absent.mp4", tmp_path / "out.mp4", aspect=SQUARE)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("count", [1, 5, 47, 300])
def test_a_sheet_has_evenly_spread_frames(count: int) -> None:
    window = window_of((64, 36), Fraction(1), SQUARE, None)
    sheet = CropSheet(6)
    for index in range(count):
        whole = av.VideoFrame.from_ndarray(np.full((36, 64, 3), index % 256, np.uint8), format="bgr24")
        part = av.VideoFrame.from_ndarray(np.full((36, 36, 3), index % 256, np.uint8), format="bgr24")
        sheet.show(whole, part, window, 10.0)
    picture = sheet.drawn()
    columns = min(count, 6)
    assert picture.shape[1] == columns * (320 + 6) + 6
    assert picture.shape[0] == 2 * (180 + 18 + 6) + 6
    values = [int(picture[6 + 90, 6 + (320 + 6) * column + 130, 0]) for column in range(columns)]
    gaps = np.diff(values)
    if 1 < count < 256:
        assert gaps.max() <= 1.35 * gaps.min() + 1, values


# --- the command


def run(*words: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(main, [os.fspath(word) for word in words])


def test_the_command_writes_video_and_sheet(
    tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8], bundle: Bundle
) -> None:
    source, out, sheet = make_movie(tmp_path / "in.mp4", flight), tmp_path / "out.mp4", tmp_path / "sheet.png"
    result = run(
        "reframe", source, out, "--aspect", "9:16", "--sheet", sheet, "--bundle", bundle.location, "--json"
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["frames"], report["size"], report["cuts"]) == (12, [102, 180], 0)
    assert 0 < report["kept"] <= 1
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.std() > 10
    told = run("reframe", source, out, "--size", "180x180", "--live", "--bundle", bundle.location)
    assert "of attention kept" in told.stderr
    assert told.stdout.strip() == str(out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give an aspect"),
        (("--aspect", "tall"), "--aspect must be two numbers"),
        (("--aspect", "9:0"), "--aspect must be two numbers"),
        (("--size", "1080"), "--size must be two numbers"),
        (("--size", "101x180"), "even"),
        (("--aspect", "9:16", "--bitrate", "x"), "--bitrate must be"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(
    words: Sequence[str],
    message: str,
    tmp_path: Path,
    make_movie: Make,
    flight: NDArray[np.uint8],
    bundle: Bundle,
) -> None:
    source = make_movie(tmp_path / "in.mp4", flight[:2])
    result = run("reframe", source, tmp_path / "out.mp4", "--bundle", bundle.location, *words)
    assert result.exit_code == 1, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
