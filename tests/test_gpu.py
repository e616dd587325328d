"""What is found out about GPUs, from a driver that a test makes up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeDriver, FakeGpu, Result

from uva_edge import gpu, kernel_files
from uva_edge.gpu import NO_DRIVER, Gpu, GpuFacts, ask, has_driver, probe_gpus

H200 = Gpu("NVIDIA H200", "9.0", 141 << 30)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The machine's files, path -> contents; none at first."""
    contents: dict[str, str] = {}
    monkeypatch.setattr(kernel_files, "read", lambda path: contents.get(path, ""))
    monkeypatch.setattr("os.path.exists", lambda path: path in contents)
    monkeypatch.setattr("glob.glob", lambda pattern: [path for path in contents if "/gpus/" in path])
    probe_gpus.cache_clear()
    yield contents
    probe_gpus.cache_clear()


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Put something in the place of cuda.bindings."""

    def _binding(module: Any) -> None:
        monkeypatch.setitem(sys.modules, "cuda.bindings", module)

    return _binding


class Bindings:
    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver


def test_a_machine_without_a_driver_imports_nothing(
    files: dict[str, str], binding: Callable[..., None]
) -> None:
    binding(None)  # an import would fail
    assert not has_driver()
    assert probe_gpus() is NO_DRIVER
    assert not NO_DRIVER.usable
    assert str(NO_DRIVER) == "none, driver: none"
    assert "--gpus all" in NO_DRIVER.fix


@pytest.mark.parametrize("trace", ["/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-ctrl-gpu"])
def test_a_driver_leaves_traces(trace: str, files: dict[str, str]) -> None:
    files[trace] = ""
    assert has_driver()


def test_a_driver_is_asked(files: dict[str, str], binding: Callable[..., None]) -> None:
    files["/proc/driver/nvidia/version"] = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\nGCC version: 12.3.0\n"
    )
    driver = FakeDriver()
    driver.gpus = [FakeGpu("NVIDIA H200", (9, 0), 141 << 30), FakeGpu()]
    driver.version = 12080
    binding(Bindings(driver))
    found = probe_gpus()
    assert found == GpuFacts("580.65.06", "12.8", (H200, Gpu("NVIDIA Fake", "8.6", 8 << 30)))
    assert found.usable
    assert str(found) == (
        "NVIDIA H200 (compute capability 9.0, 141 GiB), NVIDIA Fake (compute capability 8.6, 8 GiB), "
        "driver: 580.65.06 (CUDA 12.8)"
    )
    assert [found.supports(major) for major in (11, 12, 13)] == [True, True, False]
    calls = driver.calls.copy()
    assert probe_gpus() is found
    assert driver.calls == calls, "asked once"


def test_without_the_binding_the_kernel_still_gives_names(
    files: dict[str, str], binding: Callable[..., None]
) -> None:
    files["/proc/driver/nvidia/version"] = "NVRM version: NVIDIA UNIX 540.4.0\n"
    files["/proc/driver/nvidia/gpus/0000:01:00.0/information"] = "Model: \t NVIDIA L4\nIRQ: 1\n"
    binding(None)
    found = probe_gpus()
    assert (found.driver, found.cuda, found.gpus) == ("540.4.0", None, (Gpu("NVIDIA L4"),))
    assert "cuda-bindings is not there" in found.problem
    assert found.fix == "pip install 'cuda-bindings>=12.6'"
    assert str(found) == "NVIDIA L4, driver: 540.4.0"
    assert not found.supports(11)


def test_a_jetson_is_known_by_its_board(files: dict[str, str], binding: Callable[..., None]) -> None:
    files["/dev/nvhost-ctrl-gpu"] = ""
    files["/proc/device-tree/model"] = "NVIDIA Jetson Orin Nano\0"
    binding(None)
    assert probe_gpus().gpus == (Gpu("NVIDIA Jetson Orin Nano"),)


@pytest.mark.parametrize(
    ("failures", "words", "fix"),
    [
        ({"cuInit": Result.CUDA_ERROR_NO_DEVICE}, "shows no GPU to this process", "CUDA_VISIBLE_DEVICES"),
        ({"cuInit": Result.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH}, "of different versions", "restart"),
        ({"cuInit": Result.CUDA_ERROR_OUT_OF_MEMORY}, "does not start: CUDA_ERROR_OUT_OF_MEMORY", "install"),
        ({"cuInit": RuntimeError("libcuda.so.1: no such file")}, "libcuda.so.1: no such file", "install"),
        ({"cuDeviceTotalMem": Result.CUDA_ERROR_INVALID_VALUE}, "asked: CUDA_ERROR_INVALID_VALUE", "install"),
    ],
)
def test_a_driver_that_fails_is_a_reason(failures: dict[str, Any], words: str, fix: str) -> None:
    driver = FakeDriver()
    driver.failures = failures
    found = ask(driver, "550.54")
    assert not found.usable
    assert words in found.problem
    assert fix in found.fix
    assert found.driver == "550.54"
    assert found.broken == ("shows no GPU" not in words)


def test_a_driver_without_its_library_is_not_broken() -> None:
    driver = FakeDriver()
    driver.failures = {"cuDriverGetVersion": RuntimeError("libcuda.so.1: no such file")}
    found = ask(driver, "550.54")
    assert (found.cuda, found.usable, found.broken) == (None, False, False)


def test_no_gpu_is_a_reason() -> None:
    driver = FakeDriver()
    driver.gpus = []
    driver.failures = {"cuInit": Result.CUDA_SUCCESS}
    assert "shows no GPU" in ask(driver, None).problem


def test_the_real_binding_answers_here() -> None:
    """With a driver or without one: facts, never an exception."""
    pytest.importorskip("cuda.bindings", reason="needs the extra 'cuda-python'")
    from cuda.bindings import driver

    found = ask(driver, None)
    assert found.usable == bool(found.cuda and found.gpus)
    if not Path("/proc/driver/nvidia").exists() and not has_driver():
        assert "the NVIDIA driver can't be asked: " in found.problem
        assert gpu.probe_gpus() == NO_DRIVER
