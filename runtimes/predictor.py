"""`SaliencyPredictor`: one class for every backend. Weights are shared, state is a `Stream`'s own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import ClosedError, FrameError, OptionError, SessionError
from uva_edge.preprocess import Color, Frame, YuvRange, frame_size, network_input
from uva_edge.saliency import Saliency

from .backend import Frames, Maps, Session, SessionInfo, SessionOptions, State, first_state
from .clips import clip_maps
from .engines import with_built
from .fastest import select_fastest
from .forks import ProcessLock, never_free_in_children
from .selection import Selection, select
from .stream_batch import StreamBatch


class SaliencyPredictor:
    """Predicts where people would look, on the best backend of this machine.

    Args:
        bundle: a shipped name (``uva-64``, ``uva-32``), or the path of a bundle's directory or .zip.
        backend: ``auto``, ``fastest`` (measures on this device and remembers), or a name. A backend that is
            asked for by name and can't run is an error, never another backend. ``auto`` goes on to the next
            when an engine is missing, broken, or refuses the artifact, and `explain` says so.
        precision: ``auto`` (fp32, or int8 where it passed its gate and is faster on this processor), ``fp32``,
            ``fp16``, ``bf16``, ``int8``.
        threads: threads of the engine, from 1 to the cores that this process may use.

    Frames are uint8 BGR [H, W, 3] unless `color` says otherwise (see `uva_edge.preprocess.network_input`), of
    any size. The predictor and its streams may be used from several threads at once; `close`, or the end of a
    `with` block, frees the engine.

    Attributes:
        bundle: the opened bundle, with the engines that `uva-edge build-engine` made of it for this GPU.
        info: what the engine does with one frame at a time, read back from it.
        decisions: one for each backend that was considered; `explain` gives them as text.

    Raises:
        OptionError: an unknown backend or precision, or threads that there aren't.
        BundleError: there is no such bundle, or it is damaged.
        BackendUnavailableError: the backend that was asked for can't run here.
        NoBackendError: no backend can; the message holds every reason.
        SessionError: the engine of the backend that was asked for refuses the artifact.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] = "uva-64",
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 1,
    ) -> None:
        self._options = SessionOptions(threads=threads)
        self.bundle = with_built(Bundle.open(bundle))
        selection, session = _select_and_load(self.bundle, backend, precision, self._options)
        self._plan, self.decisions = selection.plan, selection.decisions
        self._lock = ProcessLock()
        never_free_in_children(self)
        self._step_session: Session | None = session
        self._clip_session: Session | None = None
        self.info: SessionInfo = session.info

    @property
    def backend(self) -> str:
        """Name of the backend that runs."""
        return self.info.backend

    @property
    def resolution(self) -> int:
        """R: maps have R rows, and as many columns unless `grid` says otherwise."""
        return self.bundle.manifest.contract.resolution

    @property
    def grid(self) -> tuple[int, int]:
        """(R, C), the rows and columns of the network's input and of its maps."""
        return self.bundle.manifest.contract.grid

    def explain(self) -> str:
        """Why this backend: one line for each that was considered."""
        return "\n".join(str(decision) for decision in self.decisions)

    def predict(self, frame: Frame, *, color: Color = "bgr", yuv_range: YuvRange = "limited") -> Saliency:
        """The saliency of one image, by itself: the same as the first push of a stream.

        Raises:
            FrameError: the frame is not what its color format says.
            OptionError: an unknown color or range.
            SessionError, ClosedError: the engine failed, or was freed.
            ProcessError: this is a fork of the process that made the predictor; so say all its methods.
        """
        session = self._session()
        pixels = self._input(frame, color, yuv_range)
        maps, _ = session.run(pixels, self._state_of(session, pixels))
        return Saliency(maps[0], frame_size(frame, color=color))

    def stream(self, *, color: Color = "bgr", yuv_range: YuvRange = "limited") -> Stream:
        """A new stream: the state of one camera.

        Raises:
            OptionError: the bundle is of lookahead pairs, whose maps need the frame that is still to come.
            ClosedError: the predictor was closed.
        """
        self._session()
        self._expect_live()
        return Stream(self, color, yuv_range)

    def stream_batch(
        self, count: int, *, color: Color = "bgr", yuv_range: YuvRange = "limited"
    ) -> StreamBatch:
        """New streams of `count` cameras that step together, in one call of the engine.

        Raises:
            OptionError: `count` below 1; the bundle is of lookahead pairs; or more than one stream is asked of an
                artifact that takes one, as in bundles of earlier exports and of networks that see windows.
            SessionError, BundleError: the artifact for several streams can't be loaded.
            ClosedError: the predictor was closed.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise OptionError(f"count must be an integer of at least 1, got {count!r}")
        session = self._session()
        self._expect_live()
        if self._plan.clip.streams is None:
            session = self._session_for_clips()
        elif count > 1 or self.bundle.manifest.contract.state_shape[0] != 1:
            raise OptionError(self._one_stream())
        return StreamBatch(self, session, count, color, yuv_range)

    def predict_clip(
        self,
        frames: Iterable[Frame],
        *,
        color: Color = "bgr",
        yuv_range: YuvRange = "limited",
        batch: int = 32,
    ) -> NDArray[np.float32]:
        """The maps of consecutive frames, float32 [N, R, C], at most `batch` frames a call of the engine.

        Equals pushing the frames one by one into a stream. The frames may come from a generator. While the engine
        computes, the next ones are drawn and prepared in a thread, if the process may use a core more than the
        engine's threads; no more than twice `batch` inputs are held at a time, and fewer where the network sees many
        pixels for each map (`Contract.frames_per_call`). With a bundle of lookahead pairs the last frame is its own
        partner.

        Raises:
            FrameError: no frames, or one that is not what its color format says.
            OptionError: `batch` below 1, an unknown color or range.
            SessionError, ClosedError: the engine failed, or was freed.
            Exception: whatever the iterator of frames raised.
        """
        self._expect_clip(frames, batch)
        return np.stack(list(self._clip_maps(self._inputs(frames, color, yuv_range), batch)))

    def predict_frames(
        self,
        frames: Iterable[Frame],
        *,
        color: Color = "bgr",
        yuv_range: YuvRange = "limited",
        batch: int = 32,
    ) -> Generator[Saliency, None, None]:
        """As `predict_clip`, but the results one by one, as they come: for a clip of any length.

        What the frames raise comes after the results of all frames before. Until the iterator has ended or is
        closed, it draws frames.
        """
        self._expect_clip(frames, batch)
        return self._clip_results(frames, color, yuv_range, batch)

    def close(self) -> None:
        """Free the engine; whatever is used afterwards raises ClosedError. May be called twice.

        In a forked child nothing happens: the engine is the parent's.
        """
        if not self._lock.here:
            return
        with self._lock:
            sessions = (self._step_session, self._clip_session)
            self._step_session = self._clip_session = None
        for session in sessions:
            if session is not None:
                session.close()

    def __enter__(self) -> SaliencyPredictor:
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

    def _expect_live(self) -> None:
        if self.bundle.manifest.contract.pairing == "lookahead":
            raise OptionError(
                f"bundle {self.bundle.name} compares a frame with the next one, so a live stream can't have "
                "its map yet; use predict_clip, or a bundle of causal pairs"
            )

    def _one_stream(self) -> str:
        if self.bundle.manifest.contract.history:
            why = "its network sees a window of frames for each map; make one stream() for each camera"
        else:
            why = (
                f"it was exported before there were batches; export it again (uva-edge export {self.bundle.location} "
                "-o DIRECTORY), or make one stream() for each camera"
            )
        return f"{self._plan.clip.name} of bundle {self.bundle.name} takes one stream in a call: {why}"

    # --- clips ------------------------------------------------------------------------------------------

    def _expect_clip(self, frames: Iterable[Frame], batch: int) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise OptionError(f"batch must be an integer of at least 1, got {batch!r}")
        if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
            raise FrameError(f"a clip is an iterable of frames; got {type(frames).__name__}")

    def _clip_results(
        self, frames: Iterable[Frame], color: Color, yuv_range: YuvRange, batch: int
    ) -> Generator[Saliency, None, None]:
        sizes: deque[tuple[int, int]] = deque()
        inputs = self._inputs(frames, color, yuv_range, sizes.append)
        with closing(self._clip_maps(inputs, batch)) as maps:
            for values in maps:
                yield Saliency(values, sizes.popleft())

    def _clip_maps(self, inputs: Iterator[Frames], batch: int) -> Generator[Maps, None, None]:
        overlap = usable_cores() > self._options.threads
        contract = self.bundle.manifest.contract
        return clip_maps(self._session_for_clips(), contract, inputs, batch, overlap=overlap)

    def _inputs(
        self,
        frames: Iterable[Frame],
        color: Color,
        yuv_range: YuvRange,
        measured: Callable[[tuple[int, int]], None] = lambda size: None,
    ) -> Iterator[Frames]:
        """The network's inputs of frames, each when it is asked for; `measured` is told their sizes."""
        iterator = iter(frames)
        try:
            for frame in iterator:
                pixels = self._input(frame, color, yuv_range)
                measured(frame_size(frame, color=color))
                yield pixels
        finally:
            if isinstance(iterator, Generator):  # what it has open is closed at once, whatever failed
                iterator.close()

    def _session_for_clips(self) -> Session:
        # Loaded when it is first needed: a camera never needs it.
        with self._lock:
            step, plan = self._session(), self._plan
            if self._clip_session is None:
                same = plan.clip == plan.step
                self._clip_session = (
                    step if same else plan.backend.load(self.bundle, plan.clip, self._options)
                )
            return self._clip_session

    # --- one frame --------------------------------------------------------------------------------------

    def _session(self) -> Session:
        self._lock.expect_here()
        session = self._step_session
        if session is None:
            raise ClosedError("this SaliencyPredictor was closed; make a new one")
        return session

    def _input(self, frame: Frame, color: Color, yuv_range: YuvRange) -> Frames:
        return network_input(frame, self.grid, color=color, yuv_range=yuv_range)[None]

    def _state_of(self, session: Session, pixels: Frames) -> State:
        return first_state(self.bundle.manifest.contract, session.run, pixels)


class Stream:
    """One camera: frames go in one after the other, each is compared with the one before.

    The first frame is its own predecessor. The size of the frames may change on the way. A stream may be
    pushed from different threads, one push at a time; different streams run at the same time.
    """

    def __init__(self, predictor: SaliencyPredictor, color: Color, yuv_range: YuvRange) -> None:
        self._predictor = predictor
        self._color, self._yuv_range = color, yuv_range
        self._lock = ProcessLock()
        self._state: State | None = None
        self._closed = False
        self.frames = 0
        """Frames pushed since the start or the last reset."""

    def push(self, frame: Frame) -> Saliency:
        """The saliency of the next frame. Whatever is raised leaves the stream as it was.

        Raises:
            FrameError: the frame is not what the stream's color format says.
            OptionError: the stream's color or range is unknown.
            SessionError, ClosedError: the engine failed, or the stream or its predictor was closed.
        """
        predictor = self._predictor
        with self._lock:
            if self._closed:
                raise ClosedError("this Stream was closed; make a new one with predictor.stream()")
            session = predictor._session()
            pixels = predictor._input(frame, self._color, self._yuv_range)
            state = predictor._state_of(session, pixels) if self._state is None else self._state
            maps, state = session.run(pixels, state)
            saliency = Saliency(maps[0], frame_size(frame, color=self._color))
            self._state = state
            self.frames += 1
        return saliency

    def reset(self) -> None:
        """Forget the past, as after a cut: the next frame is a first one."""
        with self._lock:
            self._state, self.frames = None, 0

    def close(self) -> None:
        """End the stream; the predictor and its other streams go on. May be called twice."""
        if not self._lock.here:
            return
        with self._lock:
            self._closed, self._state = True, None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _select_and_load(
    bundle: Bundle, backend: str, precision: str, options: SessionOptions
) -> tuple[Selection, Session]:
    """The backend to use and its session for one frame; ``auto`` passes over engines that refuse the artifact."""
    refused: dict[tuple[str, str], str] = {}
    while True:
        if backend == "fastest":
            selection = select_fastest(bundle, precision, options)
        else:
            selection = select(bundle, backend, precision, refused=refused)
        plan = selection.plan
        try:
            return selection, plan.backend.load(bundle, plan.step, options)
        except SessionError as error:
            if backend != "auto":
                raise
            refused[plan.backend.name, plan.step.name] = str(error)
