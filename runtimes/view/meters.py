"""What the stages took and how fast frames came, over the last seconds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

STAGES: Final = ("read", "predict", "draw", "encode")
WINDOW_S: Final = 5.0
_REFRESH_S: Final = 0.25
_MOST: Final = 8192  # of one stage


class Meters:
    """Times of the stages, in a window of `WINDOW_S` seconds. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything, as after a switch of the engine."""
        with self._lock:
            self._times: dict[str, deque[tuple[float, float]]] = {
                stage: deque(maxlen=_MOST) for stage in STAGES
            }
            self._reading: dict[str, Any] = {}
            self._read_at = -np.inf

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._times[stage].append((self._clock(), seconds))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def reading(self) -> dict[str, Any]:
        """JSON values: `stages`, each its [p50, p95] in ms or null; `fps` and `source_fps`, frames predicted and
        read a second.

        Made anew four times a second at most, for percentiles of some hundred times cost as much as a frame.
        """
        with self._lock:
            now = self._clock()
            if now - self._read_at >= _REFRESH_S:
                for times in self._times.values():
                    while times and times[0][0] < now - WINDOW_S:
                        times.popleft()
                stages = {name: _percentiles(times) for name, times in self._times.items()}
                self._reading = {
                    "stages": stages,
                    "fps": _rate(self._times["predict"]),
                    "source_fps": _rate(self._times["read"]),
                }
                self._read_at = now
            return self._reading


def _percentiles(times: deque[tuple[float, float]]) -> list[float] | None:
    if not times:
        return None
    found = np.percentile([seconds for _, seconds in times], [50, 95]) * 1000
    return [round(float(value), 3) for value in found]


def _rate(times: deque[tuple[float, float]]) -> float:
    """Events a second, between the first and the last one in the window."""
    span = times[-1][0] - times[0][0] if times else 0.0
    return round((len(times) - 1) / span, 2) if span > 0 else 0.0
