"""A compiled model: the functions of its library, the memory that its calls need, and the state that they leave."""

from __future__ import annotations

import ctypes
import math
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SessionError

from ..backend import Frames, Maps, State
from ..user_cache import cache_root
from .build import library_of, load_library
from .source import Source

_ALIGNMENT: Final = 16


class Block:
    """Memory for the C, aligned as it asks, and its address: asking an array for its own takes a microsecond."""

    __slots__ = ("_array", "address", "size")

    def __init__(self, size: int) -> None:
        self._array = np.empty(size + _ALIGNMENT, np.uint8)
        start = self._array.ctypes.data
        self.address, self.size = start + -start % _ALIGNMENT, size


class NativeState:
    """f_s of a frame, as the C keeps it; as an array float32 [1, C, R/4, R/4], computed when it is asked for."""

    def __init__(self, memory: Block, model: Model) -> None:
        self.memory, self._model = memory, model

    def of(self, model: Model) -> bool:
        """Whether this model made it."""
        return self._model is model

    @property
    def shape(self) -> tuple[int, ...]:
        return self._model.state_shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        return 4 * math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        features = np.empty(self.shape, np.float32)
        self._model.call("save", self.memory.address, features.ctypes.data)
        return features if dtype is None else features.astype(dtype)


class Info(ctypes.Structure):
    """`uva_info` of the header."""

    _fields_: ClassVar = [
        *((name, ctypes.c_char_p) for name in ("bundle", "sha256", "precision", "kernels")),
        *(
            (name, ctypes.c_int32)
            for name in ("rows", "columns", "features", "state_rows", "state_columns", "macs")
        ),
    ]
    precision: bytes
    kernels: bytes


@dataclass(eq=False)
class Model:
    """The functions of a library, and the memory that its calls need."""

    functions: dict[str, Any]
    info: Info
    state_shape: tuple[int, ...]
    state_bytes: int
    arena_bytes: int
    arenas: deque[Block]
    strerror: Any

    @classmethod
    def load(cls, source: Source, state_shape: tuple[int, ...]) -> Model:
        try:
            directory = cache_root() / "native"
        except RuntimeError as error:
            raise SessionError(f"there is nowhere to keep its library: {error}; set XDG_CACHE_HOME") from None
        library = load_library(library_of(source, directory))

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, f"{source.stem}_{name}")
            found.restype, found.argtypes = result, arguments
            return found

        pointer, size, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        functions = {
            "init": function("init", status, pointer, pointer, size),
            "move": function("move", status, pointer, pointer, size),
            "clip": function("clip", status, pointer, pointer, ctypes.c_int32, pointer),
            "save": function("save", status, pointer, pointer),
            "restore": function("restore", status, pointer, pointer),
            "frame_nv12": function(
                "frame_nv12",
                status,
                pointer,
                ctypes.c_int32,
                ctypes.c_int32,
                ctypes.c_ssize_t,
                status,
                pointer,
            ),
        }
        return cls(
            functions=functions,
            info=function("model_info", ctypes.POINTER(Info))().contents,
            state_shape=state_shape,
            state_bytes=function("state_size", size)(),
            arena_bytes=function("arena_size", size)(),
            arenas=deque(),
            strerror=function("strerror", ctypes.c_char_p, status),
        )

    def call(self, name: str, *arguments: int) -> None:
        """Raises SessionError where a function gives an error."""
        code = self.functions[name](*arguments)
        if code:
            raise SessionError(f"native: {name} failed: {self.strerror(code).decode()}")

    def expect_frames(self, frames: Frames) -> Frames:
        shape = (self.info.rows, self.info.columns, 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != shape or not len(frames):
            raise SessionError(
                f"native: expected frames uint8 [T, {shape[0]}, {shape[1]}, 3], got {frames.dtype} {list(frames.shape)}"
            )
        return np.ascontiguousarray(frames)

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        """One clip step, as `Session.run`."""
        frames = self.expect_frames(frames)
        memory = self.stream_of(state)
        maps = np.empty(frames.shape[:3], np.float32)
        self.steps(memory, frames, maps)
        return maps, NativeState(memory, self)

    def run_stream(self, frames: Frames, state: State, maps: Maps) -> NDArray[np.float32]:
        """One of several streams of a step: its frames, wherever they lie, its maps to where they belong."""
        memory, own = self.stream_of(state), np.empty(maps.shape, np.float32)
        self.steps(memory, np.ascontiguousarray(frames), own)
        maps[:] = own
        return np.asarray(NativeState(memory, self))

    def stream_of(self, state: State) -> Block:
        """A stream of its own with what a state remembers."""
        if isinstance(state, NativeState) and state.of(self):
            memory = Block(self.state_bytes)
            ctypes.memmove(memory.address, state.memory.address, self.state_bytes)
            return memory
        return self._restored(state)

    def steps(self, memory: Block, frames: Frames, maps: Maps) -> None:
        """Consecutive frames of the stream in `memory`."""
        arena = self._arena()
        try:
            self.call("move", memory.address, arena.address, arena.size)
            # One call for all: between calls the threads of a process take turns.
            self.call("clip", memory.address, frames.ctypes.data, len(frames), maps.ctypes.data)
        finally:
            self.arenas.append(arena)

    def blank(self) -> Block:
        """A stream that has seen nothing."""
        memory, arena = Block(self.state_bytes), self._arena()
        self.arenas.append(arena)  # nothing is computed in it yet
        self.call("init", memory.address, arena.address, arena.size)
        return memory

    def _restored(self, state: State) -> Block:
        """A stream with the features of an array."""
        features = np.ascontiguousarray(state, np.float32)
        if features.shape != self.state_shape:
            raise SessionError(
                f"native: expected a state float32 {list(self.state_shape)}, got {list(features.shape)}"
            )
        memory = self.blank()
        self.call("restore", memory.address, features.ctypes.data)
        return memory

    def _arena(self) -> Block:
        """One that nobody else computes in, to be put back."""
        try:
            return self.arenas.pop()
        except IndexError:
            return Block(self.arena_bytes)
