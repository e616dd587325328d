"""A network that sees windows of frames, 32x64 and not square: every backend, every way to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.preprocess import network_input
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.backend import SessionOptions, first_state
from uva_edge.runtimes.conformance import cases, passed, verify
from uva_edge.runtimes.registry import BACKENDS, runs_family

torch = pytest.importorskip("torch", reason="the bundle is exported: needs the extra 'export'")

GRID = (32, 64)


ABLE = [name for name in BACKENDS if runs_family(name, "tinyhd")]


@pytest.fixture(scope="module", params=ABLE)
def predictor(
    request: pytest.FixtureRequest, windowed: Bundle, able: Callable[[str], str]
) -> Iterator[SaliencyPredictor]:
    with SaliencyPredictor(windowed.location, backend=able(request.param)) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(windowed: Bundle, flight: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The maps of the flight by torch, straight from the definition: each frame in its own window of 16."""
    from uva_edge.models.families import load_step

    step = load_step("tinyhd", windowed.read(windowed.artifact("torch-fp32").files[0]))
    inputs = np.stack([network_input(frame, GRID) for frame in flight])
    maps = []
    for end in range(len(inputs)):
        places = np.maximum(0, np.arange(end - 15, end + 1))
        window = torch.from_numpy(inputs[places])
        with torch.inference_mode():
            maps.append(step(window[15:], window[:15])[0].numpy())
    return np.concatenate(maps)


def test_a_stream(
    predictor: SaliencyPredictor, flight: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    with predictor.stream() as stream:
        results = [stream.push(frame) for frame in flight]
        for result, wanted in zip(results, expected, strict=True):
            assert (result.map.shape, result.map.dtype, result.size) == (GRID, np.float32, (320, 180))
            assert np.abs(result.map - wanted).max() <= 1e-4
        stream.reset()
        assert np.abs(stream.push(flight[5]).map - predictor.predict(flight[5]).map).max() <= 1e-6
    assert np.abs(results[0].map - predictor.predict(flight[0]).map).max() <= 1e-6
    assert np.abs(expected[5] - predictor.predict(flight[5]).map).max() > 1e-3, "the past plays no part"


@pytest.mark.parametrize("batch", [5, 32])
def test_a_clip(
    predictor: SaliencyPredictor, flight: NDArray[np.uint8], expected: NDArray[np.float32], batch: int
) -> None:
    maps = predictor.predict_clip(iter(flight), batch=batch)
    assert (maps.shape, maps.dtype) == ((len(flight), *GRID), np.float32)
    assert np.abs(maps - expected).max() <= 1e-4


def test_the_grid(predictor: SaliencyPredictor, flight: NDArray[np.uint8]) -> None:
    assert (predictor.grid, predictor.resolution) == (GRID, 32)
    saliency = predictor.predict(flight[0])
    assert saliency.resized().shape == (180, 320)
    assert saliency.overlay(flight[0], peaks=1).shape == flight[0].shape


def test_the_first_state_is_the_first_frame_and_no_step_is_run_for_it(windowed: Bundle) -> None:
    def run(frames: object, state: object) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        raise AssertionError("a step was run")

    frame = windowed.golden().frames[3:4]
    state = first_state(windowed.manifest.contract, run, frame)
    assert (state.dtype, state.shape) == (np.uint8, (15, *GRID, 3))
    assert (state == frame).all()


@pytest.mark.parametrize("name", ABLE)
def test_sessions_leave_the_state_alone(name: str, windowed: Bundle, able: Callable[[str], str]) -> None:
    """And give one that is the caller's, byte for byte the last frames."""
    backend = BACKENDS[able(name)]
    artifact = windowed.artifact("torch-fp32" if name == "torch" else "onnx-fp32")
    session = backend.load(windowed, artifact, SessionOptions())
    clip = windowed.golden().frames
    state, frames = clip[:15].copy(), clip[15:18].copy()
    first = session.run(frames, state)[1]
    again = session.run(frames[:1], state)[1]
    session.close()
    assert np.array_equal(state, clip[:15])
    assert np.array_equal(first, clip[3:18])
    assert np.array_equal(again, clip[1:16])


def test_the_bundle_is_verified_here(windowed: Bundle) -> None:
    outcomes = verify(windowed)
    assert passed(outcomes), [outcome for outcome in outcomes if outcome.status == "FAIL"]
    for outcome in outcomes:
        if outcome.errors is not None and outcome.case.color in (None, "bgr", "rgb"):
            assert outcome.errors.max_abs_map <= 1e-4
            assert outcome.errors.max_abs_state == 0


def test_no_case_looks_at_more_pixels_than_a_call_should(
    windowed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {case.length for case in cases(windowed)} == {1, 16, None}
    monkeypatch.setattr("uva_edge.manifest.PIXELS_PER_CALL", 2 * 16 * 32 * 64)
    assert {case.length for case in cases(windowed)} == {1, 2}
