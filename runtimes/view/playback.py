"""A source at its own pace, in a thread of its own: of the frames that wait, the newest is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..sources import NOMINAL_FPS, Frame, Source

OpenSource: TypeAlias = Callable[[], Source]
"""Opens the source anew, from its start; raises SourceError."""

_MOST_LAG_S: Final = 0.5


@dataclass(frozen=True, eq=False)
class Played:
    """A frame. `lap`: how often the source had been begun before."""

    frame: Frame
    lap: int


class Playback:
    """Plays a source: files at their own frame rate and again from the start, what is live as it comes.

    A frame that nobody took before the next one came is dropped and counted. A playback that falls behind its
    clock, as when the machine was busy, goes on from there: it does not hurry.

    Args:
        open_source: for each lap.
        once: play a file once.
        read: told of each frame how many seconds it took to read, which for a camera is mostly waiting.

    Attributes:
        source: what is played, once `open` has returned.
        loops: it begins again when it ends.
        dropped: frames that were read and not taken, and those that a camera left out.
        remark: in the source's words, why it gave fewer frames than it declared; or empty.
    """

    def __init__(
        self,
        open_source: OpenSource,
        *,
        once: bool = False,
        read: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._open, self._once, self._read = open_source, once, read
        self.source: Source | None = None
        self.loops = False
        self.remark = ""
        self._overtaken = 0
        self._waiting: Played | None = None
        self._error: Exception | None = None
        self._ended = False
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        return self._overtaken + (self.source.dropped if self.source else 0)

    def open(self) -> Source:
        """Open the source and begin to play it. Raises what opening it raises."""
        source = self.source = self._open()
        self.loops = not self._once and source.path is not None and source.kind in ("video", "images")
        # A daemon: a camera that doesn't answer must not keep the process alive.
        self._thread = threading.Thread(
            target=self._play, args=(source,), name="uva-edge-playback", daemon=True
        )
        self._thread.start()
        return source

    def frames(self) -> Iterator[Played]:
        """The newest frame each time, waiting for it; ends with the source or when it is stopped.

        Raises what reading the source raised, after the last frame.
        """
        while True:
            with self._changed:
                while not (self._waiting or self._ended or self._stopped.is_set()):
                    self._changed.wait()
                played, self._waiting = self._waiting, None
            if self._stopped.is_set():
                return
            if played is None:
                if self._error is not None:
                    raise self._error
                return
            yield played

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """End `frames`; the source is closed as soon as it answers. May be called at any time, and twice."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the source to be closed; whether it was."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _play(self, source: Source) -> None:
        clock = _Clock()
        try:
            lap = 0
            self._play_lap(source, lap, clock)
            while self.loops and not self._stopped.is_set():
                lap += 1
                clock.begin_again(source.fps)
                source = self._open()
                self._play_lap(source, lap, clock)
        except Exception as error:  # raised again in the thread that takes the frames
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _play_lap(self, source: Source, lap: int, clock: _Clock) -> None:
        with source:
            self.source = source
            frames = iter(source)
            while not self._stopped.is_set():
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    self.remark = source.problem or ""
                    return
                self._read(time.perf_counter() - start)
                if not source.live:
                    self._stopped.wait(clock.wait_s(frame.time, time.monotonic()))
                self._offer(Played(frame, lap))

    def _offer(self, played: Played) -> None:
        with self._changed:
            self._overtaken += self._waiting is not None
            self._waiting = played
            self._changed.notify_all()


class _Clock:
    """When a frame is due: its time in the source, on a wall clock that goes on through the laps."""

    def __init__(self) -> None:
        self._zero: float | None = None
        self._lap_s = self._last_s = 0.0

    def wait_s(self, frame_s: float, now: float) -> float:
        """Seconds from `now` until the frame at `frame_s` of its lap is due."""
        self._last_s = self._lap_s + frame_s
        if self._zero is None or now - self._zero - self._last_s > _MOST_LAG_S:
            self._zero = now - self._last_s
        return max(0.0, self._zero + self._last_s - now)

    def begin_again(self, fps: float | None) -> None:
        """The next frame is the first of a new lap, one frame after the last."""
        self._lap_s = self._last_s + 1 / (fps or NOMINAL_FPS)
