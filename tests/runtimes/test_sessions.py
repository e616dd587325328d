"""What every backend owes its caller, whatever the engine behind it; each one that is installed is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import ClosedError, HashMismatchError, OptionError, SessionError
from uva_edge.manifest import Artifact
from uva_edge.runtimes.backend import Backend, Session, SessionOptions
from uva_edge.runtimes.registry import BACKENDS
from uva_edge.runtimes.selection import Plan, plan_for


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    found = BACKENDS[request.param]
    availability = found.probe()
    if not availability.ok:
        pytest.skip(f"{availability.reason}; {availability.fix}")
    return found


@pytest.fixture(scope="module")
def artifact(backend: Backend, bundle: Bundle) -> Artifact:
    plan = plan_for(bundle, backend, "fp32")
    assert isinstance(plan, Plan), plan
    return plan.clip


@pytest.fixture
def session(backend: Backend, bundle: Bundle, artifact: Artifact) -> Iterator[Session]:
    opened = backend.load(bundle, artifact, SessionOptions())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def frames(bundle: Bundle) -> NDArray[np.uint8]:
    return bundle.golden().frames


@pytest.fixture(scope="module")
def state(bundle: Bundle) -> NDArray[np.float32]:
    """A state that some frame could have left: not zero, not the frame's own."""
    return bundle.golden().state


@pytest.fixture
def rewritten(bundle: Bundle, tmp_path: Path) -> Callable[..., Bundle]:
    """The bundle with one artifact more: `like` another, with other contents."""

    def _rewritten(name: str, files: dict[str, bytes], *, like: Artifact, **changes: Any) -> Bundle:
        manifest = bundle.manifest
        facts = {"format": like.format, "precision": like.precision, "frames": like.frames, **changes}
        return write_bundle(
            tmp_path / "rewritten",
            name="rewritten",
            network=manifest.network,
            contract=manifest.contract,
            artifacts=[ArtifactSource(name, files=files, requires={}, parity={}, **facts)],
            golden=bundle.golden(),
            accuracy={},
            lineage=manifest.lineage,
        )

    return _rewritten


# --- running --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_step_of_any_length(length: int, session: Session, bundle: Bundle) -> None:
    golden = bundle.golden()
    first = session.run(golden.frames[:1], np.zeros_like(golden.state))[1]
    maps, last = session.run(golden.frames[:length], first)
    side = bundle.manifest.contract.resolution
    assert (maps.dtype, maps.shape) == (np.float32, (length, side, side))
    assert (last.dtype, last.shape) == (np.float32, bundle.manifest.contract.state_shape)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.std(axis=(1, 2)).min() > 0.01, "a map without contrast"
    np.testing.assert_allclose(maps, golden.maps[:length], atol=1e-4)


def test_a_chain_of_steps_is_one_long_step(session: Session, frames: Any, state: Any) -> None:
    whole, end = session.run(frames[:7], state)
    parts, carried = [], state
    for first, last in ((0, 1), (1, 3), (3, 7)):
        maps, carried = session.run(frames[first:last], carried)
        parts.append(maps)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    np.testing.assert_allclose(carried, end, atol=1e-5)


def test_the_state_matters(session: Session, frames: Any, state: Any) -> None:
    with_past, without = (session.run(frames[:1], past)[0] for past in (state, np.zeros_like(state)))
    assert np.abs(with_past - without).max() > 100 * 1e-4, "less than a test of the chain could see"


def test_a_static_artifact_runs_one_frame(backend: Backend, bundle: Bundle, frames: Any, state: Any) -> None:
    plan = plan_for(bundle, backend, "fp32")
    assert isinstance(plan, Plan)
    if plan.step.frames != 1:
        pytest.skip(f"{backend.name} has no artifact for T = 1")
    step, clip = (backend.load(bundle, item, SessionOptions()) for item in (plan.step, plan.clip))
    assert step.info.artifact == plan.step.name
    for one, other in zip(step.run(frames[:1], state), clip.run(frames[:1], state), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# --- whose arrays ---------------------------------------------------------------------------------------


def test_the_results_are_the_callers(session: Session, frames: Any, state: Any) -> None:
    results = [session.run(frames[index : index + 1], state) for index in (0, 5)]
    kept = [[np.array(array) for array in result] for result in results]
    arrays = [frames, state, *results[0], *results[1]]
    for index, one in enumerate(arrays):
        for other in arrays[:index]:
            assert not np.shares_memory(one, other)
    for array in results[0]:
        if isinstance(array, np.ndarray):  # a state may be kept on a GPU, or in a form of its backend's
            array[:] = 9  # theirs to write
    again = session.run(frames[:1], state)
    for name, got, expected in zip(("maps", "state"), again, kept[0], strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=f"{name}: a caller's writing came back")
    for name, got, expected in zip(("maps", "state"), results[1], kept[1], strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=f"{name}: overwritten by a later run")


def test_what_comes_in_is_only_read(session: Session, frames: Any, state: Any) -> None:
    expected = session.run(frames[:3], state)
    clip, past = frames[:3].copy(), state.copy()
    for array in (clip, past):
        array.flags.writeable = False
    for got, wanted in zip(session.run(clip, past), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(clip, frames[:3])
    np.testing.assert_array_equal(past, state)


def test_strides_do_not_matter(session: Session, frames: Any, state: Any) -> None:
    expected = session.run(np.ascontiguousarray(frames[:6:2]), state)
    wide = np.zeros((*state.shape[:-1], 2 * state.shape[-1]), np.float32)
    wide[..., ::2] = state
    for got, wanted in zip(session.run(frames[:6:2], wide[..., ::2]), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_later_change_of_the_input_changes_nothing(session: Session, frames: Any, state: Any) -> None:
    clip, past = frames[:2].copy(), state.copy()
    expected = session.run(clip, past)
    kept = [np.array(array) for array in expected]
    clip[:], past[:] = 0, 0
    for got, wanted in zip(expected, kept, strict=True):
        np.testing.assert_array_equal(got, wanted)
    for got, wanted in zip(session.run(frames[:2], state), kept, strict=True):
        np.testing.assert_array_equal(got, wanted)


# --- what it says of itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_the_info_is_read_back(threads: int, backend: Backend, bundle: Bundle, artifact: Artifact) -> None:
    if threads > usable_cores():
        pytest.skip(f"this process may use {usable_cores()} core")
    session = backend.load(bundle, artifact, SessionOptions(threads=threads))
    info = session.info
    assert info.backend == backend.name
    assert info.engine == f"{backend.name} {backend.installed().version}"
    assert info.artifact == artifact.name
    assert info.device.upper() == "CPU"
    assert info.precision == "fp32"
    assert info.threads == threads
    assert json.loads(json.dumps(info.as_dict()))["threads"] == threads
    if backend.name == "openvino":  # bf16 where the processor has it, unless it is told
        assert info.details["float_precision"] == "f32"
    if backend.name == "onnxruntime":  # it does by default
        assert info.details["spinning"] == "0"
    session.close()


def test_openvino_says_what_it_computes_in_not_what_was_asked(
    bundle: Bundle, rewritten: Callable[..., Bundle]
) -> None:
    found = BACKENDS["openvino"]
    if not found.probe().ok:
        pytest.skip(found.probe().reason)
    plan = plan_for(bundle, found, "fp32")
    assert isinstance(plan, Plan)
    data = bundle.read(plan.clip.files[0])
    for asked in ("bf16", "fp16"):
        other = rewritten("other", {"other.onnx": data}, like=plan.clip, precision=asked)
        info = found.load(other, other.artifact("other"), SessionOptions()).info
        real = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}[info.details["float_precision"]]
        assert info.precision == real, f"asked for {asked}"


@pytest.mark.parametrize("threads", [0, -1, 10_000, True, 1.0, "1", None])
def test_threads_that_there_are_not(threads: Any) -> None:
    with pytest.raises(OptionError, match=f"threads must be from 1 to {usable_cores()}") as raised:
        SessionOptions(threads=threads)
    assert repr(threads) in str(raised.value)


# --- failing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["garbage", "half", "empty"])
def test_an_artifact_that_is_none(
    how: str, backend: Backend, bundle: Bundle, artifact: Artifact, rewritten: Callable[..., Bundle]
) -> None:
    whole = bundle.read(artifact.files[0])
    data = {"garbage": bytes(range(256)) * 40, "half": whole[: len(whole) // 2], "empty": b""}[how]
    damaged = rewritten("bad-fp32", {"bad.bin": data}, like=artifact)
    damaged.verify()  # the hashes are right, so only the engine can tell
    with pytest.raises(SessionError) as raised:
        backend.load(damaged, damaged.artifact("bad-fp32"), SessionOptions())
    for words in (backend.name, "bad-fp32", "rewritten"):
        assert words in str(raised.value)


def test_an_artifact_that_was_changed(
    backend: Backend, bundle: Bundle, artifact: Artifact, rewritten: Callable[..., Bundle]
) -> None:
    data = bundle.read(artifact.files[0])
    copied = rewritten("copy", {"copy.bin": data}, like=artifact)
    (Path(copied.location) / "copy.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(HashMismatchError, match=r"copy\.bin"):
        backend.load(copied, copied.artifact("copy"), SessionOptions())


def test_what_does_not_fit_is_an_error_of_the_session(session: Session, frames: Any, state: Any) -> None:
    expected = session.run(frames[:1], state)
    wrong = {
        "size of the frames": (frames[:1, :-4], state),
        "channels": (frames[:1, :, :, :2], state),
        "rank": (frames[0], state),
        "size of the state": (frames[:1], state[:, :, :-1]),
        "channels of the state": (frames[:1], state[:, :-1]),
    }
    for name, (clip, past) in wrong.items():
        try:
            session.run(clip, past)
        except SessionError as error:
            message = str(error)
        else:
            pytest.fail(f"{name}: {clip.shape} and {past.shape} were taken")
        assert session.info.backend in message, name
    for got, wanted in zip(session.run(frames[:1], state), expected, strict=True):
        np.testing.assert_array_equal(got, wanted, err_msg="the failures left something behind")


def test_a_closed_session_says_so(
    backend: Backend, bundle: Bundle, artifact: Artifact, frames: Any, state: Any
) -> None:
    session = backend.load(bundle, artifact, SessionOptions())
    other = backend.load(bundle, artifact, SessionOptions())
    session.close()
    session.close()
    with pytest.raises(ClosedError, match=f"{backend.name} session of {artifact.name}"):
        session.run(frames[:1], state)
    assert other.run(frames[:1], state)[0].any(), "closing one closed the other"
    other.close()


def test_closing_while_it_runs(backend: Backend, bundle: Bundle, artifact: Artifact, state: Any) -> None:
    frames = bundle.golden().frames
    session = backend.load(bundle, artifact, SessionOptions())
    expected = session.run(frames[:8], state)[0]
    started, odd = threading.Barrier(4), []

    def run() -> None:
        started.wait()
        try:
            while True:
                np.testing.assert_array_equal(session.run(frames[:8], state)[0], expected)
        except ClosedError:
            return
        except BaseException as error:
            odd.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    session.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not odd


# --- the process it lives in ----------------------------------------------------------------------------


def test_torch_leaves_its_globals_as_they_were(bundle: Bundle, frames: Any, state: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    backend = BACKENDS["torch"]
    if not backend.probe().ok:
        pytest.skip(backend.probe().reason)

    def facts() -> dict[str, Any]:
        return {
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "dtype": torch.get_default_dtype(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "random": torch.random.get_rng_state().numpy().tobytes(),
        }

    threads = torch.get_num_threads()
    try:
        for outer, asked in ((2, 1), (1, min(2, usable_cores()))):
            torch.set_num_threads(outer)
            before = facts()
            plan = plan_for(bundle, backend, "fp32")
            assert isinstance(plan, Plan)
            session = backend.load(bundle, plan.clip, SessionOptions(threads=asked))
            assert facts() == before, "loading"
            session.run(frames[:2], state)
            assert facts() == before, "running"
            with pytest.raises(SessionError):
                session.run(frames[:2], state[:, :1])
            assert facts() == before, "failing"
    finally:
        torch.set_num_threads(threads)


_USE = """
import json, sys, time
from uva_edge.bundle import Bundle
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.registry import BACKENDS

location, backend, artifact, threads = sys.argv[1:]
bundle = Bundle.open(location)
golden = bundle.golden()
session = BACKENDS[backend].load(bundle, bundle.artifact(artifact), SessionOptions(threads=int(threads)))

def cpu(count, pause=0):  # CPU seconds of a run, and cores kept busy
    wall, busy = time.perf_counter(), time.process_time()
    for _ in range(count):
        session.run(golden.frames[:4], golden.state)
        time.sleep(pause)
    busy = time.process_time() - busy
    return busy / count, busy / (time.perf_counter() - wall)

cpu(10)
alone, cores = cpu(100)
paced = min(cpu(10, 0.01)[0] for _ in range(4))  # whatever else the machine does can only add
start = time.process_time()
time.sleep(0.3)
left = time.process_time() - start
print(json.dumps({"cores": cores, "between": (paced - alone) / 0.01, "after": left / 0.3}))
"""


@pytest.mark.skipif(usable_cores() < 2, reason="with one core there is no more to take")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_cores_than_asked_and_none_when_idle(
    threads: int, backend: Backend, bundle: Bundle, artifact: Artifact
) -> None:
    """CPU time of runs back to back, with the pauses of a camera, and afterwards: a thread that spins shows."""
    variables = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", _USE, bundle.location, backend.name, artifact.name, str(threads)],
        capture_output=True,
        text=True,
        env=variables,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    assert used["cores"] < threads + 0.3, f"{backend.name} kept {used['cores']:.2f} cores busy"
    assert used["cores"] > 0.01, "nothing ran"
    assert used["after"] < 0.3, (
        f"{backend.name} was busy for {used['after']:.0%} of the time after the last run"
    )
    # OpenMP's threads wait for each other by spinning. torch is the reference: not what a camera runs on.
    if backend.name != "torch":
        assert used["between"] < 0.3, f"{backend.name} was busy for {used['between']:.0%} of the pauses"


# --- OpenVINO's own format ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ir(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bundle's ONNX as OpenVINO IR: the graph, and the weights beside it."""
    openvino = pytest.importorskip("openvino", reason="needs the extra 'openvino'")
    plan = plan_for(bundle, BACKENDS["onnxruntime"], "fp32")
    assert isinstance(plan, Plan)
    path = tmp_path_factory.mktemp("ir") / "clip.xml"
    openvino.serialize(openvino.Core().read_model(bundle.read(plan.clip.files[0]), b""), path)
    return {"ir/clip.xml": path.read_bytes(), "ir/clip.bin": path.with_suffix(".bin").read_bytes()}


def test_openvino_reads_its_own_format(
    ir: dict[str, bytes], bundle: Bundle, rewritten: Callable[..., Bundle], frames: Any, state: Any
) -> None:
    like = bundle.manifest.artifacts[0]
    other = rewritten("ir-fp32", ir, like=like, format="openvino", precision="fp32", frames=None)
    plan = plan_for(other, BACKENDS["openvino"], "fp32")
    assert isinstance(plan, Plan)
    session = plan.backend.load(other, plan.clip, SessionOptions())
    assert (session.info.artifact, session.info.precision) == ("ir-fp32", "fp32")
    reference = plan_for(bundle, BACKENDS["onnxruntime"], "fp32")
    assert isinstance(reference, Plan)
    expected = reference.backend.load(bundle, reference.clip, SessionOptions()).run(frames[:5], state)
    for got, wanted in zip(session.run(frames[:5], state), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("part", ["ir/clip.xml", "ir/clip.bin"])
def test_openvino_refuses_half_of_its_own_format(
    part: str, ir: dict[str, bytes], bundle: Bundle, rewritten: Callable[..., Bundle]
) -> None:
    files = {**ir, part: ir[part][: len(ir[part]) // 2]}
    like = replace(bundle.manifest.artifacts[0], format="openvino", precision="fp32", frames=None)
    other = rewritten("ir-fp32", files, like=like)
    with pytest.raises(SessionError, match="ir-fp32 of rewritten"):
        BACKENDS["openvino"].load(other, other.artifact("ir-fp32"), SessionOptions())


_FREED_ELSEWHERE = """
import os, signal, sys, threading
import numpy as np
from uva_edge import SaliencyPredictor

predictors = [SaliencyPredictor(sys.argv[1], backend=sys.argv[2])]
predictors[0].predict(np.zeros((9, 9, 3), np.uint8))
thread = threading.Thread(target=predictors.clear)  # the last reference goes in another thread
thread.start()
thread.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", BACKENDS)
def test_ctrl_c_after_a_predictor_was_freed_in_another_thread(name: str, bundle: Bundle) -> None:
    if not BACKENDS[name].installed().ok:
        pytest.skip(BACKENDS[name].installed().reason)
    words = [sys.executable, "-c", _FREED_ELSEWHERE, bundle.location, name]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.strip()) == (0, "interrupted"), result.stderr
