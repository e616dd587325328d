"""`StreamBatch`: many cameras, one step of all of them in one call of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from uva_edge.errors import ClosedError, FrameError, OptionError
from uva_edge.preprocess import Color, Frame, YuvRange, frame_size
from uva_edge.saliency import Saliency

from .backend import Frames, Maps, Session, State, first_state
from .forks import ProcessLock

if TYPE_CHECKING:
    from .predictor import SaliencyPredictor


class StreamBatch:
    """The states of n cameras, which step together; made by `SaliencyPredictor.stream_batch`.

    Each stream is what a `Stream` of its own would be: its first frame is its own predecessor, and the sizes of
    its frames may change and differ from the others'. A batch may be pushed from different threads, one push at a
    time.

    Attributes:
        frames: of each stream, how many were pushed since the start or its last reset.
    """

    def __init__(
        self, predictor: SaliencyPredictor, session: Session, count: int, color: Color, yuv_range: YuvRange
    ) -> None:
        self._predictor, self._session = predictor, session
        self._contract = predictor.bundle.manifest.contract
        self._color, self._yuv_range = color, yuv_range
        self._lock = ProcessLock()
        self._closed = False
        self.frames: tuple[int, ...] = (0,) * count
        # One row for each stream; of those without frames it means nothing.
        self._states: State = np.zeros(
            (count, *self._contract.state_shape[1:]), self._contract.state_in.dtype
        )

    def __len__(self) -> int:
        """The number of streams, n."""
        return len(self.frames)

    def push(self, frames: Sequence[Frame | None]) -> list[Saliency | None]:
        """The saliency of the next frame of each stream, in one call of the engine.

        That call is split where the memory of so many frames would be out of proportion
        (`Contract.frames_per_call`), and another comes before it for streams that are at their first frame.

        Args:
            frames: one for each stream; None for a stream that has no frame this time, as when a camera dropped
                it: its state stays, and its result is None.

        Whatever is raised leaves all streams as they were.

        Raises:
            FrameError: not one frame for each stream, or one that is not what the batch's color format says; the
                message begins with the index of its stream.
            OptionError: the batch's color or range is unknown.
            SessionError, ClosedError: the engine failed, or the batch or its predictor was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError(
                    "this StreamBatch was closed; make a new one with predictor.stream_batch(n)"
                )
            self._expect_one_each(frames)
            present = {place: frame for place, frame in enumerate(frames) if frame is not None}
            if not present:
                return [None] * len(self)
            inputs, sizes = [], []
            for place, frame in present.items():
                with _of_stream(place):
                    inputs.append(self._predictor._input(frame, self._color, self._yuv_range))
                    sizes.append(frame_size(frame, color=self._color))
            maps, states = self._step(list(present), np.concatenate(inputs))
            results: list[Saliency | None] = [None] * len(self)
            for place, values, size in zip(present, maps, sizes, strict=True):
                with _of_stream(place):
                    results[place] = Saliency(values, size)
            self._states = states
            self.frames = tuple(count + (place in present) for place, count in enumerate(self.frames))
        return results

    def reset(self, stream: int | None = None) -> None:
        """Forget the past of one stream, or of all: the next frame is a first one.

        Raises:
            OptionError: there is no stream of that index.
        """
        with self._lock:
            if stream is None:
                self.frames = (0,) * len(self)
                return
            if not isinstance(stream, int) or isinstance(stream, bool) or not 0 <= stream < len(self):
                raise OptionError(
                    f"stream must be from 0 to {len(self) - 1}, or None for all; got {stream!r}"
                )
            self.frames = tuple(0 if place == stream else count for place, count in enumerate(self.frames))

    def close(self) -> None:
        """End the streams; the predictor goes on. May be called twice."""
        if not self._lock.here:
            return
        with self._lock:
            self._closed = True

    def __enter__(self) -> StreamBatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _expect_one_each(self, frames: Sequence[Frame | None]) -> None:
        if not isinstance(frames, (Sequence, np.ndarray)) or isinstance(frames, (str, bytes)):
            raise FrameError(
                f"push takes a list of {len(self)} frames, one for each stream; got {type(frames).__name__}"
            )
        if len(frames) != len(self):
            raise FrameError(
                f"push takes one frame for each of the {len(self)} streams, None for one that has none; "
                f"got {len(frames)}"
            )

    def _step(self, places: list[int], inputs: Frames) -> tuple[Maps, State]:
        """The maps of one frame of each of these streams, and the states of all streams after it."""
        everybody = len(places) == len(self)
        first = [index for index, place in enumerate(places) if not self.frames[place]]
        before = self._states
        if not everybody or first:
            # Picked apart, states come to the host; all together they stay where they are.
            rows = np.array(before)[places]
            if first:
                rows[first] = np.asarray(first_state(self._contract, self._run, inputs[first]))
            before = rows
        maps, after = self._run(inputs, before)
        if everybody:
            return maps, after
        states = np.array(self._states)
        states[places] = np.asarray(after)
        return maps, states

    def _run(self, frames: Frames, states: State) -> tuple[Maps, State]:
        """One frame of each stream, in as many calls as their memory asks for."""
        most = self._contract.frames_per_call
        if len(frames) <= most:
            return self._session.run(frames, states)
        rows = np.asarray(states)
        parts = [
            self._session.run(frames[start : start + most], rows[start : start + most])
            for start in range(0, len(frames), most)
        ]
        maps, after = zip(*parts, strict=True)
        return np.concatenate(maps), np.concatenate([np.asarray(state) for state in after])


@contextmanager
def _of_stream(place: int) -> Iterator[None]:
    """Put the stream's index before what is wrong with its frame."""
    try:
        yield
    except ValueError as error:  # as all that is said of frames, options and sizes
        raise type(error)(f"stream {place}: {error}") from None
