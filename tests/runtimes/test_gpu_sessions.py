"""What every backend on a GPU owes its caller, on fakes of the driver and of the engines that compute on the CPU.

The fakes are strict (see `fake_cuda`): a copy that is not waited for, an address that is not allocated, memory that is
freed twice or never, all fail here. What they can't show is in `test_on_gpu.py`, which needs a GPU.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_cuda import Result
from fake_machine import LONGEST, FakeMachine, engine_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge.bundle import Bundle
from uva_edge.errors import ClosedError, SessionError
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.backend import Backend, GpuSession, SessionOptions
from uva_edge.runtimes.conformance import passed, verify
from uva_edge.runtimes.cuda import CudaBackend
from uva_edge.runtimes.cuda_memory import DeviceArray
from uva_edge.runtimes.registry import BACKENDS
from uva_edge.runtimes.tensorrt import TensorRtBackend

NAMES = ("tensorrt", "tensorrt_rtx", "cuda")
MODULES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings", "cuda": "onnxruntime"}


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture(scope="module")
def bundles(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The bundle that a backend reads."""
    root = tmp_path_factory.mktemp("engines")
    made = {name: engine_bundle(bundle, root / name, name) for name in NAMES[:2]}
    return lambda name: made.get(name, bundle)


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest, machine: FakeMachine) -> Backend:
    return CudaBackend(machine) if request.param == "cuda" else TensorRtBackend(request.param, machine)


@pytest.fixture
def made_for(backend: Backend, bundles: Callable[[str], Bundle]) -> Bundle:
    return bundles(backend.name)


def artifact_name(backend: Backend, *, single: bool) -> str:
    stem = "onnx-fp32" if backend.name == "cuda" else f"{backend.name.replace('_', '-')}-fp32"
    return f"{stem}-t1" if single else stem


@pytest.fixture
def load(backend: Backend, made_for: Bundle, machine: FakeMachine) -> Iterator[Callable[..., Any]]:
    """Open a session for T = 1 or any T; at the end nothing may be left of any."""
    sessions: list[GpuSession] = []

    def _load(*, single: bool) -> GpuSession:
        artifact = made_for.artifact(artifact_name(backend, single=single))
        session: Any = backend.load(made_for, artifact, SessionOptions())
        sessions.append(session)
        return session

    yield _load
    for session in sessions:
        session.close()
        session.close()
    gc.collect()
    machine.device().free_spare()
    assert (machine.driver.held, machine.driver.host, machine.driver.streams) == (0, {}, {}), "a leak"
    assert not machine.driver.graphs


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Any:
    return bundle.golden()


# --- what is computed -----------------------------------------------------------------------------------


def test_the_golden_clip(backend: Backend, made_for: Bundle) -> None:
    outcomes = verify(made_for, backends=[backend])
    assert passed(outcomes), [str(outcome) for outcome in outcomes if outcome.status != "PASS"]
    fp32 = [outcome for outcome in outcomes if "int8" not in outcome.case.artifact]
    assert {outcome.case.length for outcome in fp32} == {1, 16, None}


def test_states_may_be_anywhere(load: Callable[..., Any], golden: Any) -> None:
    session, host = load(single=True), golden.state
    maps, left = session.run(golden.frames[:1], host)
    again, _ = session.run(golden.frames[1:2], left)
    by_hand, _ = session.run(golden.frames[1:2], left.numpy())
    np.testing.assert_array_equal(again, by_hand)
    assert not np.array_equal(maps, again)
    assert (left.dtype, left.shape) == (np.float32, host.shape)


def test_a_state_of_another_session(load: Callable[..., Any], golden: Any) -> None:
    one, other = load(single=True), load(single=False)
    _, left = one.run(golden.frames[:1], golden.state)
    expected = one.run(golden.frames[1:2], left)[0]
    np.testing.assert_allclose(other.run(golden.frames[1:2], left)[0], expected, atol=1e-5)


def test_results_stay_what_they_were(load: Callable[..., Any], golden: Any) -> None:
    session = load(single=True)
    results = [session.run(golden.frames[index : index + 1], golden.state) for index in range(3)]
    copies = [(maps.copy(), state.numpy()) for maps, state in results]
    device = session.run_on_device(golden.frames[:1], golden.state)
    for _ in range(3):
        session.run(golden.frames[9:10], golden.state)
    for (maps, state), (map_copy, state_copy) in zip(results, copies, strict=True):
        np.testing.assert_array_equal(maps, map_copy)
        np.testing.assert_array_equal(state.numpy(), state_copy)
    for got, expected in zip(device, copies[0], strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)
    results[0][0][:] = 9  # theirs to write


def test_inputs_are_only_read(load: Callable[..., Any], golden: Any) -> None:
    session = load(single=False)
    frames, state = golden.frames[:3].copy(), golden.state.copy()
    for array in (frames, state):
        array.flags.writeable = False
    expected = session.run(frames, state)[0]
    assert np.array_equal(frames, golden.frames[:3])
    spread = np.repeat(golden.frames[:3], 2, axis=2)[:, :, ::2]  # not contiguous
    np.testing.assert_array_equal(session.run(spread, np.asfortranarray(state))[0], expected)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 3 * LONGEST))
def test_clips_of_any_length(length: int, load: Callable[..., Any], golden: Any) -> None:
    """Longer ones than the engine takes are split, and their state handed on."""
    session = load(single=False)
    maps, state = session.run(golden.frames[:length], golden.state)
    one_by_one, carried = [], golden.state
    for frame in golden.frames[:length]:
        some, carried = session.run(frame[None], carried)
        one_by_one.append(some)
    np.testing.assert_allclose(maps, np.concatenate(one_by_one), atol=1e-5)
    np.testing.assert_allclose(state, carried, atol=1e-5)


def test_what_does_not_fit(load: Callable[..., Any], backend: Backend, golden: Any) -> None:
    frames, state = golden.frames, golden.state
    for session in (load(single=True), load(single=False)):
        expected = session.run(frames[:1], state)[0]
        for name, clip, past in (
            ("size", frames[:1, :-4], state),
            ("channels", frames[:1, :, :, :2], state),
            ("rank", frames[0], state),
            ("no frame", frames[:0], state),
            ("floats", frames[:1].astype(np.float32), state),
            ("size of the state", frames[:1], state[:, :, :-1]),
            ("rank of the state", frames[:1], state[0]),
            ("half a state", frames[:1], state.astype(np.float16)),
        ):
            try:
                session.run(clip, past)
            except SessionError as error:
                message = str(error)
            else:
                pytest.fail(f"{name}: {clip.shape} and {past.shape} were taken")
            assert f"{backend.name} session of" in message, name
        np.testing.assert_array_equal(session.run(frames[:1], state)[0], expected)
    with pytest.raises(SessionError, match=r"takes frames \[1, 32, 32, 3\], got \[2, 32, 32, 3\]"):
        load(single=True).run(frames[:2], state)


# --- how ------------------------------------------------------------------------------------------------


def test_one_frame_is_a_replayed_graph(
    load: Callable[..., Any], backend: Backend, machine: FakeMachine, golden: Any
) -> None:
    session, free = load(single=True), load(single=False)
    assert (session.info.details["cuda_graph"], free.info.details["cuda_graph"]) == (
        "replayed",
        "none, T is open",
    )
    state = golden.state
    package = machine.modules[
        {"tensorrt_rtx": "tensorrt_rtx_bindings", "cuda": "onnxruntime"}.get(backend.name, backend.name)
    ]
    if backend.name == "cuda":
        assert [item.options["enable_cuda_graph"] for item in package.sessions] == ["1", "0"]
        assert {item.options["use_tf32"] for item in package.sessions} == {"0"}
    else:
        enqueued, executed = package.enqueues, package.executions
    for index in range(5):
        maps, state = session.run(golden.frames[index : index + 1], state)
    if backend.name != "cuda":
        assert package.enqueues == enqueued, "what is replayed needs no enqueue"
        assert package.executions == executed + 5
        assert machine.driver.calls["cuGraphLaunch"] == 5
    whole = free.run(golden.frames[:5], golden.state)[0]
    np.testing.assert_allclose(maps[0], whole[-1], atol=1e-5)


def test_buffers_are_allocated_once(load: Callable[..., Any], machine: FakeMachine, golden: Any) -> None:
    session = load(single=True)
    state = golden.state
    for index in range(3):
        _, state = session.run(golden.frames[index : index + 1], state)
    before = {name: machine.driver.calls[name] for name in ("cuMemAlloc", "cuMemAllocHost", "cuStreamCreate")}
    for index in range(20):
        _, state = session.run(golden.frames[index : index + 1], state)
    for name, count in before.items():
        assert machine.driver.calls[name] == count, name


def test_states_do_not_pass_through_the_host(
    load: Callable[..., Any], machine: FakeMachine, golden: Any
) -> None:
    session = load(single=True)
    _, state = session.run(golden.frames[:1], golden.state)
    calls = machine.driver.calls
    before = calls.copy()
    session.run(golden.frames[1:2], state)
    assert calls["cuMemcpyHtoDAsync"] - before["cuMemcpyHtoDAsync"] == 1, "the frame"
    assert calls["cuMemcpyDtoHAsync"] - before["cuMemcpyDtoHAsync"] == 1, "the map"
    before = calls.copy()
    session.run_on_device(golden.frames[1:2], state)
    assert calls["cuMemcpyDtoHAsync"] == before["cuMemcpyDtoHAsync"], "no map to the host"


@pytest.mark.parametrize(
    ("backend", "knob"),
    [*((name, "no_capture") for name in NAMES), ("cuda", "refuses_graphs")],
    indirect=["backend"],
)
def test_an_engine_that_can_not_be_captured_runs_and_says_so(
    knob: str, load: Callable[..., Any], backend: Backend, machine: FakeMachine, golden: Any
) -> None:
    expected = load(single=True).run(golden.frames[:1], golden.state)[0]
    for module in machine.modules.values():
        setattr(module, knob, "operation not permitted when stream is capturing")
    session = load(single=True)
    assert session.info.details["cuda_graph"].startswith("none, ")
    assert "not permitted when stream is capturing" in session.info.details["cuda_graph"]
    for _ in range(2):
        np.testing.assert_array_equal(session.run(golden.frames[:1], golden.state)[0], expected)


def test_threads_have_lanes_of_their_own(load: Callable[..., Any], machine: FakeMachine, golden: Any) -> None:
    session = load(single=True)

    def chain(start: int) -> list[Any]:
        state, maps = golden.state, []
        for index in range(start, start + 12):
            some, state = session.run(golden.frames[index : index + 1], state)
            maps.append(some)
        return maps

    expected = {start: chain(start) for start in (0, 20, 40)}
    found: dict[int, list[Any]] = {}
    barrier = threading.Barrier(3)

    def work(start: int) -> None:
        barrier.wait()
        found[start] = chain(start)

    threads = [threading.Thread(target=work, args=(start,)) for start in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(found) == set(expected)
    for start, maps in expected.items():
        np.testing.assert_array_equal(np.concatenate(found[start]), np.concatenate(maps), err_msg=str(start))
    assert 1 <= len(machine.driver.streams) <= 4


def test_closing(load: Callable[..., Any], golden: Any) -> None:
    session = load(single=True)
    _, state = session.run(golden.frames[:1], golden.state)
    session.close()
    with pytest.raises(ClosedError, match="was closed"):
        session.run(golden.frames[:1], golden.state)
    with pytest.raises(ClosedError, match="was closed"):
        session.run_on_device(golden.frames[:1], golden.state)
    assert np.isfinite(state.numpy()).all(), "what was given out stays"


def test_a_session_that_nobody_closes(
    backend: Backend, made_for: Bundle, machine: FakeMachine, golden: Any
) -> None:
    artifact = made_for.artifact(artifact_name(backend, single=True))
    session = backend.load(made_for, artifact, SessionOptions())
    session.run(golden.frames[:1], golden.state)
    del session
    gc.collect()
    machine.device().free_spare()
    driver = machine.driver
    assert (driver.held, driver.host, driver.streams, driver.graphs) == (0, {}, {}, {})


def test_closing_while_it_runs(load: Callable[..., Any], golden: Any) -> None:
    session = load(single=False)
    expected = session.run(golden.frames[:2], golden.state)[0]
    started, odd = threading.Barrier(3), []

    def run() -> None:
        started.wait()
        try:
            while True:
                np.testing.assert_array_equal(session.run(golden.frames[:2], golden.state)[0], expected)
        except ClosedError:
            return
        except BaseException as error:
            odd.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait()
    session.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not odd


# --- what goes wrong ------------------------------------------------------------------------------------


def test_a_failing_engine_is_an_error_with_its_words(
    load: Callable[..., Any], machine: FakeMachine, golden: Any
) -> None:
    session = load(single=False)
    expected = session.run(golden.frames[:2], golden.state)[0]
    for module in machine.modules.values():
        module.fails = "misaligned address"
    with pytest.raises(SessionError, match="misaligned address"):
        session.run(golden.frames[:2], golden.state)
    with pytest.raises(SessionError, match="misaligned address"):
        session.run_on_device(golden.frames[:2], golden.state)
    for module in machine.modules.values():
        module.fails = ""
    np.testing.assert_array_equal(session.run(golden.frames[:2], golden.state)[0], expected)


@pytest.mark.parametrize("function", ["cuStreamSynchronize", "cuMemcpyHtoDAsync", "cuCtxSetCurrent"])
def test_a_failing_driver_is_an_error_with_its_words(
    function: str, load: Callable[..., Any], machine: FakeMachine, golden: Any
) -> None:
    session = load(single=True)
    expected = session.run(golden.frames[:1], golden.state)[0]
    machine.driver.failures[function] = Result.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(
        SessionError, match=f"driver failed in {function}: CUDA_ERROR_ILLEGAL_ADDRESS, illegal address"
    ):
        session.run(golden.frames[:1], golden.state)
    machine.driver.failures.clear()
    for stream in machine.driver.streams.values():
        stream.waiting.clear()
    np.testing.assert_array_equal(session.run(golden.frames[:1], golden.state)[0], expected)


def test_a_gpu_without_memory(load: Callable[..., Any], machine: FakeMachine) -> None:
    machine.driver.limit = 1000
    with pytest.raises(
        SessionError, match=r"CUDA_ERROR_OUT_OF_MEMORY, out of memory \(asked for [\d,]+ bytes"
    ):
        load(single=False)


def test_memory_that_lies_idle_is_used_first(machine: FakeMachine) -> None:
    device = machine.device()
    device.activate()
    machine.driver.limit = 1000
    large = DeviceArray((200,), np.float32, device)
    address = large.address
    del large
    again = DeviceArray((200,), np.float32, device)
    assert again.address == address
    del again
    other = DeviceArray((225,), np.float32, device)
    assert machine.driver.held == 900, "what was spare was freed for it"
    del other


# --- arrays on the GPU ----------------------------------------------------------------------------------


def test_maps_can_stay_on_the_gpu(load: Callable[..., Any], golden: Any) -> None:
    session = load(single=False)
    maps, state = session.run_on_device(golden.frames[:3], golden.state)
    expected, expected_state = session.run(golden.frames[:3], golden.state)
    assert isinstance(maps, DeviceArray)
    np.testing.assert_array_equal(maps, expected)
    np.testing.assert_array_equal(state, expected_state)
    assert (maps.shape, maps.dtype, maps.ndim, len(maps)) == (expected.shape, np.float32, 3, 3)
    assert np.asarray(maps, np.float64).dtype == np.float64
    assert np.abs(maps - expected).max() == 0, "NumPy's functions take it"
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(maps, copy=False)
    assert repr(maps) == "DeviceArray(3x32x32 float32, GPU 0)"


def test_others_take_it_where_it_is(load: Callable[..., Any], machine: FakeMachine, golden: Any) -> None:
    maps, _ = load(single=True).run_on_device(golden.frames[:1], golden.state)
    interface = maps.__cuda_array_interface__
    assert (interface["version"], interface["shape"], interface["typestr"]) == (3, (1, 32, 32), "<f4")
    address, readonly = interface["data"]
    assert (address, readonly) == (maps.address, False)
    assert machine.driver.bytes_at(address, maps.nbytes) == maps.numpy().tobytes()
    assert maps.__dlpack_device__() == (2, 0), "kDLCUDA, the first"
    freed = machine.driver.calls["cuMemFree"]
    del maps
    gc.collect()
    assert machine.driver.calls["cuMemFree"] == freed + 1, (
        "others may still use it: the driver waits for them"
    )


# --- a user's predictor ---------------------------------------------------------------------------------


def test_a_predictor_on_a_gpu(
    backend: Backend, made_for: Bundle, machine: FakeMachine, flight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, backend.name, backend)
    with SaliencyPredictor(made_for.location, backend=backend.name) as predictor:
        assert predictor.info.device == "NVIDIA Fake (compute capability 8.6, 8 GiB)"
        with predictor.stream() as stream, predictor.stream() as other:
            pushed = [stream.push(frame).map for frame in flight]
            reverse = [other.push(frame).map for frame in flight[::-1]]
        clip = predictor.predict_clip(flight)
        np.testing.assert_allclose(np.stack(pushed), clip, atol=1e-5)
        np.testing.assert_allclose(np.stack(reverse), predictor.predict_clip(flight[::-1]), atol=1e-5)
    gc.collect()
    machine.device().free_spare()
    assert machine.driver.held == 0


def test_auto_takes_the_gpu_first(
    backend: Backend, made_for: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, backend.name, backend)
    with SaliencyPredictor(made_for.location) as predictor:
        assert predictor.backend == backend.name
        assert f"{backend.name}: chosen, rank " in predictor.explain()
