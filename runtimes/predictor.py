"""`SaliencyPredictor`: one class for every backend. Weights are shared, state is a `Stream`'s own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from uva_edge.bundle import Bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import ClosedError, FrameError, OptionError
from uva_edge.preprocess import Color, Frame, YuvRange, frame_size, network_input
from uva_edge.saliency import Saliency

from .backend import Frames, Session, SessionInfo, SessionOptions, State
from .selection import Decision, select


class SaliencyPredictor:
    """Predicts where people would look, on the best backend of this machine.

    Args:
        bundle: a shipped name (``uva-64``, ``uva-32``), or the path of a bundle's directory or .zip.
        backend: ``auto``, ``fastest`` (measures on this device and remembers), or a name. A backend that is
            asked for by name and can't run is an error, never another backend.
        precision: ``auto`` (fp32), ``fp32``, ``fp16``, ``bf16``, ``int8``.
        threads: threads of the engine, from 1 to the cores that this process may use.

    Frames are uint8 BGR [H, W, 3] unless `color` says otherwise (see `uva_edge.preprocess.network_input`), of
    any size. The predictor and its streams may be used from several threads at once; `close` frees the engine.

    Raises:
        OptionError, BundleError, BackendError: with what came, what was expected, and how to mend it.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] = "uva-64",
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 1,
    ) -> None:
        options = SessionOptions(threads=_checked_threads(threads))
        self.bundle = Bundle.open(bundle)
        if backend == "fastest":
            from .fastest import select_fastest

            selection = select_fastest(self.bundle, precision, options)
        else:
            selection = select(self.bundle, backend, precision)
        self._plan, self.decisions = selection.plan, selection.decisions
        self._options = options
        self._lock = threading.Lock()
        self._clip_session: Session | None = None
        self._step_session: Session | None = self._plan.backend.load(self.bundle, self._plan.step, options)
        self.info: SessionInfo = self._step_session.info
        """What the engine does with one frame at a time, read back from it."""

    @property
    def backend(self) -> str:
        """Name of the backend that runs."""
        return self.info.backend

    @property
    def resolution(self) -> int:
        """R: maps are [R, R]."""
        return self.bundle.manifest.contract.resolution

    def explain(self) -> str:
        """Why this backend: one line for each that was considered."""
        return "\n".join(str(decision) for decision in self.decisions)

    def predict(
        self, frame: Frame, *, color: Color = "bgr", yuv_range: YuvRange = "limited"
    ) -> Saliency:
        """The saliency of one image, by itself."""
        session = self._session()
        pixels = self._input(frame, color, yuv_range)
        maps, _ = session.run(pixels, self._state_of(session, pixels))
        return Saliency(maps[0], frame_size(frame, color=color))

    def stream(self, *, color: Color = "bgr", yuv_range: YuvRange = "limited") -> Stream:
        """A new stream: the state of one camera.

        Raises OptionError for a bundle of lookahead pairs, whose maps need the frame that is still to come.
        """
        self._session()
        if self.bundle.manifest.contract.pairing == "lookahead":
            raise OptionError(
                f"bundle {self.bundle.name} compares a frame with the next one, so a live stream can't have "
                "its map yet; use predict_clip, or a bundle of causal pairs"
            )
        return Stream(self, color, yuv_range)

    def predict_clip(
        self,
        frames: Iterable[Frame],
        *,
        color: Color = "bgr",
        yuv_range: YuvRange = "limited",
        batch: int = 32,
    ) -> NDArray[np.float32]:
        """The maps of consecutive frames, float32 [N, R, R], `batch` frames a call of the engine.

        Equals pushing the frames one by one into a stream. The frames may come from a generator; no more than
        `batch` inputs are held at a time. At least one frame, or FrameError.
        """
        if batch < 1:
            raise OptionError(f"batch must be at least 1, got {batch}")
        if self.bundle.manifest.contract.pairing == "lookahead":
            return self._predict_lookahead(frames, color, yuv_range, batch)
        maps = list(self._clip_maps(self._inputs(frames, color, yuv_range), batch))
        return np.concatenate(maps)

    def close(self) -> None:
        """Free the engine; whatever is used afterwards raises ClosedError. May be called twice."""
        with self._lock:
            sessions = {id(session): session for session in (self._step_session, self._clip_session)}
            self._step_session = self._clip_session = None
        for session in sessions.values():  # one where both are the same
            if session is not None:
                session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return (
            f"SaliencyPredictor({self.bundle.name!r}, backend={info.backend!r}, precision={info.precision!r}, "
            f"threads={info.threads})"
        )

    # --- clips ------------------------------------------------------------------------------------------

    def _clip_maps(self, inputs: Iterator[Frames], batch: int) -> Iterator[NDArray[np.float32]]:
        state: State | None = None
        session = self._session_for_clips()
        while chunk := list(islice(inputs, batch)):
            pixels = np.concatenate(chunk)
            if state is None:
                state = self._state_of(session, pixels[:1])
            maps, state = session.run(pixels, state)
            yield maps
        if state is None:
            raise FrameError("a clip has at least one frame; got none")

    def _predict_lookahead(
        self, frames: Iterable[Frame], color: Color, yuv_range: YuvRange, batch: int
    ) -> NDArray[np.float32]:
        # A step gives the map of the frame before; the last frame of a clip is its own partner.
        def extended() -> Iterator[Frames]:
            last = None
            for last in self._inputs(frames, color, yuv_range):
                yield last
            if last is not None:
                yield last

        return np.concatenate(list(self._clip_maps(extended(), batch)))[1:]

    def _inputs(self, frames: Iterable[Frame], color: Color, yuv_range: YuvRange) -> Iterator[Frames]:
        if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
            raise FrameError(f"a clip is an iterable of frames; got {type(frames).__name__}")
        return (self._input(frame, color, yuv_range) for frame in frames)

    def _session_for_clips(self) -> Session:
        # Loaded when it is first needed: a camera never needs it.
        step = self._session()
        with self._lock:
            if self._clip_session is None:
                same = self._plan.clip == self._plan.step
                loaded = step if same else self._plan.backend.load(self.bundle, self._plan.clip, self._options)
                self._clip_session = loaded
            return self._clip_session

    # --- one frame --------------------------------------------------------------------------------------

    def _session(self) -> Session:
        session = self._step_session
        if session is None:
            raise ClosedError("this SaliencyPredictor was closed; make a new one")
        return session

    def _input(self, frame: Frame, color: Color, yuv_range: YuvRange) -> Frames:
        return network_input(frame, self.resolution, color=color, yuv_range=yuv_range)[None]

    def _state_of(self, session: Session, pixels: Frames) -> State:
        """The state that a frame leaves behind; what came before it plays no part."""
        contract = self.bundle.manifest.contract
        blank = np.zeros(contract.state_shape, contract.state_in.dtype)
        return session.run(pixels, blank)[1]


class Stream:
    """One camera: frames go in one after the other, each is compared with the one before.

    The first frame is its own predecessor. The size of the frames may change on the way. A stream may be
    pushed from different threads, one push at a time; different streams run at the same time.
    """

    def __init__(self, predictor: SaliencyPredictor, color: Color, yuv_range: YuvRange) -> None:
        self._predictor = predictor
        self._color, self._yuv_range = color, yuv_range
        self._lock = threading.Lock()
        self._state: State | None = None
        self._closed = False
        self.frames = 0
        """Frames pushed since the start or the last reset."""

    def push(self, frame: Frame) -> Saliency:
        """The saliency of the next frame; a frame that raises FrameError leaves the stream as it was."""
        predictor = self._predictor
        with self._lock:
            if self._closed:
                raise ClosedError("this Stream was closed; make a new one with predictor.stream()")
            session = predictor._session()
            pixels = predictor._input(frame, self._color, self._yuv_range)
            if self._state is None:
                self._state = predictor._state_of(session, pixels)
            maps, self._state = session.run(pixels, self._state)
            self.frames += 1
        return Saliency(maps[0], frame_size(frame, color=self._color))

    def reset(self) -> None:
        """Forget the past, as after a cut: the next frame is a first one."""
        with self._lock:
            self._state, self.frames = None, 0

    def close(self) -> None:
        """End the stream; the predictor and its other streams go on. May be called twice."""
        with self._lock:
            self._closed, self._state = True, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked_threads(threads: int) -> int:
    cores = usable_cores()
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= cores:
        raise OptionError(f"threads must be from 1 to the {cores} cores that this process may use; got {threads!r}")
    return threads


__all__ = ["Decision", "SaliencyPredictor", "Stream"]
