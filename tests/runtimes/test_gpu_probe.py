"""In which states a GPU backend can find its machine, what it says of each, and how that is mended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeGpu, Result
from fake_machine import FakeMachine, engine_bundle

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.environment import Availability
from uva_edge.errors import SessionError
from uva_edge.runtimes import SaliencyPredictor, cuda
from uva_edge.runtimes.backend import Backend, SessionOptions
from uva_edge.runtimes.cuda import ONE_OP, CudaBackend
from uva_edge.runtimes.engine_header import EngineHeader
from uva_edge.runtimes.engines import host_platform
from uva_edge.runtimes.registry import BACKENDS, GPU, PRIORITY
from uva_edge.runtimes.tensorrt import TensorRtBackend

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


def backends(machine: FakeMachine) -> dict[str, Backend]:
    return {
        "tensorrt": TensorRtBackend("tensorrt", machine),
        "tensorrt_rtx": TensorRtBackend("tensorrt_rtx", machine),
        "cuda": CudaBackend(machine),
    }


@pytest.fixture(params=GPU)
def backend(request: pytest.FixtureRequest, machine: FakeMachine) -> Backend:
    return backends(machine)[request.param]


# --- the machine ----------------------------------------------------------------------------------------


def test_where_everything_is_there(backend: Backend) -> None:
    for found in (backend.installed(), backend.probe()):
        assert found == Availability("ok", "1.0")


def test_no_driver(backend: Backend, machine: FakeMachine) -> None:
    machine.with_driver = False
    machine.packages = {"tensorrt": Availability("missing", reason="never looked at")}
    for found in (backend.installed(), backend.probe()):
        assert (found.status, found.reason) == ("missing", "there is no NVIDIA driver here")
    assert not machine.driver.calls


def test_no_package(backend: Backend, machine: FakeMachine) -> None:
    gone = Availability("missing", reason="it is not installed", fix="pip install it")
    machine.packages = dict.fromkeys(machine.modules, gone)
    assert backend.installed() == backend.probe() == gone
    assert not machine.driver.calls, "the driver need not be asked"


def test_a_broken_package(backend: Backend, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Availability("broken", "1.0", "ImportError: libnvinfer.so.10", "pip install it again")
    monkeypatch.setattr(machine, "importable", lambda package: broken)
    assert backend.installed().ok
    assert backend.probe() == broken


def test_no_gpu(backend: Backend, machine: FakeMachine) -> None:
    machine.driver.gpus = []
    found = backend.probe()
    assert (found.status, found.reason) == ("missing", "the NVIDIA driver shows no GPU to this process")
    assert "CUDA_VISIBLE_DEVICES" in found.fix


def test_a_driver_that_does_not_start(backend: Backend, machine: FakeMachine) -> None:
    machine.driver.failures["cuInit"] = Result.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
    found = backend.probe()
    assert found.status == "broken"
    assert "kernel module and its library are of different versions" in found.reason


def test_a_container_without_the_drivers_library(backend: Backend, machine: FakeMachine) -> None:
    """It sees the kernel's files, and has no share in the GPU: nothing is broken."""
    machine.driver.failures["cuDriverGetVersion"] = RuntimeError("libcuda.so.1: cannot open")
    found = backend.probe()
    assert found.status == "missing"
    assert "libcuda.so.1: cannot open" in found.reason
    assert "--gpus all" in found.fix


def test_an_old_driver(backend: Backend, machine: FakeMachine) -> None:
    machine.names = ("numpy", "tensorrt_cu13", "tensorrt-rtx-cu13-libs")
    machine.modules["onnxruntime"].cuda_version = "13.0"
    assert backend.probe().ok
    machine.driver.version = 12040
    found = backend.probe()
    assert found.status == "broken"
    assert "is made for CUDA 13, the driver 580.65.06 supports CUDA 12.4 and earlier" in found.reason
    assert found.fix.startswith("update the NVIDIA driver to one for CUDA 13")


def test_packages_that_do_not_tell_their_cuda_are_given_a_chance(
    backend: Backend, machine: FakeMachine
) -> None:
    machine.names = ("tensorrt", "tensorrt-rtx")
    machine.modules["onnxruntime"].cuda_version = ""
    machine.driver.version = 11040
    assert backend.probe().ok


# --- ONNX Runtime ---------------------------------------------------------------------------------------


def test_an_onnxruntime_for_the_cpu(machine: FakeMachine) -> None:
    machine.modules["onnxruntime"].providers = [CPU]
    found = CudaBackend(machine).probe()
    assert (found.status, found.reason) == ("missing", "onnxruntime 1.23.2 was built for the CPU alone")
    assert found.fix == (
        "pip install 'uva-edge[cuda]'; pip uninstall -y onnxruntime; "
        "pip install --force-reinstall --no-deps onnxruntime-gpu"
    )


def test_two_onnxruntimes_of_which_the_cpu_came_last(machine: FakeMachine) -> None:
    machine.modules["onnxruntime"].providers = [CPU]
    both = "onnxruntime and onnxruntime-gpu are installed over each other"
    machine.packages = {"onnxruntime": Availability("ok", "1.23.2", both, "fix")}
    found = CudaBackend(machine).probe()
    assert found.status == "broken"
    assert found.reason == f"onnxruntime 1.23.2 has no CUDA provider: {both}"
    assert found.fix.startswith("pip uninstall -y onnxruntime; pip install --force-reinstall")
    machine.modules["onnxruntime"].providers = [CUDA, CPU]
    assert CudaBackend(machine).probe() == machine.packages["onnxruntime"], "the right one came last: it runs"


def test_libraries_that_are_missing(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.modules["onnxruntime"].absent = ("libcublasLt.so.12", "libcudnn.so.9")
    found = CudaBackend(machine).probe()
    assert found.status == "broken"
    assert found.reason == (
        "onnxruntime takes the CPU instead of CUDA: these libraries can't be loaded: libcublasLt.so.12, libcudnn.so.9"
    )
    assert found.fix.startswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")
    assert capsys.readouterr() == ("", ""), "what ONNX Runtime prints is told once"


def test_an_onnxruntime_that_does_not_start(machine: FakeMachine) -> None:
    machine.modules["onnxruntime"].refuses = "CUDA failure 999: unknown error"
    found = CudaBackend(machine).probe()
    assert found.status == "broken"
    assert "CUDA failure 999: unknown error" in found.reason


def test_a_session_that_landed_on_the_cpu_is_refused(machine: FakeMachine, bundle: Bundle) -> None:
    machine.modules["onnxruntime"].absent = ("libcudnn.so.9",)
    for name in ("onnx-fp32", "onnx-fp32-t1"):
        with pytest.raises(SessionError, match=rf"put {name} of .* on CPUExecutionProvider instead of CUDA"):
            CudaBackend(machine).load(bundle, bundle.artifact(name), SessionOptions())


def test_the_model_of_one_operator() -> None:
    """Built by hand, so that the probe needs no onnx."""
    onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
    import onnxruntime

    model = onnx.load_from_string(ONE_OP)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    session = onnxruntime.InferenceSession(ONE_OP, providers=[CPU])
    assert session.run(None, {"x": np.float32([3])})[0] == 6


def test_the_real_onnxruntime_for_the_cpu_is_told(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package of this installation, on a machine with a GPU."""
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    monkeypatch.setitem(machine.modules, "onnxruntime", onnxruntime)
    assert "was built for the CPU alone" in CudaBackend(machine).probe().reason
    assert cuda._load_libraries(onnxruntime) == [], "a build for the CPU needs none"


# --- engines --------------------------------------------------------------------------------------------


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def flavour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def load(flavour: Any, machine: FakeMachine, bundle: Bundle, tmp_path: Path) -> Callable[..., Any]:
    def _load(**changes: Any) -> Any:
        made = engine_bundle(bundle, tmp_path / "engines", flavour, **changes)
        artifact = made.artifact(f"{flavour.replace('_', '-')}-fp32-t1")
        return TensorRtBackend(flavour, machine).load(made, artifact, SessionOptions())

    return _load


def package(machine: FakeMachine, flavour: str) -> Any:
    return machine.modules["tensorrt" if flavour == "tensorrt" else "tensorrt_rtx_bindings"]


def test_an_engine_that_fits_is_loaded(load: Callable[..., Any], flavour: str) -> None:
    info = load(precision="fp16").info
    assert (info.backend, info.precision, info.threads) == (flavour, "fp16", 1), "what the header says"
    assert info.engine == "fake_tensorrt 10.13.3"
    assert info.details == {"frames_per_call": "1 to 1", "cuda_graph": "replayed"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute_capabilities": ("9.0",)}, r"GPU: built for compute capability 9\.0, here is .* 8\.6"),
        ({"version": "10.9.0"}, r"version: built for 10\.9\.0, here is 10\.13\.3"),
        ({"platform": "linux-riscv64"}, "platform: built for linux-riscv64"),
        ({"engine_sha256": "0" * 64}, "not the one that its header describes"),
    ],
)
def test_an_engine_for_something_else(
    changes: dict[str, Any], words: str, load: Callable[..., Any], flavour: str, machine: FakeMachine
) -> None:
    """Refused before TensorRT sees it, with the command that builds it anew."""
    package(machine, flavour).no_engine = "never asked"
    with pytest.raises(SessionError, match=words) as raised:
        load(**changes)
    assert "uva-edge build-engine " in str(raised.value)
    assert f"--to {flavour.replace('_', '-')}" in str(raised.value)


def test_another_flavour(load: Callable[..., Any], flavour: str) -> None:
    other = "tensorrt" if flavour == "tensorrt_rtx" else "tensorrt_rtx"
    with pytest.raises(SessionError, match=f"flavour: built for {other}, here is {flavour}"):
        load(flavour=other)


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("no_engine", "TensorRT does not take the engine; cudaError 35: CUDA driver version is insufficient"),
        ("no_context", "TensorRT makes no execution context; cudaError 35"),
        ("no_runtime", "it has no runtime here: .*nullptr; cudaError 35"),
        ("fails", "TensorRT failed to run the engine; cudaError 35"),
    ],
)
def test_tensorrt_refuses(
    knob: str, words: str, load: Callable[..., Any], flavour: str, machine: FakeMachine
) -> None:
    setattr(package(machine, flavour), knob, "cudaError 35: CUDA driver version is insufficient")
    with pytest.raises(SessionError, match=rf"{flavour} can't load .*-fp32-t1 of engines: {words}"):
        load()
    machine.device().free_spare()
    assert (machine.driver.held, machine.driver.streams) == (0, {}), "nothing is left of the attempt"


def test_an_engine_of_another_network(load: Callable[..., Any], flavour: str, machine: FakeMachine) -> None:
    package(machine, flavour).wrong_maps = True
    with pytest.raises(
        SessionError, match=r"expected maps? of \[1, 32, 32\], the engine gives \[1, 32, 32, 3\]"
    ):
        load()


def test_an_engine_without_a_header(
    flavour: Any, machine: FakeMachine, bundle: Bundle, tmp_path: Path
) -> None:
    for files, words in (
        ({"a.engine": b"x"}, "expected an engine and its header, got one file"),
        ({"a.engine": b"x", "a.json": b"{}"}, "can't load lone of lone"),
    ):
        made = write_bundle(
            tmp_path / "lone",
            name="lone",
            network=bundle.manifest.network,
            contract=bundle.manifest.contract,
            artifacts=[ArtifactSource("lone", flavour, "fp32", None, files, {}, {})],
            golden=bundle.golden(),
            accuracy={},
            lineage=bundle.manifest.lineage,
        )
        with pytest.raises(SessionError, match=words):
            TensorRtBackend(flavour, machine).load(made, made.artifact("lone"), SessionOptions())


def test_an_engine_of_odd_types(
    load: Callable[..., Any], flavour: str, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nptype(kind: Any) -> Any:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")

    monkeypatch.setattr(package(machine, flavour), "nptype", nptype)
    with pytest.raises(SessionError, match=r"TypeError: Could not resolve TensorRT datatype"):
        load()


def test_a_gpu_that_went_away(load: Callable[..., Any], machine: FakeMachine) -> None:
    machine.driver.failures["cuInit"] = Result.CUDA_ERROR_NO_DEVICE
    with pytest.raises(SessionError, match="shows no GPU to this process; check CUDA_VISIBLE_DEVICES"):
        load()


def test_a_real_engine_as_far_as_a_machine_without_a_gpu_allows(
    machine: FakeMachine, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built, described and read back; TensorRT-RTX itself then says that there is no driver."""
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra 'tensorrt-rtx'")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    from uva_edge.export.tensorrt import EngineOptions, build_engine
    from uva_edge.gpu import has_driver

    if has_driver():
        pytest.skip("there is a driver; tests/runtimes/test_on_gpu.py runs the engine")
    graph = bundle.read(bundle.artifact("onnx-fp32").files[0])
    contract = bundle.manifest.contract
    engine, header = build_engine(
        "tensorrt_rtx", graph, contract, "fp32", frames=1, options=EngineOptions(capabilities=("8.6",))
    )
    assert header.onnx_sha256 == hashlib.sha256(graph).hexdigest()
    made = write_bundle(
        tmp_path / "real",
        name="real",
        network=bundle.manifest.network,
        contract=contract,
        artifacts=[
            ArtifactSource(
                "rtx", "tensorrt_rtx", "fp32", 1, {"e.engine": engine, "e.json": header.to_bytes()}, {}, {}
            )
        ],
        golden=bundle.golden(),
        accuracy={},
        lineage=bundle.manifest.lineage,
    )
    monkeypatch.setitem(machine.modules, "tensorrt_rtx_bindings", rtx)
    backend = TensorRtBackend("tensorrt_rtx", machine)
    with pytest.raises(
        SessionError, match=r"does not take the engine; .*CUDA driver version is insufficient"
    ):
        backend.load(made, made.artifact("rtx"), SessionOptions())
    machine.driver.gpus = [FakeGpu(capability=(9, 0))]
    with pytest.raises(
        SessionError, match=r"built for compute capability 8\.6, here is compute capability 9\.0"
    ):
        backend.load(made, made.artifact("rtx"), SessionOptions())
    assert EngineHeader.from_bytes(made.read(made.artifact("rtx").files[1])).platform == host_platform()


# --- the choice -----------------------------------------------------------------------------------------


def test_gpus_come_first_on_every_processor() -> None:
    assert set(GPU) <= set(BACKENDS)
    for processor, order in PRIORITY.items():
        assert order[: len(GPU)] == GPU, processor


def test_a_gpu_comes_before_int8_of_a_processor(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cuda", CudaBackend(machine))
    with SaliencyPredictor("uva-32") as predictor:
        assert (predictor.backend, predictor.info.precision) == ("cuda", "fp32")
        lines = predictor.explain().splitlines()
    assert lines[2].startswith("cuda: chosen")
    assert any(line.startswith("onnxruntime: possible") for line in lines)


def test_a_bundle_without_engines_names_the_command(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, item in backends(machine).items():
        monkeypatch.setitem(BACKENDS, name, item)
    with SaliencyPredictor("uva-32") as predictor:
        first, second, *_ = predictor.explain().splitlines()
    for line, word in ((first, "tensorrt"), (second, "tensorrt-rtx")):
        assert "needs an artifact of any length in format" in line
        assert "uva-edge build-engine " in line
        assert f"uva-32 --to {word})" in line


def test_without_a_gpu_no_artifact_is_asked_for() -> None:
    if BACKENDS["cuda"].installed().ok:
        pytest.skip("there is a driver")
    with SaliencyPredictor("uva-32", backend="auto") as predictor:
        rejected = [str(line) for line in predictor.decisions if line.backend in GPU]
    assert len(rejected) == len(GPU)
    assert all("rejected, there is no NVIDIA driver here (install" in line for line in rejected), rejected
