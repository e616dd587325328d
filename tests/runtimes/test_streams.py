"""Streams: each keeps its own past, whoever else uses the predictor, whatever is pushed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import FrameError, SessionError
from uva_edge.preprocess import COLORS, network_input
from uva_edge.runtimes import SaliencyPredictor

Clip = NDArray[np.uint8]


def pushed(predictor: SaliencyPredictor, frames: Any, **options: Any) -> NDArray[np.float32]:
    with predictor.stream(**options) as stream:
        return np.stack([stream.push(frame).map for frame in frames])


def test_two_streams_keep_their_own_past(predictor: SaliencyPredictor, flight: Clip) -> None:
    one, other = predictor.stream(), predictor.stream()
    one.push(flight[0])
    other.push(flight[11, ::-1])
    a, b = one.push(flight[5]).map, other.push(flight[5]).map
    assert np.abs(a - b).max() > 1e-3
    np.testing.assert_array_equal(a, pushed(predictor, flight[[0, 5]])[1])


def cameras(flight: Clip, count: int) -> list[Clip]:
    """Clips that differ from each other, six frames each."""
    return [np.roll(flight[start % 6 : start % 6 + 6], 37 * start, axis=2) for start in range(count)]


def test_streams_in_turns_are_streams_alone(predictor: SaliencyPredictor, flight: Clip) -> None:
    clips = cameras(flight, 4)
    alone = [pushed(predictor, clip) for clip in clips]
    streams = [predictor.stream() for _ in clips]
    for index in range(6):
        for camera, (stream, clip) in enumerate(zip(streams, clips, strict=True)):
            np.testing.assert_array_equal(
                stream.push(clip[index]).map, alone[camera][index], err_msg=f"camera {camera}, frame {index}"
            )


def test_eight_threads_see_what_one_sees(predictor: SaliencyPredictor, flight: Clip) -> None:
    clips = cameras(flight, 8)
    alone = [(pushed(predictor, clip), predictor.predict_clip(clip)) for clip in clips]
    assert len({maps.tobytes() for maps, _ in alone}) == 8
    together: list[Any] = [None] * 8
    start = threading.Barrier(8)

    def run(camera: int) -> None:
        start.wait(60)
        try:
            together[camera] = (pushed(predictor, clips[camera]), predictor.predict_clip(clips[camera]))
        except Exception as error:
            together[camera] = error

    threads = [threading.Thread(target=run, args=(camera,)) for camera in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for camera, (expected, got) in enumerate(zip(alone, together, strict=True)):
        assert isinstance(got, tuple), f"camera {camera}: {got!r}"
        for how, one, other in zip(("pushed", "as a clip"), expected, got, strict=True):
            np.testing.assert_array_equal(other, one, err_msg=f"camera {camera}, {how}")


def test_one_stream_from_many_threads_takes_every_frame_once(onnx: SaliencyPredictor, flight: Clip) -> None:
    stream = onnx.stream()
    threads = [threading.Thread(target=stream.push, args=(flight[0],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert stream.frames == 8
    np.testing.assert_array_equal(stream.push(flight[1]).map, pushed(onnx, flight[:2])[1])


BAD_FRAMES: dict[str, tuple[Any, str]] = {
    "none": (None, "did the camera or file end"),
    "a list": ([[[0, 0, 0]]], "numpy array of uint8; got list"),
    "float": (np.zeros((4, 4, 3), np.float32), "float32"),
    "int": (np.zeros((4, 4, 3), np.int64), "int64"),
    "gray": (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
    "alpha": (np.zeros((4, 4, 4), np.uint8), "alpha"),
    "a batch": (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
    "no rows": (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    "no columns": (np.zeros((4, 0, 3), np.uint8), "at least one pixel"),
}


@pytest.mark.parametrize("kind", list(BAD_FRAMES))
def test_a_bad_frame_is_told_and_leaves_the_stream_as_it_was(
    kind: str, onnx: SaliencyPredictor, flight: Clip
) -> None:
    bad, words = BAD_FRAMES[kind]
    expected = pushed(onnx, flight[:3])
    stream = onnx.stream()
    with pytest.raises(FrameError, match=words):
        stream.push(bad)
    assert stream.frames == 0
    for index in range(3):
        np.testing.assert_array_equal(stream.push(flight[index]).map, expected[index])
        with pytest.raises(FrameError, match=words):
            stream.push(bad)
        assert stream.frames == index + 1
    with pytest.raises(FrameError, match=words):
        onnx.predict(bad)
    with pytest.raises(FrameError, match=words):
        onnx.predict_clip([flight[0], bad])


def test_an_engine_that_fails_leaves_the_stream_as_it_was(
    fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    frames, alpha = fp32.golden().frames, fake("alpha")
    install(alpha)
    with SaliencyPredictor(fp32.location) as predictor:
        expected = pushed(predictor, frames, color="rgb")
        stream = predictor.stream(color="rgb")
        for index, frame in enumerate(frames):
            alpha.fails = "out of memory"
            with pytest.raises(SessionError, match="out of memory"):
                stream.push(frame)
            alpha.fails = ""
            assert stream.frames == index
            np.testing.assert_array_equal(stream.push(frame).map, expected[index])


def test_a_frame_too_wide_for_a_result_leaves_the_stream_as_it_was(
    onnx: SaliencyPredictor, flight: Clip
) -> None:
    stream = onnx.stream()
    stream.push(flight[0])
    with pytest.raises(ValueError, match="65535"):
        stream.push(np.zeros((1, 70_000, 3), np.uint8))
    assert stream.frames == 1
    np.testing.assert_array_equal(stream.push(flight[1]).map, pushed(onnx, flight[:2])[1])


def test_the_size_may_change_on_the_way(onnx: SaliencyPredictor, flight: Clip) -> None:
    frames = [
        flight[0],
        np.ascontiguousarray(flight[1, ::2, ::3]),
        flight[2, 30:71, 5:302],
        flight[3, :1, :1],
        flight[4].repeat(3, axis=0),
        flight[5, ::-1],
    ]
    # A frame of R x R is its own input, so these are the same inputs without a change of size.
    inputs = [network_input(frame, onnx.resolution) for frame in frames]
    np.testing.assert_array_equal(pushed(onnx, frames), pushed(onnx, inputs, color="rgb"))
    stream = onnx.stream()
    assert [stream.push(frame).size for frame in frames] == [
        (320, 180),
        (107, 90),
        (297, 41),
        (1, 1),
        (320, 540),
        (320, 180),
    ]


def in_color(flight: Clip, color: str) -> Any:
    """Frames of a format, made of the flight's bytes: it is their reading that is tested, not their look."""
    if color == "gray":
        return flight[:, :, :, 1]
    if color == "yuyv":
        return flight[:, :, :, :2]
    if color in ("nv12", "i420"):
        return np.concatenate((flight[:, :, :, 0], flight[:, :90, :, 2]), axis=1)
    return flight


@pytest.mark.parametrize("yuv_range", ["limited", "full"])
@pytest.mark.parametrize("color", COLORS)
def test_every_color_format_reaches_the_network(
    color: Any, yuv_range: Any, onnx: SaliencyPredictor, flight: Clip
) -> None:
    frames = in_color(flight[:3], color)
    options = {"color": color, "yuv_range": yuv_range}
    inputs = [network_input(frame, onnx.resolution, **options) for frame in frames]
    expected = pushed(onnx, inputs, color="rgb")
    np.testing.assert_array_equal(pushed(onnx, frames, **options), expected)
    np.testing.assert_allclose(onnx.predict_clip(frames, **options), expected, atol=1e-5)
    saliency = onnx.predict(frames[0], **options)
    np.testing.assert_array_equal(saliency.map, expected[0])
    assert saliency.size == (320, 180)
    if color != "bgr":
        assert np.abs(expected - pushed(onnx, flight[:3])).max() > 1e-3, "read as bgr"


def test_planes_of_a_camera_buffer(onnx: SaliencyPredictor, flight: Clip) -> None:
    whole = in_color(flight[:2], "nv12")
    planes = [(frame[:180], frame[180:].reshape(90, 160, 2)) for frame in whole]
    np.testing.assert_array_equal(pushed(onnx, planes, color="nv12"), pushed(onnx, whole, color="nv12"))


def test_a_reset_forgets_the_past(predictor: SaliencyPredictor, flight: Clip) -> None:
    stream = predictor.stream()
    for frame in flight[:3]:
        stream.push(frame)
    stream.reset()
    assert stream.frames == 0
    np.testing.assert_array_equal(stream.push(flight[7]).map, predictor.predict(flight[7]).map)
    assert stream.frames == 1


def test_results_are_not_overwritten(predictor: SaliencyPredictor, flight: Clip) -> None:
    stream = predictor.stream()
    first = stream.push(flight[0])
    kept = first.map.copy()
    for frame in flight[1:4]:
        stream.push(frame)
    np.testing.assert_array_equal(first.map, kept)


def test_the_frames_are_only_read(predictor: SaliencyPredictor, flight: Clip) -> None:
    frames = flight[:3].copy()
    frames.flags.writeable = False
    np.testing.assert_array_equal(pushed(predictor, frames), pushed(predictor, flight[:3]))
    predictor.predict_clip(frames)
    np.testing.assert_array_equal(frames, flight[:3])
