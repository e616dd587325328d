"""What all sessions on a GPU share: buffers that are allocated once, states that stay there, turns of threads.

An engine is a `Program`: it works on buffers at fixed addresses, on one stream. A `Lane` is a program with its buffers
and its stream; as many are made as threads run at the same time, and a thread gets the one back that it had.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SessionError
from uva_edge.manifest import Contract

from .backend import Frames, Maps, SessionInfo, State, closed
from .cuda_memory import Device, DeviceArray, DeviceBuffer, PinnedArray, Stream

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Extent:
    """The shapes that an input may have, from the least to the greatest size of each axis; None for any."""

    least: Shape
    most: tuple[int | None, ...]

    def takes(self, shape: Shape) -> bool:
        return len(shape) == len(self.most) and all(
            low <= size and (high is None or size <= high)
            for low, size, high in zip(self.least, shape, self.most, strict=True)
        )

    @property
    def fixed(self) -> bool:
        return self.least == self.most

    def __str__(self) -> str:
        sizes = (
            str(low) if low == high else f"{low} to {high or 'any'}"
            for low, high in zip(self.least, self.most, strict=True)
        )
        return f"[{', '.join(sizes)}]"


@dataclass(frozen=True)
class Addresses:
    """Where the four tensors of a clip step lie on the GPU."""

    frames: int
    state_in: int
    maps: int
    state_out: int


class Program(Protocol):
    """An engine, ready to run on one stream; used by one thread at a time."""

    def enqueue(self, frames: Shape, state: Shape, addresses: Addresses) -> None:
        """Put a step on the stream. The maps are as many as the frames; the state keeps its shape.

        Raises SessionError where the engine refuses.
        """
        ...

    @property
    def bound(self) -> bool:
        """Whether it may run in one thread only."""
        ...

    @property
    def details(self) -> Mapping[str, str]:
        """What it tells of itself, for `SessionInfo`."""
        ...

    def close(self) -> None: ...


class Lane:
    """A program with its stream and buffers; these grow only where the engine sets no limit."""

    def __init__(self, device: Device, start: Callable[[Stream], Program]) -> None:
        self._device = device
        self.thread: threading.Thread | None = None
        """The one that ran it last."""
        self._on_device: dict[str, DeviceBuffer] = {}
        self._on_host: dict[str, PinnedArray] = {}
        self._open = False
        self._stream = Stream(device)
        try:
            self._program = start(self._stream)
        except BaseException:
            self._stream.close()
            raise
        self._open = True

    def __del__(self) -> None:
        with suppress(
            Exception
        ):  # a session that nobody closed; at the process's end there may be no driver left
            self.close()

    @property
    def bound(self) -> bool:
        return self._program.bound

    @property
    def details(self) -> Mapping[str, str]:
        return self._program.details

    def may_serve(self, thread: threading.Thread) -> bool:
        last = self.thread
        return not self.bound or last is None or last is thread or not last.is_alive()

    def reserve(self, frames: Shape, state: Shape, dtype: np.dtype[np.generic]) -> None:
        """Allocate for steps of these shapes and smaller ones."""
        state_size = math.prod(state) * dtype.itemsize
        sizes = {"frames": math.prod(frames), "state_in": state_size, "state_out": state_size}
        sizes["maps"] = math.prod(frames[:-1]) * 4
        for name, size in sizes.items():
            self._buffer(name, size)
        for name in ("frames", "maps"):
            self._pinned(name, sizes[name])

    def run(self, frames: Frames, state: State) -> tuple[Maps, DeviceArray]:
        """One step; the maps go to the host."""
        shape = frames.shape[:-1]
        addresses = self._enqueue(frames, state)
        size = math.prod(shape) * 4
        pinned = self._pinned("maps", size)
        self._stream.to_host(pinned.address, addresses.maps, size)
        state_out = self._kept(addresses.state_out, state.shape, state.dtype)
        self._stream.synchronise()
        return pinned.view(shape, np.float32).copy(), state_out

    def run_on_device(self, frames: Frames, state: State) -> tuple[DeviceArray, DeviceArray]:
        addresses = self._enqueue(frames, state)
        maps = self._kept(addresses.maps, frames.shape[:-1], np.dtype(np.float32))
        state_out = self._kept(addresses.state_out, state.shape, state.dtype)
        self._stream.synchronise()
        return maps, state_out

    def close(self) -> None:
        """Free everything; waits for what is under way. Never raises, and may be called twice."""
        if not self._open:
            return
        self._open = False
        with suppress(SessionError):
            self._device.activate()
            self._stream.synchronise()
        for close in (
            self._program.close,
            *(pinned.free for pinned in self._on_host.values()),
            self._stream.close,
        ):
            with suppress(SessionError):
                close()
        self._on_host.clear()
        self._on_device.clear()

    def _enqueue(self, frames: Frames, state: State) -> Addresses:
        self._device.activate()
        size = max(1, math.prod(frames.shape[:-1]) * 4)
        addresses = Addresses(
            self._buffer("frames", frames.nbytes),
            self._buffer("state_in", state.nbytes),
            self._buffer("maps", size),
            self._buffer("state_out", state.nbytes),
        )
        self._upload("frames", frames, addresses.frames)
        if isinstance(state, DeviceArray) and state.device is self._device:
            self._stream.on_device(addresses.state_in, state.address, state.nbytes)
        else:
            self._upload("state", np.asarray(state), addresses.state_in)
        self._program.enqueue(frames.shape, state.shape, addresses)
        return addresses

    def _upload(self, name: str, array: NDArray[np.generic], address: int) -> None:
        pinned = self._pinned(name, array.nbytes)
        np.copyto(pinned.view(array.shape, array.dtype), array)
        self._stream.to_device(address, pinned.address, array.nbytes)

    def _kept(self, address: int, shape: Shape, dtype: np.dtype[np.generic]) -> DeviceArray:
        """A copy that is the caller's."""
        array = DeviceArray(shape, dtype, self._device)
        self._stream.on_device(array.address, address, array.nbytes)
        return array

    def _buffer(self, name: str, size: int) -> int:
        found = self._on_device.get(name)
        if found is None or found.size < size:
            found = self._on_device[name] = DeviceBuffer(self._device, size)
        return found.address

    def _pinned(self, name: str, size: int) -> PinnedArray:
        found = self._on_host.get(name)
        if found is None or found.size < size:
            if found is not None:
                found.free()
            found = self._on_host[name] = PinnedArray(self._device, size)
        return found


class LaneSession:
    """A session of lanes.

    Args:
        info: what the engine does; its details get those of the program.
        start: makes a program on a stream, with the device's context current; one at a time.
        frames, state: what the engine takes.

    Raises:
        SessionError: the engine does not start, or there is no memory for its buffers.
    """

    def __init__(
        self,
        info: SessionInfo,
        device: Device,
        start: Callable[[Stream], Program],
        contract: Contract,
        frames: Extent,
        state: Extent,
    ) -> None:
        self.info = info
        self._device, self._start = device, start
        self._frames, self._state = frames, state
        self._dtype = np.dtype(contract.state_in.dtype)
        self._state_rows = contract.state_shape[0]
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._idle: list[Lane] = []
        self._closed = False
        lane = self._new_lane()
        self._idle.append(lane)
        self.info = replace(info, details={**info.details, **lane.details})

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        steps = self._steps(frames, state)
        maps, last = [], state
        with self._lane() as lane:
            for step in steps:
                some, last = lane.run(step, last)
                maps.append(some)
        return (maps[0] if len(maps) == 1 else np.concatenate(maps)), last

    def run_on_device(self, frames: Frames, state: State) -> tuple[DeviceArray, DeviceArray]:
        """As `run`, with the maps where they were made; all work is done when it returns.

        Raises:
            SessionError: also for more frames than one call of the engine takes.
        """
        steps = self._steps(frames, state)
        if len(steps) > 1:
            raise SessionError(
                f"{self._who} takes at most {len(steps[0])} frames a call, got {len(frames)}; maps that stay on "
                "the GPU come from one call, so give fewer"
            )
        with self._lane() as lane:
            return lane.run_on_device(steps[0], state)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for lane in idle:
            lane.close()
        self._device.free_spare()

    @property
    def _who(self) -> str:
        return f"{self.info.backend} session of {self.info.artifact}"

    def _steps(self, frames: Frames, state: State) -> list[Frames]:
        """The calls of the engine that a clip takes: of as many frames as it can have, of whole streams."""
        for name, array, dtype in (("frames", frames, np.dtype(np.uint8)), ("state", state, self._dtype)):
            if array.dtype != dtype:
                raise SessionError(f"the {self._who} takes {name} of {dtype}, got {array.dtype}")
        if not self._state.takes(state.shape):
            raise SessionError(f"the {self._who} takes a state {self._state}, got {list(state.shape)}")
        streams = max(1, state.shape[0] // self._state_rows)
        most = self._frames.most[0]
        rows = len(frames)
        if most is not None and not self._frames.fixed:
            rows = max(streams, most - most % streams)
        steps = [frames[start : start + rows] for start in range(0, len(frames), rows or 1)] or [frames]
        for step in steps:
            if not self._frames.takes(step.shape) or len(step) % streams:
                raise SessionError(f"the {self._who} takes frames {self._frames}, got {list(frames.shape)}")
        return steps

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        """A lane for one run; one that failed is not used again."""
        lane = self._take()
        try:
            yield lane
        except BaseException:
            lane.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(lane)
                return
        lane.close()

    def _take(self) -> Lane:
        thread = threading.current_thread()
        with self._lock:
            if self._closed:
                raise closed(self.info)
            for lane in sorted(self._idle, key=lambda lane: lane.thread is not thread):
                if lane.may_serve(thread):
                    self._idle.remove(lane)
                    lane.thread = thread
                    return lane
        lane = self._new_lane()
        lane.thread = thread
        return lane

    def _new_lane(self) -> Lane:
        with self._starting:
            self._device.activate()
            lane = Lane(self._device, self._start)
        try:
            most = [size for size in (*self._frames.most, *self._state.most) if size is not None]
            if len(most) == len(self._frames.most) + len(self._state.most):
                rank = len(self._frames.most)
                lane.reserve(tuple(most[:rank]), tuple(most[rank:]), self._dtype)
            self._try(lane)
        except BaseException:
            lane.close()
            raise
        return lane

    def _try(self, lane: Lane) -> None:
        """A first run says whether the engine works, and makes the next ones fast."""
        frames, state = np.zeros(self._frames.least, np.uint8), np.zeros(self._state.least, self._dtype)
        if not lane.bound:
            lane.run(frames, state)
            return
        # Not in this thread, whose lane it would be: another one may be the first to need it.
        from concurrent.futures import ThreadPoolExecutor  # brings logging, which no other import needs

        with ThreadPoolExecutor(1) as pool:
            pool.submit(lane.run, frames, state).result()
