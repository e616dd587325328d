"""Memory and streams of a GPU, through cuda-python's bindings of the driver.

The driver's API and not CUDA's runtime library: the binding of the latter carries one CUDA version in it and refuses
every older driver, while engines of an earlier CUDA would run there. It asks that the context be made current in each
thread; it is the device's primary one, which the engines' own libraries share.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from uva_edge.errors import SessionError

_NON_BLOCKING: Final = 1  # CU_STREAM_NON_BLOCKING
Handle: TypeAlias = Any
"""What the binding gives for a stream or a graph."""


class Device:
    """A GPU with its primary context; what is allocated here can be used by every engine of the process.

    Args:
        api: `cuda.bindings.driver`, or what has its functions.

    Raises:
        SessionError: the driver fails; so do all its methods.
    """

    def __init__(self, api: Any, number: int = 0) -> None:
        self.api = api
        self.number = number
        self.call("cuInit", 0)
        self._context = self.call("cuDevicePrimaryCtxRetain", self.call("cuDeviceGet", number))
        self._spare: dict[
            int, deque[int]
        ] = {}  # without a lock: buffers are given back by the garbage collector

    def call(self, function: str, *arguments: Any) -> Any:
        """What the driver's function gives; raises SessionError with its words."""
        try:
            result, *values = getattr(self.api, function)(*arguments)
        except Exception as error:  # no driver library, no such function in it: the binding's own kinds
            raise SessionError(f"the NVIDIA driver failed in {function}: {error}") from error
        if int(result) != 0:
            raise SessionError(f"the NVIDIA driver failed in {function}: {self._words(result)}")
        return values[0] if values else None

    def activate(self) -> None:
        """Make its context this thread's."""
        self.call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of that many bytes of its memory, from those that were given back or anew."""
        with suppress(KeyError, IndexError):
            return self._spare[size].pop()
        with suppress(SessionError):
            return int(self.call("cuMemAlloc", size))
        self.free_spare()
        try:
            return int(self.call("cuMemAlloc", size))
        except SessionError as error:
            raise SessionError(f"{error} (asked for {size:,} bytes of GPU memory)") from None

    def give_back(self, address: int, size: int) -> None:
        """Keep memory for the next that asks for as much: a stream's states come and go with its frames."""
        self._spare.setdefault(size, deque()).append(address)

    def free_spare(self) -> None:
        """Return to the driver what nobody uses. Never raises."""
        for spare in list(self._spare.values()):
            with suppress(IndexError):
                while True:
                    self.free(spare.pop())

    def free(self, address: int) -> None:
        """Return memory to the driver, which waits for whatever still uses it. Never raises."""
        with suppress(SessionError):  # a context that is gone took its memory with it
            self.activate()
            self.call("cuMemFree", address)

    def _words(self, result: Any) -> str:
        with suppress(Exception):  # asked only to be more helpful
            _, text = self.api.cuGetErrorString(result)
            return f"{result.name}, {bytes(text).decode(errors='replace')}"
        return str(getattr(result, "name", result))


class DeviceBuffer:
    """Memory of a GPU, given back when the last reference goes.

    Attributes:
        shared: others had its address, and may have work under way that uses it.
    """

    def __init__(self, device: Device, size: int) -> None:
        self.device, self.size, self.shared = device, size, False
        self.address = device.allocate(size)

    def __del__(self) -> None:
        if not hasattr(self, "address"):
            return
        if self.shared:
            self.device.free(self.address)
        else:
            self.device.give_back(self.address, self.size)


class PinnedArray:
    """Memory of the host that a GPU copies from and to by itself, as a flat array of bytes."""

    def __init__(self, device: Device, size: int) -> None:
        self._device, self.size = device, size
        self.address = int(device.call("cuMemAllocHost", size))
        self.__array_interface__ = {
            "version": 3,
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.address, False),
        }
        self._bytes: NDArray[np.uint8] = np.asarray(self)

    def view(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The first of its bytes as such an array; valid until `free`."""
        kind = np.dtype(dtype)
        return self._bytes[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)

    def free(self) -> None:
        address, self.address = self.address, 0
        if address:
            self._device.call("cuMemFreeHost", address)


class Stream:
    """Work of a GPU, done in order; nothing that it copies may change before `synchronise`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.handle: Handle = device.call("cuStreamCreate", _NON_BLOCKING)

    def to_device(self, address: int, source: int, size: int) -> None:
        self.device.call("cuMemcpyHtoDAsync", address, source, size, self.handle)

    def to_host(self, target: int, address: int, size: int) -> None:
        self.device.call("cuMemcpyDtoHAsync", target, address, size, self.handle)

    def on_device(self, target: int, source: int, size: int) -> None:
        self.device.call("cuMemcpyDtoDAsync", target, source, size, self.handle)

    def synchronise(self) -> None:
        self.device.call("cuStreamSynchronize", self.handle)

    def begin_capture(self) -> None:
        # Other threads may allocate meanwhile.
        mode = self.device.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.device.call("cuStreamBeginCapture", self.handle, mode)

    def end_capture(self) -> Graph:
        return Graph(self.device, self.device.call("cuStreamEndCapture", self.handle))

    def close(self) -> None:
        self.device.call("cuStreamDestroy", self.handle)


class Graph:
    """Work that was captured on a stream, to be launched again with one call."""

    def __init__(self, device: Device, captured: Handle) -> None:
        self._device = device
        try:
            self._executable = device.call("cuGraphInstantiate", captured, 0)
        finally:
            device.call("cuGraphDestroy", captured)

    def launch(self, stream: Stream) -> None:
        self._device.call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        self._device.call("cuGraphExecDestroy", self._executable)


class DeviceArray:
    """An array in the memory of a GPU, complete and the caller's.

    NumPy functions take it (each time by a copy to the host); torch, CuPy and others take it where it is, by
    `__dlpack__` or `__cuda_array_interface__`.

    Attributes:
        shape, dtype: as of a NumPy array; the elements lie in C order.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, device: Device) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._buffer = DeviceBuffer(device, max(1, self.nbytes))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def address(self) -> int:
        """Where it begins."""
        return self._buffer.address

    @property
    def device(self) -> Device:
        return self._buffer.device

    def numpy(self) -> NDArray[Any]:
        """A copy on the host; raises SessionError where the driver fails."""
        result = np.empty(self.shape, self.dtype)
        self.device.activate()
        if result.nbytes:
            self.device.call("cuMemcpyDtoH", result.ctypes.data, self.address, result.nbytes)
        return result

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in the memory of a GPU can't become a NumPy array without a copy")
        return self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray({'x'.join(map(str, self.shape))} {self.dtype}, GPU {self.device.number})"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self._buffer.shared = True
        # No stream: what made it has been waited for.
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
        }

    def __dlpack__(self, **options: Any) -> Any:
        from cuda.core.utils import StridedMemoryView

        return StridedMemoryView.from_cuda_array_interface(self, stream_ptr=-1).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.number  # kDLCUDA
