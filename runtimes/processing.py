"""From a source through a stream to writers, so that nothing that was computed is lost.

However a run ends (the last frame, Ctrl-C, a damaged file, a full disk, a bug), every writer that still can
is closed, and what it holds is a complete file.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, TypeAlias

import numpy as np

from uva_edge.errors import OptionError, OutputError, SourceError
from uva_edge.preprocess import Frame as Pixels
from uva_edge.saliency import Saliency

from .sources import Frame, Source
from .writers import Writer

_SAMPLES: Final = 4096

Predict: TypeAlias = Callable[[Iterator[Pixels]], Generator[Saliency, None, None]]
"""Pixels in the source's format to their results in the same order; it may draw some ahead."""
Results: TypeAlias = Generator[tuple[Frame, Saliency], None, None]


@dataclass(frozen=True)
class Progress:
    """After a frame: how many are done, of how many (None if unknown), in how many seconds, and the rate."""

    frames: int
    total: int | None
    seconds: float
    fps: float


@dataclass(frozen=True)
class StageTime:
    """Time spent in one stage: `seconds` in all, and the median and 95th percentile of a frame's in ms."""

    seconds: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        frames: predicted and written.
        seconds, fps: from the first request for a frame to the last output in place.
        stages: "decode" (waiting for a camera included), "predict" and "write".
        problem: in words, why the source gave fewer frames than it declared, or None.
        interrupted: it was ended by Ctrl-C.
        dropped, reconnects, lost_seconds: what a live source lost, see `Losses`.
        outputs: the files and directories that are in place.
    """

    frames: int
    seconds: float
    fps: float
    stages: dict[str, StageTime]
    problem: str | None = None
    interrupted: bool = False
    dropped: int = 0
    reconnects: int = 0
    lost_seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)


def process(
    source: Source,
    push: Callable[[Pixels], Saliency],
    writers: Sequence[Writer],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Run every frame of `source` through `push`, give the results to all `writers`, and close these.

    For what is live, and for what is told frame by frame. At most two frames are held at a time. Ctrl-C ends the run
    between two frames, so all outputs hold the same ones, and is ignored while outputs are being completed. The
    source is left to its owner.

    Args:
        source: not iterated yet.
        push: such as `Stream.push`, of a stream that was made for the source's `color` and `yuv_range`: `Frame.pixels`
            to Saliency.
        writers: all of them are closed or discarded when this returns or raises.
        progress: called after each frame.

    Returns:
        The report. Ctrl-C, and a source that fails after its first frame, are in it and not raised.

    Raises:
        OptionError: a writer would overwrite the source, or two writers have one path.
        SourceError: the source fails before its first frame.
        OutputError: a writer failed: it is discarded, the others are completed.
        Exception: what `push` or `progress` raised, after all writers were completed; if one of them couldn't
            be, a note of the exception (`__notes__`) says so.
    """
    run = _Run(source, writers, progress)
    return _completed(run, run.pushed(push))


def process_clip(
    source: Source,
    predict: Predict,
    writers: Sequence[Writer],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """As `process`, for archives: `predict` (such as `SaliencyPredictor.predict_frames`) draws the frames itself.

    The frames that it draws before their results are there are held. Of the stages "predict" is then the time of
    waiting for results; "decode" may overlap with it and with "write".
    """
    run = _Run(source, writers, progress)
    return _completed(run, run.predicted(predict))


def _completed(run: _Run, results: Results) -> Report:
    """Write the results as they come, and complete the outputs, however that ends."""
    try:
        run.write_all(results)
    except KeyboardInterrupt:
        run.interrupted = True
    except SourceError as error:
        if not run.frames:
            run.finish()
            raise
        run.problem = str(error)
    except OutputError as error:
        run.failures.append(error)
    except BaseException as error:
        run.finish()
        if run.failures:
            error.__notes__ = [*getattr(error, "__notes__", []), *map(str, run.failures)]  # type: ignore[attr-defined]
        raise
    run.finish()
    if run.failures:
        raise OutputError(run.complaint()) from None
    return run.report()


class _Run:
    def __init__(
        self,
        source: Source,
        writers: Sequence[Writer],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.frames = 0
        self.problem: str | None = None
        self.interrupted = False
        self.failures: list[OutputError] = []
        self._source, self._progress = source, progress
        self._writers = list(writers)
        self._outputs: list[Path] = []
        self._stages = {"decode": _Stage(), "predict": _Stage(), "write": _Stage()}
        self._start = time.perf_counter()

    def write_all(self, results: Results) -> None:
        _refuse_collisions(self._source, self._writers)
        with closing(results):
            for frame, saliency in results:
                self._write(frame, saliency)
                if self._progress is not None:
                    self._progress(self._now())
        self.problem = self._source.problem

    def pushed(self, push: Callable[[Pixels], Saliency]) -> Results:
        """One frame after the other, each when it is asked for."""
        for frame in self._frames():
            with self._stages["predict"].timed():
                saliency = push(frame.pixels)
            yield frame, saliency

    def predicted(self, predict: Predict) -> Results:
        """As `predict` has them, which may be in another thread by some frames."""
        waiting: deque[Frame] = deque()

        def pixels() -> Iterator[Pixels]:
            for frame in self._frames():
                waiting.append(frame)
                yield frame.pixels

        with closing(predict(pixels())) as results:
            while True:
                with self._stages["predict"].timed():
                    saliency = next(results, None)
                if saliency is None:
                    return
                yield waiting.popleft(), saliency

    def _frames(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while True:
            with self._stages["decode"].timed():
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _write(self, frame: Frame, saliency: Saliency) -> None:
        with _interrupts_held(), self._stages["write"].timed():
            try:
                for writer in self._writers:
                    writer.add(frame, saliency)
            except OutputError:
                self._writers.remove(writer)
                writer.discard()
                raise
            self.frames += 1

    def finish(self) -> None:
        """Close every writer; those that can't be are discarded, and their errors are kept."""
        try:
            with _interrupts_held(), self._stages["write"].timed(sample=False):
                while self._writers:
                    self._close(self._writers.pop(0))
        except KeyboardInterrupt:
            self.interrupted = True

    def _close(self, writer: Writer) -> None:
        try:
            path = writer.close()
        except Exception as error:
            writer.discard()
            if not isinstance(error, OutputError):
                error = OutputError(f"{writer.path} can't be completed: {error!r}")
            self.failures.append(error)
        else:
            self._outputs += [] if path is None else [path]

    def complaint(self) -> str:
        kept = "".join(f"; complete nonetheless: {path}" for path in self._outputs)
        return "; ".join(map(str, self.failures)) + kept

    def _now(self) -> Progress:
        seconds = time.perf_counter() - self._start
        return Progress(self.frames, self._source.expected, seconds, self.frames / max(seconds, 1e-9))

    def report(self) -> Report:
        now, losses = self._now(), self._source.losses
        return Report(
            frames=self.frames,
            seconds=now.seconds,
            fps=now.fps,
            stages={name: stage.time() for name, stage in self._stages.items()},
            problem=self.problem,
            interrupted=self.interrupted,
            dropped=losses.dropped,
            reconnects=losses.reconnects,
            lost_seconds=losses.seconds,
            outputs=self._outputs,
        )


class _Stage:
    """Times of one stage. The percentiles come from a uniform sample (reservoir, Vitter's algorithm R), so a
    stream may run for months."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._count = 0
        self._samples: list[float] = []
        self._random = random.Random(0)

    @contextmanager
    def timed(self, *, sample: bool = True) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._seconds += seconds
        if not sample:
            return
        self._count += 1
        if len(self._samples) < _SAMPLES:
            self._samples.append(seconds)
        elif (place := self._random.randrange(self._count)) < _SAMPLES:
            self._samples[place] = seconds

    def time(self) -> StageTime:
        p50, p95 = np.percentile(self._samples or [0.0], [50, 95]) * 1000
        return StageTime(self._seconds, float(p50), float(p95))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, so a file is never left between two of its own writes.

    Only the main thread is ever interrupted, so elsewhere there is nothing to hold. A handler that was not
    set from Python can't be put back, and is left alone.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held and callable(handler):
        handler(*held[0])


def _refuse_collisions(source: Source, writers: Sequence[Writer]) -> None:
    taken: set[Path] = set()
    if source.path is not None:
        own = source.path.resolve()
        # A directory of maps may hold the one image that is read, under a name that a map would get.
        taken |= {own, own.parent} if source.kind == "image" else {own}
    for writer in writers:
        if writer.path in taken:
            raise OptionError(f"{writer.path} is the source or another output; give this output another name")
        taken.add(writer.path)
