"""Batches of streams: in one call what streams of their own would be, whoever skips, is reset or fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import ClosedError, FrameError, OptionError, SessionError
from uva_edge.manifest import Contract
from uva_edge.runtimes import SaliencyPredictor, StreamBatch

Clip = NDArray[np.uint8]

ONE_CALL = 2e-5
"""A batch goes through the artifact of any length, a stream through that of one frame: float32 in another order."""


def cameras(flight: Clip, count: int) -> list[Clip]:
    """Clips that differ from each other, six frames each."""
    return [np.roll(flight[start % 6 : start % 6 + 6], 37 * start, axis=2) for start in range(count)]


def assert_pushed(batch: StreamBatch, frames: list[Any], expected: list[Any], where: str) -> None:
    found = batch.push(frames)
    assert len(found) == len(frames), where
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if theirs is None:
            assert ours is None, f"{where}, stream {place}"
            continue
        assert ours is not None, f"{where}, stream {place}"
        assert ours.size == theirs.size, f"{where}, stream {place}"
        np.testing.assert_allclose(
            ours.map, theirs.map, atol=ONE_CALL, rtol=0, err_msg=f"{where}, stream {place}"
        )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_backend_steps_streams_as_they_would_alone(
    predictor: SaliencyPredictor, flight: Clip, count: int
) -> None:
    clips = cameras(flight, count)
    streams = [predictor.stream() for _ in clips]
    with predictor.stream_batch(count) as batch:
        assert len(batch) == count
        for index in range(6):
            frames = [clip[index] for clip in clips]
            expected = [stream.push(frame) for stream, frame in zip(streams, frames, strict=True)]
            assert_pushed(batch, frames, expected, f"frame {index}")
        assert batch.frames == (6,) * count


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(st.integers(0, 13), min_size=3, max_size=3)),
        st.tuples(st.just("reset"), st.none() | st.integers(0, 2)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_pushes_skips_and_resets(
    onnx: SaliencyPredictor, flight: Clip, steps: list[tuple[str, Any]]
) -> None:
    """A frame index of 12 or more is a frame that its camera dropped."""
    streams = [onnx.stream() for _ in range(3)]
    batch = onnx.stream_batch(3)
    for number, (what, value) in enumerate(steps):
        if what == "reset":
            batch.reset(value)
            for stream in streams if value is None else [streams[value]]:
                stream.reset()
        else:
            frames = [flight[index] if index < len(flight) else None for index in value]
            expected = [
                None if frame is None else stream.push(frame)
                for stream, frame in zip(streams, frames, strict=True)
            ]
            assert_pushed(batch, frames, expected, f"step {number}")
        assert batch.frames == tuple(stream.frames for stream in streams), f"step {number}"


def test_the_order_of_the_cameras_does_not_matter(predictor: SaliencyPredictor, flight: Clip) -> None:
    clips, order = cameras(flight, 4), [2, 0, 3, 1]
    batch, mixed = predictor.stream_batch(4), predictor.stream_batch(4)
    for index in range(6):
        expected = batch.push([clip[index] for clip in clips])
        assert_pushed(
            mixed, [clips[place][index] for place in order], [expected[p] for p in order], str(index)
        )


def test_sizes_and_kinds_of_frames_may_differ(onnx: SaliencyPredictor, flight: Clip) -> None:
    batch = onnx.stream_batch(3)
    for frames in (
        [flight[0], np.ascontiguousarray(flight[1, ::2, ::3]), flight[2, 30:71, 5:302]],
        [flight[3, :1, :1], flight[4].repeat(3, axis=0), flight[5, ::-1]],
    ):
        found = batch.push(frames)
        assert [item.size for item in found if item] == [(f.shape[1], f.shape[0]) for f in frames]
    batch.reset()
    assert_pushed(
        batch, list(flight[:3]), [onnx.predict(frame) for frame in flight[:3]], "an array of frames"
    )
    whole = np.concatenate((flight[:, :, :, 0], flight[:, :90, :, 2]), axis=1)
    planes = (whole[1][:180], whole[1][180:].reshape(90, 160, 2))
    nv12 = onnx.stream_batch(2, color="nv12", yuv_range="full")
    expected = [onnx.predict(frame, color="nv12", yuv_range="full") for frame in whole[:2]]
    assert_pushed(nv12, [whole[0], planes], expected, "nv12")


def test_frames_in_one_array(onnx: SaliencyPredictor, flight: Clip) -> None:
    batch = onnx.stream_batch(4)
    found = batch.push(flight[:4])  # type: ignore[arg-type]
    for ours, frame in zip(found, flight, strict=False):
        assert ours is not None
        np.testing.assert_allclose(ours.map, onnx.predict(frame).map, atol=ONE_CALL)


def test_nobody_has_a_frame(onnx: SaliencyPredictor) -> None:
    batch = onnx.stream_batch(2)
    assert batch.push([None, None]) == [None, None]
    assert batch.frames == (0, 0)


def test_results_are_not_overwritten(predictor: SaliencyPredictor, flight: Clip) -> None:
    batch = predictor.stream_batch(2)
    first = batch.push([flight[0], flight[1]])
    kept = [item.map.copy() for item in first if item]
    for frame in flight[2:5]:
        batch.push([frame, frame])
        batch.push([frame, None])
    for item, copy in zip(first, kept, strict=True):
        assert item is not None
        np.testing.assert_array_equal(item.map, copy)


def test_two_batches_and_a_stream_keep_their_own_past(onnx: SaliencyPredictor, flight: Clip) -> None:
    one, other, stream = onnx.stream_batch(2), onnx.stream_batch(2), onnx.stream()
    one.push([flight[0], flight[1]])
    other.push([flight[11], flight[10]])
    stream.push(flight[0])
    a, b = one.push([flight[5], flight[5]]), other.push([flight[5], flight[5]])
    assert a[0] is not None
    assert b[0] is not None
    assert np.abs(a[0].map - b[0].map).max() > 1e-3
    np.testing.assert_allclose(a[0].map, stream.push(flight[5]).map, atol=ONE_CALL)


def test_a_batch_from_many_threads_takes_every_push_once(onnx: SaliencyPredictor, flight: Clip) -> None:
    batch = onnx.stream_batch(2)
    threads = [threading.Thread(target=batch.push, args=([flight[0], flight[1]],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert batch.frames == (8, 8)


# --- calls of the engine --------------------------------------------------------------------------------


@pytest.fixture
def batched(tiny: Callable[..., Bundle]) -> Bundle:
    return tiny(("onnx-fp32", "onnx", "fp32", None), ("onnx-fp32-t1", "onnx", "fp32", 1), streams=None)


@pytest.fixture
def alone(fp32: Bundle, fake: Any, install: Callable[..., None]) -> SaliencyPredictor:
    """Of a bundle as it was exported before there were batches."""
    install(fake("alpha"))
    return SaliencyPredictor(fp32.location)


def test_one_call_for_all(batched: Bundle, fake: Any, install: Callable[..., None]) -> None:
    alpha, frames = fake("alpha"), batched.golden().frames
    install(alpha)
    with SaliencyPredictor(batched.location) as predictor:
        batch = predictor.stream_batch(3, color="rgb")
        (calls,) = (session.calls for session in alpha.sessions if session.artifact.frames is None)
        batch.push(list(frames[:3]))
        assert calls == [(3, 3), (3, 3)], "the first states, and the step"
        del calls[:]
        batch.push(list(frames[1:4]))
        batch.push([frames[0], None, frames[2]])
        batch.reset(1)
        batch.push([frames[0], frames[1], None])
        assert calls == [(3, 3), (2, 2), (1, 1), (2, 2)], "a first state again, after the reset"


def test_a_call_is_split_where_its_memory_would_be_out_of_proportion(
    batched: Bundle, fake: Any, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, frames = fake("alpha"), batched.golden().frames
    install(alpha)
    with SaliencyPredictor(batched.location) as predictor:
        expected = predictor.stream_batch(4, color="rgb").push(list(frames))
        monkeypatch.setattr(Contract, "frames_per_call", property(lambda self: 3))
        batch = predictor.stream_batch(4, color="rgb")
        calls = alpha.sessions[-1].calls
        del calls[:]
        assert_pushed(batch, list(frames), expected, "split")
        assert calls == [(3, 3), (1, 1)] * 2


# --- what is refused ------------------------------------------------------------------------------------


def test_a_bad_frame_names_its_stream_and_leaves_all_as_they_were(
    onnx: SaliencyPredictor, flight: Clip
) -> None:
    batch, same = onnx.stream_batch(3), onnx.stream_batch(3)
    bad: list[tuple[Any, str]] = [
        ([flight[0], flight[1], flight[2].astype(np.float32)], r"^stream 2: .*float32"),
        ([flight[0], flight[1][:, :, 0], None], r"^stream 1: .*\(180, 320\)"),
        (["a.png", flight[1], flight[2]], r"^stream 0: .*got str"),
        (list(flight[:2]), r"one frame for each of the 3 streams, None for one that has none; got 2"),
        (flight[0], r"one frame for each of the 3 streams.* got 180"),
        ("abc", r"a list of 3 frames, one for each stream; got str"),
        (iter(flight[:3]), r"a list of 3 frames.*got"),
        (None, r"a list of 3 frames.*got NoneType"),
    ]
    for index in range(3):
        frames = [flight[index], flight[index + 3], None if index == 1 else flight[index + 6]]
        for wrong, words in bad:
            with pytest.raises(FrameError, match=words):
                batch.push(wrong)
        with pytest.raises(ValueError, match=r"^stream 1: .*65535"):
            batch.push([flight[0], np.zeros((1, 70_000, 3), np.uint8), flight[2]])
        assert batch.frames == same.frames
        assert_pushed(batch, frames, same.push(frames), f"frame {index}")


def test_an_engine_that_fails_leaves_all_as_they_were(
    batched: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    frames, alpha = batched.golden().frames, fake("alpha")
    install(alpha)
    with SaliencyPredictor(batched.location) as predictor:
        batch, same = (predictor.stream_batch(2, color="rgb") for _ in range(2))
        for index in range(3):
            pair = [frames[index], frames[index + 1]]
            alpha.fails = "out of memory"
            for some in (pair, [pair[0], None]):
                with pytest.raises(SessionError, match="out of memory"):
                    batch.push(some)
            alpha.fails = ""
            assert batch.frames == (index, index)
            assert_pushed(batch, pair, same.push(pair), f"frame {index}")


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "4", None])
def test_a_batch_has_streams(onnx: SaliencyPredictor, count: Any) -> None:
    with pytest.raises(OptionError, match="count must be an integer of at least 1"):
        onnx.stream_batch(count)


@pytest.mark.parametrize("stream", [-1, 2, 0.0, True, "0"])
def test_a_stream_that_there_is_not(onnx: SaliencyPredictor, stream: Any) -> None:
    with pytest.raises(OptionError, match="stream must be from 0 to 1, or None for all"):
        onnx.stream_batch(2).reset(stream)


def test_what_is_closed(batched: Bundle, fake: Any, install: Callable[..., None]) -> None:
    install(fake("alpha"))
    frames = list(batched.golden().frames[:2])
    predictor = SaliencyPredictor(batched.location)
    with predictor.stream_batch(2, color="rgb") as batch:
        batch.push(frames)
    batch.close()
    with pytest.raises(ClosedError, match=r"predictor\.stream_batch\(n\)"):
        batch.push(frames)
    another = predictor.stream_batch(2, color="rgb")
    predictor.close()
    for use in (lambda: another.push(frames), lambda: predictor.stream_batch(2)):
        with pytest.raises(ClosedError, match="make a new"):
            use()


def test_a_bundle_of_an_earlier_export_takes_one_stream(alone: SaliencyPredictor) -> None:
    with pytest.raises(
        OptionError, match=r"takes one stream in a call: .*before there were batches.*uva-edge export"
    ):
        alone.stream_batch(2)
    frame = alone.bundle.golden().frames[0]
    (found,) = alone.stream_batch(1, color="rgb").push([frame])
    assert found is not None
    np.testing.assert_array_equal(found.map, alone.predict(frame, color="rgb").map)


@pytest.mark.parametrize("count", [1, 2])
def test_a_network_that_sees_windows_takes_one_stream(windowed: Bundle, count: int) -> None:
    with (
        SaliencyPredictor(windowed.location, backend="onnxruntime") as predictor,
        pytest.raises(OptionError, match=r"sees a window of frames for each map; make one stream\(\)"),
    ):
        predictor.stream_batch(count)
