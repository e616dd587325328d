"""ONNX Runtime with a CUDA provider, without a GPU: what the backend uses of its API, on the real one's CPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime
from fake_cuda import FakeDriver
from fake_tensorrt import run_on

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeOnnxRuntime:
    """In the place of the module; a test says what is missing."""

    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, driver: FakeDriver, version: str = "1.23.2", cuda: str = "12.8") -> None:
        self.driver = driver
        self.__version__, self.cuda_version = version, cuda
        self.providers = [CUDA, CPU]
        self.absent: tuple[str, ...] = ()
        """Libraries that can't be loaded: then it takes the CPU, and says nothing."""
        self.refuses = self.refuses_graphs = self.no_capture = self.fails = ""
        self.sessions: list[FakeSession] = []

    def get_available_providers(self) -> list[str]:
        return self.providers

    def preload_dlls(self) -> None:
        for name in self.absent:
            print(f"Failed to load {name}: {name}: cannot open shared object file: No such file or directory")

    def InferenceSession(self, model: bytes, options: Any, providers: list[Any]) -> FakeSession:
        session = FakeSession(self, model, options, providers)
        self.sessions.append(session)
        return session


class FakeSession:
    def __init__(self, package: FakeOnnxRuntime, model: bytes, options: Any, providers: list[Any]) -> None:
        self.package = package
        (provider,) = providers
        self.options: dict[str, str] = {} if isinstance(provider, str) else provider[1]
        if package.refuses:
            raise RuntimeError(package.refuses)
        if package.refuses_graphs and self.options.get("enable_cuda_graph") == "1":
            raise RuntimeError(package.refuses_graphs)
        self._session = onnxruntime.InferenceSession(model, options, providers=[CPU])
        self._thread: threading.Thread | None = None
        self._bound: FakeBinding | None = None
        self.runs = 0

    def get_providers(self) -> list[str]:
        return [CPU] if self.package.absent else [CUDA, CPU]

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self)

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        if self.package.fails:
            raise RuntimeError(self.package.fails)
        self.runs += 1
        if self.options["enable_cuda_graph"] == "1":
            # Captured is one thread's work on one set of addresses.
            last, self._thread = self._thread, threading.current_thread()
            assert last in (None, self._thread) or not last.is_alive(), "a CUDA graph in two threads"
            if self.package.no_capture:
                raise RuntimeError(self.package.no_capture)
            assert self._bound in (None, binding), "a CUDA graph was replayed on other addresses"
            self._bound = binding
        driver, shapes, addresses = self.package.driver, dict(binding.shapes), dict(binding.addresses)
        driver.enqueue(
            int(self.options["user_compute_stream"]), lambda: run_on(driver, self._session, shapes, addresses)
        )


class FakeBinding:
    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def bind_input(
        self, name: str, device: str, number: int, kind: Any, shape: tuple[int, ...], address: int
    ) -> None:
        assert (device, number) == ("cuda", 0)
        assert np.dtype(kind) in (np.uint8, np.float32)
        self.shapes[name], self.addresses[name] = shape, address

    bind_output = bind_input
