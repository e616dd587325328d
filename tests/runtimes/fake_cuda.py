"""A driver without a GPU: what `cuda.bindings.driver` offers of it, with memory of the host in the place of a GPU's.

It is stricter than a real one where a real one would only misbehave now and then: work waits on its stream until
somebody synchronises, copies go between what was allocated and to the host's pinned memory alone, calls need a current
context, and everything has to be freed once.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

Work = Callable[[], None]


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


OK = Result.CUDA_SUCCESS


@dataclass
class FakeStream:
    waiting: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None


@dataclass
class FakeGpu:
    name: str = "NVIDIA Fake"
    capability: tuple[int, int] = (8, 6)
    memory: int = 8 << 30


class FakeDriver:
    """In the place of the module; a test changes `gpus`, `version`, `limit` and `failures`."""

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76
    )
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self) -> None:
        self.gpus = [FakeGpu()]
        self.version = 13000
        self.limit = 1 << 30
        self.failures: dict[str, Result | Exception] = {}
        self.calls: Counter[str] = Counter()
        self.device: dict[int, Any] = {}
        self.host: dict[int, Any] = {}
        self.streams: dict[int, FakeStream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self._current = threading.local()
        self._lock = threading.RLock()
        self._next = 1

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("cu"):
            return found

        def counted(*arguments: Any) -> tuple[Any, ...]:
            with self._lock:
                self.calls[name] += 1
                failure = self.failures.get(name)
                if isinstance(failure, Exception):
                    raise failure
                if failure is not None:
                    return (failure, None)
                if name.startswith(("cuMem", "cuStream", "cuGraph")) and not hasattr(
                    self._current, "context"
                ):
                    return (Result.CUDA_ERROR_INVALID_CONTEXT, None)
                result: tuple[Any, ...] = found(*arguments)
                return result

        return counted

    # --- devices ----------------------------------------------------------------------------------------

    def cuDriverGetVersion(self) -> tuple[Any, ...]:
        return OK, self.version

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        return (OK,) if self.gpus else (Result.CUDA_ERROR_NO_DEVICE,)

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return OK, len(self.gpus)

    def cuDeviceGet(self, number: int) -> tuple[Any, ...]:
        return OK, number

    def cuDeviceGetName(self, length: int, device: int) -> tuple[Any, ...]:
        return OK, self.gpus[device].name.encode().ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[Any, ...]:
        return OK, self.gpus[device].capability[attribute - 75]

    def cuDeviceTotalMem(self, device: int) -> tuple[Any, ...]:
        return OK, self.gpus[device].memory

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[Any, ...]:
        return OK, f"context {device}"

    def cuCtxSetCurrent(self, context: str) -> tuple[Any, ...]:
        self._current.context = context
        return (OK,)

    def cuGetErrorString(self, result: Result) -> tuple[Any, ...]:
        return OK, result.name.removeprefix("CUDA_ERROR_").replace("_", " ").lower().encode()

    # --- memory -----------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Bytes of the GPU's memory that are allocated."""
        return sum(map(len, self.device.values()))

    def cuMemAlloc(self, size: int) -> tuple[Any, ...]:
        if self.held + size > self.limit:
            return Result.CUDA_ERROR_OUT_OF_MEMORY, None
        return OK, self._allocate(self.device, size)

    def cuMemFree(self, address: int) -> tuple[Any, ...]:
        return (OK,) if self.device.pop(address, None) is not None else (Result.CUDA_ERROR_INVALID_VALUE,)

    def cuMemAllocHost(self, size: int) -> tuple[Any, ...]:
        return OK, self._allocate(self.host, size)

    def cuMemFreeHost(self, address: int) -> tuple[Any, ...]:
        return (OK,) if self.host.pop(address, None) is not None else (Result.CUDA_ERROR_INVALID_VALUE,)

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple[Any, ...]:
        return self._copy(self.device, target, self.host, source, size, stream)

    def cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> tuple[Any, ...]:
        return self._copy(self.host, target, self.device, source, size, stream)

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple[Any, ...]:
        return self._copy(self.device, target, self.device, source, size, stream)

    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> tuple[Any, ...]:
        if not self._holds(self.device, source, size):
            return (Result.CUDA_ERROR_ILLEGAL_ADDRESS,)
        ctypes.memmove(target, source, size)
        return (OK,)

    def bytes_at(self, address: int, size: int) -> bytes:
        """What lies on the GPU; for the engines."""
        assert self._holds(self.device, address, size), "an engine reads past a buffer"
        return ctypes.string_at(address, size)

    def put(self, address: int, data: bytes) -> None:
        assert self._holds(self.device, address, len(data)), "an engine writes past a buffer"
        ctypes.memmove(address, data, len(data))

    def _allocate(self, memory: dict[int, Any], size: int) -> int:
        block = ctypes.create_string_buffer(b"\xff" * size, size)  # NaN, where somebody reads too early
        address = ctypes.addressof(block)
        memory[address] = block
        return address

    def _holds(self, memory: dict[int, Any], address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + len(block) for start, block in memory.items()
        )

    def _copy(
        self, to: dict[int, Any], target: int, of: dict[int, Any], source: int, size: int, stream: int
    ) -> tuple[Any, ...]:
        if not (self._holds(to, target, size) and self._holds(of, source, size)):
            return (Result.CUDA_ERROR_ILLEGAL_ADDRESS,)
        self.enqueue(stream, lambda: ctypes.memmove(target, source, size))
        return (OK,)

    # --- streams and graphs -----------------------------------------------------------------------------

    def enqueue(self, stream: int, work: Callable[[], Any]) -> None:
        found = self.streams[stream]
        (found.waiting if found.captured is None else found.captured).append(work)

    def cuStreamCreate(self, flags: int) -> tuple[Any, ...]:
        assert flags == 1, "a blocking stream waits for whatever uses the default one"
        number = self._number()
        self.streams[number] = FakeStream()
        return OK, number

    def cuStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        assert not self.streams.pop(stream).waiting, "destroyed with work on it"
        return (OK,)

    def cuStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        found = self.streams[stream]
        if found.captured is not None:
            return (Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,)
        waiting, found.waiting = found.waiting, []
        for work in waiting:
            work()
        return (OK,)

    def cuStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        self.streams[stream].captured = []
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        found = self.streams[stream]
        captured, found.captured = found.captured, None
        number = self._number()
        self.graphs[number] = captured or []
        return OK, number

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        number = self._number()
        self.graphs[number] = list(self.graphs[graph])
        return OK, number

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        for work in self.graphs[graph]:
            self.enqueue(stream, work)
        return (OK,)

    def cuGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (OK,)

    cuGraphExecDestroy = cuGraphDestroy

    def _number(self) -> int:
        self._next += 1
        return self._next
