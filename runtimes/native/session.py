"""Sessions of the backend `native`: the generated C, compiled for this processor, called with the GIL released."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import SessionError
from uva_edge.manifest import Artifact

from ..backend import Frames, Maps, SessionInfo, SessionOptions, State, closed
from .backend import NAME
from .build import probe_compiler
from .compiled import Block, Model, NativeState
from .constants import constants_of
from .source import Origin, Source, generate

_LEAST_CHUNK: Final = 4
"""Frames that a thread takes at least: each but the first computes one frame before its own once more."""


def source_of(bundle: Bundle, artifact: Artifact) -> Source:
    """The C of an artifact that the backend loads.

    Raises:
        BundleError: a file of it is damaged.
        SessionError: the C knows no such network.
    """
    manifest = bundle.manifest
    data = bundle.read(artifact.files[0])
    origin = Origin(manifest.name, artifact.files[0].sha256, ())
    return generate(constants_of(manifest.network, manifest.contract, artifact.format, data), origin)


class NativeSession:
    """A compiled model. Each run borrows an arena, so runs of several threads go on at the same time."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        try:
            model = Model.load(source_of(bundle, artifact), bundle.manifest.contract.state_shape)
        except SessionError as error:
            raise SessionError(f"native can't load {artifact.name} of {bundle.name}: {error}") from error
        self._model: Model | None = model
        self._threads = options.threads
        self._pool = ThreadPoolExecutor(options.threads, "uva-native") if options.threads > 1 else None
        self._lock = threading.Lock()
        self.info = SessionInfo(
            backend=NAME,
            engine=f"{NAME} {probe_compiler().version}",
            artifact=artifact.name,
            device="CPU",
            precision=model.info.precision.decode(),
            threads=options.threads,
            details={
                "kernels": model.info.kernels.decode(),
                "state_bytes": str(model.state_bytes),
                "arena_bytes": str(model.arena_bytes),
            },
        )

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        model = self._model
        if model is None:
            raise closed(self.info)
        if state.shape[0] != 1:
            return self._run_streams(model, frames, np.asarray(state))
        if self._pool is None or len(frames) < 2 * _LEAST_CHUNK:
            return model.run(frames, state)
        frames = model.expect_frames(frames)
        maps = np.empty(frames.shape[:3], np.float32)
        memory = self._run_parts(model, model.stream_of(state), frames, maps)
        return maps, NativeState(memory, model)

    def _run_streams(self, model: Model, frames: Frames, states: NDArray[Any]) -> tuple[Maps, State]:
        """Several streams, time-major: each goes its own way, on its own thread where there are several."""
        count = len(states)
        if not count or len(frames) % count:
            raise SessionError(
                f"native: expected as many frames of each of {count} streams, got {len(frames)} in all"
            )
        frames = model.expect_frames(frames)
        maps = np.empty(frames.shape[:3], np.float32)

        def stream(index: int) -> NDArray[np.float32]:
            return model.run_stream(frames[index::count], states[index : index + 1], maps[index::count])

        each = map if self._pool is None else self._pool.map
        return maps, np.concatenate(list(each(stream, range(count))))

    def _run_parts(self, model: Model, memory: Block, frames: Frames, maps: Maps) -> Block:
        """Splits a clip among the threads; a part starts from the state that the frame before it leaves."""
        assert self._pool is not None
        count = min(self._threads, len(frames) // _LEAST_CHUNK)
        bounds = [len(frames) * part // count for part in range(count + 1)]

        def part(index: int) -> Block:
            start, end = bounds[index], bounds[index + 1]
            own = memory
            if index:
                own = model.blank()
                model.steps(own, frames[start - 1 : start], np.empty((1, *maps.shape[1:]), np.float32))
            model.steps(own, frames[start:end], maps[start:end])
            return own

        return list(self._pool.map(part, range(count)))[-1]

    def close(self) -> None:
        with self._lock:
            pool, self._pool, self._model = self._pool, None, None
        if pool is not None:
            pool.shutdown()
