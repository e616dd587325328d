"""On a real GPU: what the fakes can't show. Skipped where there is none, with the reason that the probe gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.conformance import cases, run_cases
from uva_edge.runtimes.engines import WORDS, capability_here
from uva_edge.runtimes.registry import BACKENDS, GPU
from uva_edge.runtimes.selection import Plan, plan_for

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=GPU)
def backend(request: pytest.FixtureRequest) -> Any:
    found = BACKENDS[request.param]
    availability = found.probe()
    if not availability.ok:
        pytest.skip(f"{availability.reason}; {availability.fix}")
    return found


@pytest.fixture(scope="module", params=["uva-32", "uva-64"])
def made_for(
    request: pytest.FixtureRequest, backend: Any, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A shipped bundle; for TensorRT with engines of it for this GPU, in float32 and float16."""
    if backend.name not in WORDS:
        return Bundle.shipped(request.param)
    pytest.importorskip("onnxscript", reason="engines are built with the extra 'export'")
    from uva_edge.errors import OptionError
    from uva_edge.export.bundles import export_bundle
    from uva_edge.export.tensorrt import EngineOptions

    word = WORDS[backend.name]
    options = EngineOptions(capabilities=(capability_here(),) if backend.name == "tensorrt_rtx" else ())
    place: Path = tmp_path_factory.mktemp("gpu") / request.param
    try:
        return export_bundle(
            request.param, place, name=request.param, to=["onnx", word, f"{word}-fp16"], engines=options
        )
    except OptionError as error:
        if "builds for" not in str(error):
            raise
        pytest.skip(str(error))  # its own words, where it does not know this GPU


@pytest.fixture
def sessions(backend: Any, made_for: Bundle) -> Iterator[tuple[Any, Any]]:
    """For T = 1, and for any T."""
    plan = plan_for(made_for, backend, "fp32")
    assert isinstance(plan, Plan)
    step, clip = (backend.load(made_for, item, SessionOptions()) for item in (plan.step, plan.clip))
    yield step, clip
    step.close()
    clip.close()


def test_the_golden_clip(backend: Any, made_for: Bundle) -> None:
    """Every artifact that the backend reads, in every precision."""
    outcomes = list(run_cases(made_for, cases(made_for, [backend])))
    assert outcomes
    for outcome in outcomes:
        assert outcome.status == "PASS", f"{outcome.case}: {outcome.message}"


def test_a_replayed_graph_computes_what_the_engine_does(sessions: tuple[Any, Any], made_for: Bundle) -> None:
    step, clip = sessions
    assert step.info.details["cuda_graph"] == "replayed"
    assert clip.info.details["cuda_graph"] == "none, T is open"
    golden = made_for.golden()
    replayed, plain = golden.state, golden.state
    for frame in golden.frames[:16]:
        one, replayed = step.run(frame[None], replayed)
        other, plain = clip.run(frame[None], plain)
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_maps_go_to_torch_where_they_are(sessions: tuple[Any, Any], made_for: Bundle) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} can't use this GPU")
    golden = made_for.golden()
    for session in sessions:
        maps, state = session.run_on_device(golden.frames[:1], golden.state)
        expected, expected_state = session.run(golden.frames[:1], golden.state)
        for array, wanted in ((maps, expected), (state, expected_state)):
            for tensor in (torch.from_dlpack(array), torch.as_tensor(array, device="cuda")):
                assert tensor.is_cuda
                assert tensor.data_ptr() == array.address, "it was copied"
                np.testing.assert_array_equal(tensor.cpu().numpy(), wanted)


def test_two_streams_from_two_threads(backend: Any, made_for: Bundle, flight: Any) -> None:
    with SaliencyPredictor(made_for.location, backend=backend.name) as predictor:
        expected = [predictor.predict_clip(frames) for frames in (flight, flight[::-1])]
        found: dict[int, Any] = {}
        barrier = threading.Barrier(2)

        def work(number: int) -> None:
            with predictor.stream() as stream:
                barrier.wait()
                found[number] = np.stack([stream.push(frame).map for frame in flight[:: 1 - 2 * number]])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        for number, maps in enumerate(expected):
            np.testing.assert_allclose(found[number], maps, atol=1e-4)


def test_states_may_be_anywhere(sessions: tuple[Any, Any], made_for: Bundle) -> None:
    golden = made_for.golden()
    step, clip = sessions
    _, left = step.run(golden.frames[:1], golden.state)
    by_device, by_host = (step.run(golden.frames[1:2], state)[0] for state in (left, left.numpy()))
    np.testing.assert_array_equal(by_device, by_host)
    np.testing.assert_allclose(clip.run(golden.frames[1:2], left)[0], by_host, atol=1e-4)
