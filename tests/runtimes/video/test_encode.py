"""Coding anew: bits go where people look, and all else is kept; a failure leaves nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.cli import main
from uva_edge.errors import MissingPackageError, OptionError, OutputError, SourceError
from uva_edge.runtimes.video import movie_writer
from uva_edge.runtimes.video.encode import EncodeReport, encode_video
from uva_edge.runtimes.video.movie_writer import Coding

Make = Callable[..., Path]
Stamps = list[float]

H264, H265 = Coding(crf=32), Coding("libx265", crf=32)


@pytest.fixture
def flown(tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8]) -> Path:
    """Twelve frames at 320x180 with sound, in a folder of its own."""
    (tmp_path / "in").mkdir()
    return make_movie(tmp_path / "in" / "flight.mp4", flight, sound="aac")


def decoded(path: Path) -> tuple[NDArray[np.int_], Stamps]:
    """Luma of all frames, [N, H, W], and their seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.stack([frame.to_ndarray(format="gray").astype(int) for frame in frames]), [
        float(frame.pts * frame.time_base) for frame in frames
    ]


def errors(path: Path, truth: NDArray[np.int_]) -> tuple[float, float]:
    """Mean squared error where `Looker` looks, at the left, and at the right."""
    squared = (decoded(path)[0] - truth) ** 2
    return float(squared[:, 48:132, 40:120].mean()), float(squared[:, 48:132, 200:280].mean())


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (round(float(packet.pts * packet.time_base), 3), bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


# --- bits where people look


@pytest.mark.parametrize("coding", [H264, H265], ids=["libx264", "libx265"])
def test_the_error_moves_from_where_people_look_to_where_they_do_not(
    coding: Coding, tmp_path: Path, flown: Path, looker: Any
) -> None:
    truth = decoded(flown)[0]
    found = {}
    for strength in (0.0, 3.0):
        report = encode_video(looker(), flown, tmp_path / f"{strength}.mp4", coding=coding, strength=strength)
        assert report.problem is None
        assert (report.frames, report.size) == (12, (320, 180))
        assert report.bytes == report.output.stat().st_size
        assert (report.regions > 1) == (strength > 0)
        found[strength] = errors(report.output, truth)
    assert found[3.0][0] < 0.5 * found[0.0][0], "where people look"
    assert found[3.0][1] > 1.1 * found[0.0][1], "elsewhere"


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_regions_follow_the_frames_in_the_fastest_preset_too(
    codec: Any, tmp_path: Path, flown: Path, looker: Any
) -> None:
    """Looked at is the left in the first half, the right in the second; fast presets know no regions by themselves."""
    truth, coding = decoded(flown)[0], Coding(codec, crf=32, preset="ultrafast")
    eyes = {0.0: looker(), 4.0: looker(lambda index: (0.25 if index < 6 else 0.75, 0.5))}
    left, right = {}, {}
    for strength, eye in eyes.items():
        out = encode_video(eye, flown, tmp_path / "out.mp4", coding=coding, strength=strength).output
        squared = (decoded(out)[0] - truth) ** 2
        left[strength], right[strength] = (squared[:, 48:132, x : x + 80].mean((1, 2)) for x in (40, 200))
    left_worse, right_worse = left[4.0] / left[0.0], right[4.0] / right[0.0]
    assert left_worse[:6].mean() < 0.7 * right_worse[:6].mean()
    assert right_worse[-2:].mean() < 0.9 * left_worse[-2:].mean()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_two_passes_meet_the_bitrate(
    codec: Any, tmp_path: Path, make_movie: Make, looker: Any, scene: Any
) -> None:
    source = make_movie(tmp_path / "long.mp4", [frame.image for frame in scene.frames(75)])
    coding = Coding(codec, crf=None, bitrate=150_000, preset="veryfast")
    seen: list[int] = []
    report = encode_video(
        looker(), source, tmp_path / "out.mp4", coding=coding, progress=lambda now: seen.append(now.frames)
    )
    bits = sum(len(data) for _, data in packets(report.output, "video")) * 8
    assert bits / 3 == pytest.approx(150_000, rel=0.15)
    assert report.frames == 75
    assert seen[-1] == 150
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.mp4", "out.mp4"]


# --- what is kept


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_and_time_stamps_are_kept(
    suffix: str, tmp_path: Path, flown: Path, looker: Any
) -> None:
    out = encode_video(looker(), flown, tmp_path / f"out{suffix}", coding=H264).output
    before, after = packets(flown, "audio"), packets(out, "audio")
    late = after[0][0] - before[0][0]  # Matroska begins at 0, sound that begins earlier moves all
    np.testing.assert_allclose(np.array(decoded(out)[1]) - late, decoded(flown)[1], atol=2e-3)
    assert [data for _, data in after] == [data for _, data in before]
    np.testing.assert_allclose([at - late for at, _ in after], [at for at, _ in before], atol=2e-3)


def test_sound_can_be_left_out(tmp_path: Path, flown: Path, looker: Any) -> None:
    out = encode_video(looker(), flown, tmp_path / "out.mp4", coding=H264, sound=False).output
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_sound_that_a_container_can_not_hold_is_told(
    tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8], looker: Any
) -> None:
    source = make_movie(tmp_path / "wild.mkv", flight[:4], sound="pcm_s16le")
    with pytest.raises(OutputError, match=r"can't take sound in pcm_s16le.*mkv"):
        encode_video(looker(), source, tmp_path / "out.mp4", coding=H264)
    assert [path.name for path in tmp_path.iterdir()] == ["wild.mkv"]
    assert encode_video(looker(), source, tmp_path / "out.mkv", coding=H264).frames == 4


def test_a_variable_rate_is_kept(
    tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8], looker: Any
) -> None:
    stamps = [0, 0.04, 0.08, 0.28, 0.32, 0.5, 0.9, 0.94]
    source = make_movie(tmp_path / "vfr.mp4", flight[:8], stamps=stamps)
    for codec in (H264, H265, replace(H264, crf=None, bitrate=200_000)):
        out = encode_video(looker(), source, tmp_path / "out.mp4", coding=codec).output
        np.testing.assert_allclose(decoded(out)[1], stamps, atol=1e-3)


@pytest.mark.parametrize(
    ("pixel_format", "colours"),
    [
        ("yuv420p", (1, 1, 1, 1)),
        ("yuvj420p", (5, 6, 6, 2)),
        ("yuv420p10le", (9, 9, 16, 1)),
        ("yuv444p", (1, 1, 13, 1)),
    ],
)
@pytest.mark.parametrize("coding", [H264, H265], ids=["libx264", "libx265"])
def test_colours_and_pixel_formats_are_kept(
    coding: Coding,
    pixel_format: str,
    colours: tuple[int, int, int, int],
    tmp_path: Path,
    make_movie: Make,
    flight: NDArray[np.uint8],
    looker: Any,
) -> None:
    def painted(stream: Any) -> None:
        context = stream.codec_context
        stream.pix_fmt = pixel_format
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = colours

    source = make_movie(tmp_path / "in.mkv", flight[:3], prepare=painted)
    report = encode_video(looker(), source, tmp_path / "out.mkv", coding=coding)
    for path in (source, report.output):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            found = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
            assert found == colours, path.name
            assert context.pix_fmt == pixel_format, path.name
    assert report.pixel_format == pixel_format


@pytest.mark.parametrize("coding", [H264, H265], ids=["libx264", "libx265"])
def test_pictures_of_rgb_become_yuv_and_have_their_regions(
    coding: Coding, tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8], looker: Any
) -> None:
    def rgb(stream: Any) -> None:
        stream.pix_fmt = "rgb8"
        stream.codec_context.time_base = Fraction(1, 100)

    source = make_movie(tmp_path / "in.gif", flight[:4], codec="gif", prepare=rgb)
    truth = decoded(source)[0]
    plain = encode_video(looker(), source, tmp_path / "plain.mp4", coding=coding, strength=0)
    ours = encode_video(looker(), source, tmp_path / "ours.mp4", coding=coding, strength=3)
    assert ours.pixel_format == "yuv420p"
    assert errors(ours.output, truth)[0] < 0.7 * errors(plain.output, truth)[0]
    with av.open(str(ours.output)) as container:
        assert container.streams.video[0].codec_context.colorspace == 5, "BT.601"


def test_a_title_is_kept(tmp_path: Path, flown: Path, looker: Any) -> None:
    named = tmp_path / "named.mp4"
    with av.open(str(flown)) as before, av.open(str(named), "w") as after:
        after.metadata["title"] = "Über den Feldern"
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(before.streams.video[0]):
            if packet.size:
                packet.stream = stream
                after.mux(packet)
    out = encode_video(looker(), named, tmp_path / "out.mp4", coding=H264).output
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "Über den Feldern"


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [
        ("old.avi", "mpeg4", "mp3"),
        ("old.flv", "flv1", None),
        ("old.mpg", "mpeg2video", None),
        ("camera.ts", "libx264", "aac"),
        ("camera.h264", "libx264", None),
        ("page.webm", "libvpx", "libopus"),
    ],
)
def test_other_containers_and_codecs_are_read(
    name: str,
    codec: str,
    sound: str | None,
    tmp_path: Path,
    make_movie: Make,
    flight: NDArray[np.uint8],
    looker: Any,
) -> None:
    def at_its_rate(stream: Any) -> None:
        stream.codec_context.time_base = Fraction(1, 25)

    source = make_movie(tmp_path / name, flight[:5], codec=codec, sound=sound, prepare=at_its_rate)
    report = encode_video(looker(), source, tmp_path / "new.mp4", coding=H264)
    assert (report.frames, report.problem) == (5, None)
    # A raw stream has no stamps: its frames come at its rate.
    steps = np.full(4, 0.04) if name.endswith(".h264") else np.diff(decoded(source)[1])
    np.testing.assert_allclose(np.diff(decoded(report.output)[1]), steps, atol=2e-3)
    assert not sound or packets(report.output, "audio")


# --- failures leave nothing


def test_a_truncated_movie_is_coded_as_far_as_it_goes(
    tmp_path: Path, make_movie: Make, looker: Any, scene: Any
) -> None:
    whole = make_movie(tmp_path / "whole.mkv", [frame.image for frame in scene.frames(24)])
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    report = encode_video(looker(), whole, tmp_path / "out.mp4", coding=H264)
    assert 3 <= report.frames < 24
    assert report.problem is not None
    assert "truncated" in report.problem
    assert len(decoded(report.output)[1]) == report.frames


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the engine broke")], ids=repr)
@pytest.mark.parametrize("passes", [1, 2])
def test_whatever_is_raised_the_output_is_what_it_was(
    error: BaseException, passes: int, tmp_path: Path, flown: Path, looker: Any
) -> None:
    out = tmp_path / "out" / "out.mp4"
    out.parent.mkdir()
    out.write_bytes(b"what it was")
    coding = H264 if passes == 1 else replace(H264, crf=None, bitrate=100_000)

    def breaks(frame: int) -> tuple[float, float]:
        if frame == 5:
            raise error
        return 0.5, 0.5

    with pytest.raises(type(error)):
        encode_video(looker(breaks), flown, out, coding=coding)
    assert out.read_bytes() == b"what it was"
    assert [path.name for path in out.parent.iterdir()] == ["out.mp4"]


def test_what_can_not_be_asked_for_is_told(tmp_path: Path, flown: Path, looker: Any) -> None:
    def attempt(output: Path, **options: Any) -> EncodeReport:
        return encode_video(looker(), flown, output, **options)

    with pytest.raises(OptionError, match=r"\.mkv"):
        attempt(tmp_path / "out.webm")
    with pytest.raises(OptionError, match="is the source"):
        attempt(flown)
    with pytest.raises(OptionError, match="strength"):
        attempt(tmp_path / "out.mp4", strength=-1)
    with pytest.raises(OutputError, match="create its folder"):
        attempt(tmp_path / "nowhere" / "out.mp4")
    with pytest.raises(OutputError, match="create its folder"):
        attempt(tmp_path / "nowhere" / "out.mp4", coding=Coding(crf=None, bitrate=10_000))
    with pytest.raises(SourceError, match="does not exist"):
        encode_video(looker(), tmp_path / "absent.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"codec": "h264"}, "libx264, libx265"),
        ({"preset": "best"}, "medium"),
        ({"crf": 52.0}, "0 .* to 51"),
        ({"crf": None}, "one of the two"),
        ({"bitrate": 100_000}, "one of the two"),
        ({"crf": None, "bitrate": 999}, "1000"),
        ({"threads": 0}, "threads"),
        ({"threads": 100_000}, "cores"),
    ],
)
def test_codings_that_are_none(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Coding(**wrong)


def test_an_av_without_the_encoder_is_told(
    tmp_path: Path, flown: Path, looker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"h264", "aac"})
    with pytest.raises(MissingPackageError, match="encoder libx265"):
        encode_video(looker(), flown, tmp_path / "out.mp4", coding=H265)


# --- the command


def run(*words: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(main, [os.fspath(word) for word in words])


def test_the_command(tmp_path: Path, flown: Path, bundle: Bundle) -> None:
    out = tmp_path / "out.mp4"
    result = run("encode", flown, out, "--crf", "30", "--bundle", bundle.location, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["frames"], report["output"], report["problem"]) == (12, str(out), None)
    assert report["engine"]["threads"] == 1
    assert len(decoded(out)[1]) == 12
    told = run("encode", flown, out, "--bitrate", "0.1M", "--bundle", bundle.location)
    assert told.stdout.strip() == str(out)


def test_the_command_tells_of_damage_by_its_exit_code(
    tmp_path: Path, make_movie: Make, flight: NDArray[np.uint8], bundle: Bundle
) -> None:
    source = make_movie(tmp_path / "cut.mkv", flight)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 7 // 10])
    result = run("encode", source, tmp_path / "out.mp4", "--bundle", bundle.location)
    assert result.exit_code == 3, result.stderr
    assert "truncated" in result.stderr
    assert len(decoded(tmp_path / "out.mp4")[1]) < len(flight)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bitrate", "fast"), "--bitrate must be"),
        (("--bitrate", "1M", "--crf", "20"), "one of the two"),
        (("--codec", "vp9"), "libx264, libx265"),
        (("--strength", "11"), "strength must be"),
        (("--backend", "cudnn"), "onnxruntime"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(
    words: Sequence[str], message: str, tmp_path: Path, flown: Path, bundle: Bundle
) -> None:
    result = run("encode", flown, tmp_path / "out.mp4", "--bundle", bundle.location, *words)
    assert result.exit_code == 1, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_every_muxer_is_one_of_ffmpeg() -> None:
    assert set(movie_writer.MUXERS.values()) <= set(av.formats_available)
