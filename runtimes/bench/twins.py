"""Twin streams: the same frames for both, disturbances around one of them, the same maps of both."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from uva_edge.errors import ClosedError, FrameError
from uva_edge.preprocess import Frame
from uva_edge.saliency import Saliency

from ..predictor import SaliencyPredictor, Stream
from .traffic import Traffic

_KEPT_DEFECTS: Final = 20
_BATCH: Final = 3


class Tally:
    """What all threads did and saw."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.defects: list[str] = []
        self.defect_count = 0

    def count(self, name: str) -> None:
        with self._lock:
            self.done[name] += 1

    def refuse(self, name: str) -> None:
        with self._lock:
            self.refused[name] += 1

    def defect(self, words: str) -> None:
        with self._lock:
            self.defect_count += 1
            if len(self.defects) < _KEPT_DEFECTS:
                self.defects.append(words)


class Twins:
    """Two streams that get the same good frames, and the disturbance of one of them."""

    def __init__(
        self, predictor: SaliencyPredictor, traffic: Traffic, tally: Tally, *, batches: bool
    ) -> None:
        self._predictor, self._traffic, self._tally = predictor, traffic, tally
        # A map depends on so many frames and on none before: one and its predecessor, or a window.
        depth = max(2, predictor.bundle.manifest.contract.history + 1)
        self._past: deque[Frame] = deque(maxlen=depth)
        self._disturbances: tuple[Callable[[], None], ...] = (
            *(self._push_bad,) * 4,
            self._predict_bad,
            self._clip_ends_badly,
            self._drop_stream,
            self._use_closed,
            *(self._push_batch,) * batches,
        )
        self._open()

    def _open(self) -> None:
        self._color, self._yuv_range = self._traffic.color()
        self._size = self._traffic.size()
        self._calm, self._shaken = self._stream(), self._stream()
        self._past.clear()

    def reopen(self) -> None:
        """New streams in place of the old ones, of any color format."""
        self._calm.close()
        self._shaken.close()
        self._open()

    def step(self) -> None:
        """One good frame for both, and what else may happen around it."""
        draw = self._traffic.random.random
        if draw() < 0.02:
            self._tally.count("reopened")
            self.reopen()
        if draw() < 0.03:
            self._tally.count("resets")
            self._calm.reset()
            self._shaken.reset()
            self._past.clear()
        if draw() < 0.1:
            self._tally.count("resized")
            self._size = self._traffic.size()
        while draw() < 0.4:
            self._disturb()
        self._push()
        if draw() < 0.03:
            self._replay()

    def _push(self) -> None:
        frame = self._traffic.frame(self._color, self._size)
        pair = [self._calm, self._shaken]
        self._traffic.random.shuffle(pair)
        before = self._calm.frames
        one, other = (stream.push(frame) for stream in pair)
        self._past.append(frame)
        self._last = one
        self._tally.count("frames")
        self._expect_equal(one, other, "twin streams")
        counts = self._calm.frames, self._shaken.frames
        if counts != (before + 1, before + 1):
            self._tally.defect(f"twin streams count {counts} frames; expected {before + 1} each")

    def _replay(self) -> None:
        """The last frames again, in a new stream: the last map depends on nothing else."""
        self._tally.count("replays")
        with self._stream() as stream:
            *_, again = [stream.push(frame) for frame in self._past]
        self._expect_equal(self._last, again, "a stream and its replay")

    def _expect_equal(self, one: Saliency, other: Saliency, whose: str) -> None:
        worst = float(np.abs(one.map - other.map).max())
        if worst or one.size != other.size:
            self._tally.defect(
                f"maps of {whose} differ by {worst:.2g}, sizes {one.size} and {other.size} "
                f"({self._color}, frame {self._calm.frames})"
            )

    # --- disturbances: each leaves both twins as they are -----------------------------------------------------

    def _disturb(self) -> None:
        self._traffic.random.choice(self._disturbances)()

    def _push_bad(self) -> None:
        self._expect_refused("push", self._shaken.push)

    def _predict_bad(self) -> None:
        self._expect_refused("predict", lambda bad: self._predictor.predict(bad, color=self._color))

    def _clip_ends_badly(self) -> None:
        def frames(bad: Any) -> Iterator[Any]:
            yield from (self._good(), self._good(), bad)

        self._expect_refused(
            "predict_clip", lambda bad: self._predictor.predict_clip(frames(bad), color=self._color, batch=2)
        )

    def _push_batch(self) -> None:
        def push(bad: Any) -> None:
            wrong: Any = b"" if bad is None else bad  # to a batch, None is a camera without a frame
            batch.push([self._good(), wrong, self._good()])

        with self._predictor.stream_batch(_BATCH, color=self._color) as batch:
            batch.push([self._good(), None, self._good()])
            self._expect_refused("push of a batch", push)
            batch.push([self._good() for _ in range(_BATCH)])
            if batch.frames != (2, 1, 2):
                self._tally.defect(f"streams of a batch count {batch.frames} frames; expected (2, 1, 2)")

    def _drop_stream(self) -> None:
        """A camera that goes away, without a word."""
        stream = self._stream()
        stream.push(self._good())
        stream.push(self._good())

    def _use_closed(self) -> None:
        stream = self._stream()
        stream.close()
        try:
            stream.push(self._good())
        except ClosedError:
            return
        self._tally.defect("a closed stream took a frame; expected ClosedError")

    def _expect_refused(self, what: str, call: Callable[[Any], object]) -> None:
        name, bad = self._traffic.bad(self._color)
        before = self._shaken.frames
        try:
            call(bad)
        except FrameError:
            self._tally.refuse(name)
        except Exception as error:
            words = f"raised {type(error).__name__}: {error}"
            self._tally.defect(
                f"{what}: a {self._color} frame with the defect {name!r} {words}; expected FrameError"
            )
        else:
            self._tally.defect(
                f"{what}: a {self._color} frame with the defect {name!r} was taken; expected FrameError"
            )
        if self._shaken.frames != before:
            self._tally.defect(f"{what}: a bad frame changed the count of the stream's frames")

    def _good(self) -> Frame:
        return self._traffic.frame(self._color, self._traffic.size())

    def _stream(self) -> Stream:
        return self._predictor.stream(color=self._color, yuv_range=self._yuv_range)
