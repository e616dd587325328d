"""cuda-python itself, on a driver of a few lines of C; and the fakes, held to what the real packages offer."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeDriver, Result
from fake_onnxruntime import FakeBinding, FakeOnnxRuntime, FakeSession
from fake_tensorrt import FakeContext, FakeEngine, FakeRuntime, FakeTensorRt

_USE = """
import ctypes, gc, json
import numpy as np
from cuda.bindings import driver
from uva_edge.errors import SessionError
from uva_edge.gpu import ask
from uva_edge.runtimes.cuda_memory import Device, DeviceArray, PinnedArray, Stream

facts = ask(driver, "1.0")
device = Device(driver)
report = {"facts": str(facts)}
try:
    device.call("cuMemAlloc", 64)
except SessionError as error:
    report["without a context"] = str(error)
device.activate()
stream, pinned = Stream(device), PinnedArray(device, 24)
host = pinned.view((2, 3), np.float32)
one, other = DeviceArray((2, 3), np.float32, device), DeviceArray((2, 3), np.float32, device)
host[:] = 1
stream.to_device(one.address, pinned.address, 24)
stream.synchronise()
report["copied"] = one.numpy().tolist()
stream.begin_capture()
stream.to_device(one.address, pinned.address, 24)
stream.on_device(other.address, one.address, 24)
graph = stream.end_capture()
host[:] = 2
graph.launch(stream)
stream.synchronise()
report["replayed"] = other.numpy().tolist()
host[:] = 0
stream.to_host(pinned.address, other.address, 24)
stream.synchronise()
report["back"] = host.tolist()
try:
    device.allocate(1 << 40)
except SessionError as error:
    report["too much"] = str(error)
graph.close()
stream.close()
pinned.free()
if __import__("importlib.util").util.find_spec("cuda.core"):
    from cuda.core.utils import StridedMemoryView
    capsule = other.__dlpack__()
    view = StridedMemoryView.from_dlpack(other, stream_ptr=-1)
    report["dlpack"] = [view.ptr == other.address, list(view.shape), str(view.dtype), view.device_id]
    library = ctypes.CDLL("libcuda.so.1")
    before = library.stub_allocations()
    del other, view
    gc.collect()
    report["kept by the capsule"] = library.stub_allocations() == before
    del capsule
else:
    report["dlpack"], report["kept by the capsule"] = None, None
    del other
del one
gc.collect()
device.free_spare()
report["left"] = ctypes.CDLL("libcuda.so.1").stub_allocations()
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a libcuda.so.1."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    place = tmp_path_factory.mktemp("stub")
    source = Path(__file__).with_name("stub_libcuda.c")
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        "-o",
        str(place / "libcuda.so.1"),
        str(source),
    ]
    subprocess.run(command, check=True)
    return place


def test_the_binding_does_what_the_backends_ask_of_it(stub: Path) -> None:
    """Its types, its conversions, its errors; with a driver for an earlier CUDA than its own."""
    pytest.importorskip("cuda.bindings", reason="needs the extra 'cuda-python'")
    path = os.pathsep.join(filter(None, (str(stub), os.environ.get("LD_LIBRARY_PATH", ""))))
    done = subprocess.run(
        [sys.executable, "-c", _USE],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LD_LIBRARY_PATH": path},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["facts"] == "Stub GPU (compute capability 8.7, 4 GiB), driver: 1.0 (CUDA 12.8)"
    assert "cuMemAlloc: CUDA_ERROR_INVALID_CONTEXT, another error" in report["without a context"]
    assert report["copied"] == [[1.0] * 3] * 2
    assert report["replayed"] == report["back"] == [[2.0] * 3] * 2
    assert (
        "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY, out of memory (asked for 1,099,511,627,776 bytes"
        in report["too much"]
    )
    assert report["dlpack"] in ([True, [2, 3], "float32", 0], None)
    assert report["kept by the capsule"] in (True, None)
    assert report["left"] == 0


# --- the fakes ------------------------------------------------------------------------------------------


def offered(fake: type) -> set[str]:
    """The methods of a fake that stand for real ones."""
    return {name for name, value in vars(fake).items() if callable(value) and not name.startswith("_")}


def test_the_fake_driver_has_functions_of_the_real_one() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="needs the extra 'cuda-python'")
    for name in offered(FakeDriver):
        if name.startswith("cu"):
            assert callable(getattr(driver, name, None)), name
    for result in Result:
        assert int(getattr(driver.CUresult, result.name)) == result, result.name
    for kind in ("CUdevice_attribute", "CUstreamCaptureMode"):
        for name, value in vars(getattr(FakeDriver, kind)).items():
            assert int(getattr(getattr(driver, kind), name)) == value, name


def test_the_fake_tensorrt_has_functions_of_the_real_one() -> None:
    package: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra 'tensorrt-rtx'")
    for fake, real in (
        (FakeRuntime, package.Runtime),
        (FakeEngine, package.ICudaEngine),
        (FakeContext, package.IExecutionContext),
        (FakeTensorRt, package),
    ):
        for name in offered(fake):
            assert hasattr(real, name), f"{real.__name__} has no {name}"
    assert hasattr(package.ICudaEngine, "num_io_tensors")
    for name in ("INTERNAL_ERROR", "ERROR"):
        assert hasattr(package.ILogger, name)
    for name in ("INPUT", "OUTPUT"):
        assert hasattr(package.TensorIOMode, name)


def test_the_fake_onnxruntime_has_functions_of_the_real_one() -> None:
    import onnxruntime

    for fake, real in ((FakeSession, onnxruntime.InferenceSession), (FakeBinding, onnxruntime.IOBinding)):
        for name in offered(fake):
            assert hasattr(real, name), f"{real.__name__} has no {name}"
    for name in offered(FakeOnnxRuntime):
        assert hasattr(onnxruntime, name), name
    wanted = ["self", "name", "device_type", "device_id", "element_type", "shape", "buffer_ptr"]
    for name in ("bind_input", "bind_output"):
        assert list(inspect.signature(getattr(onnxruntime.IOBinding, name)).parameters) == wanted
