"""Clips that are predicted while they are read: the results of a stream, and every end a clean one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import FrameError, OptionError, SessionError
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes import predictor as predictor_module
from uva_edge.saliency import Saliency

Clip = NDArray[np.uint8]


@pytest.fixture(params=[1, 2], ids=["alone", "ahead"], autouse=True)
def _cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With a core for the engine alone, and with one more, on which frames are read ahead."""
    monkeypatch.setattr(predictor_module, "usable_cores", lambda: request.param)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "uva-edge-ahead"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 12), batch=st.integers(1, 14))
def test_results_one_by_one_are_those_of_a_stream(
    onnx: SaliencyPredictor, flight: Clip, count: int, batch: int
) -> None:
    stream = onnx.stream()
    expected = [stream.push(frame) for frame in flight[:count]]
    found = list(onnx.predict_frames(iter(flight[:count]), batch=batch))
    assert len(found) == count
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.size == theirs.size
        np.testing.assert_allclose(ours.map, theirs.map, atol=2e-5)
    maps = onnx.predict_clip(flight[:count], batch=batch)
    np.testing.assert_array_equal(maps, [saliency.map for saliency in found])


def test_every_result_has_its_own_size(onnx: SaliencyPredictor, flight: Clip) -> None:
    frames = [flight[0], flight[1, ::2, ::3], flight[2, 30:71, 5:302]]
    assert [item.size for item in onnx.predict_frames(frames, batch=2)] == [(320, 180), (107, 90), (297, 41)]


def broken_after(frames: Clip, closed: list[bool]) -> Iterator[Clip]:
    try:
        yield from frames
        raise ConnectionError("the camera went away")
    finally:
        closed.append(True)


@pytest.mark.parametrize("count", [0, 3, 4, 6])
def test_what_came_before_an_error_is_predicted(onnx: SaliencyPredictor, flight: Clip, count: int) -> None:
    closed: list[bool] = []
    found: list[Saliency] = []
    results = onnx.predict_frames(broken_after(flight[:count], closed), batch=4)
    with pytest.raises(ConnectionError, match="the camera went away"):
        found.extend(results)
    assert len(found) == count
    assert closed == [True]
    with pytest.raises(ConnectionError, match="the camera went away"):
        onnx.predict_clip(broken_after(flight[:count], closed), batch=4)


def test_an_engine_that_fails_closes_the_frames(
    fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    alpha, closed = fake("alpha"), []  # type: ignore[var-annotated]
    install(alpha)
    with SaliencyPredictor(fp32.location) as predictor:
        alpha.fails = "out of memory"
        with pytest.raises(SessionError, match="out of memory"):
            predictor.predict_clip(broken_after(fp32.golden().frames, closed), color="rgb", batch=2)
    assert closed == [True]


def test_results_that_are_not_wanted_any_more(onnx: SaliencyPredictor, flight: Clip) -> None:
    closed: list[bool] = []
    results = onnx.predict_frames(broken_after(flight, closed), batch=2)
    assert next(results).size == (320, 180)
    results.close()
    assert closed == [True]


def test_what_is_no_clip_is_told_at_once(onnx: SaliencyPredictor, flight: Clip) -> None:
    with pytest.raises(OptionError, match="batch must be"):
        onnx.predict_frames(flight, batch=0)
    with pytest.raises(FrameError, match="an iterable of frames; got int"):
        onnx.predict_frames(7)  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="at least one frame"):
        list(onnx.predict_frames([]))
