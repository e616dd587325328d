"""From the frames of a movie to the path of its crop: what each frame says, and what follows from that.

Offline it follows from the frames of a whole shot (`planned_path`), live from those before (`LivePath`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..predictor import Stream
from .crop import Window
from .crop_path import (
    LIVE_SPAN,
    SPAN,
    Floats,
    LiveTargets,
    best_targets,
    missed,
    places_of,
    smoothed,
)
from .cuts import CutDetector
from .movie import picture


@dataclass(frozen=True, eq=False)
class Look:
    """What one frame says.

    Attributes:
        seconds: when it is shown.
        cut: a shot begins with it.
        costs: float64 [places], the share of attention that a window at each of the places misses.
    """

    seconds: float
    cut: bool
    costs: Floats


class Watcher:
    """Predicts the frames of one movie. At a cut the stream is reset: frames of two shots are no motion.

    `places`: where the window may begin, in pixels along its axis.
    """

    def __init__(self, stream: Stream, window: Window) -> None:
        self.window = window
        self.places = places_of(window.length, window.extent)
        self._stream, self._cuts = stream, CutDetector()

    def look(self, frame: Any) -> Look:
        image = picture(frame)
        cut = self._cuts.push(image)
        if cut:
            self._stream.reset()
        density = self._stream.push(image).map.sum(axis=self.window.axis)
        costs = missed(density, self.places, self.window.extent, self.window.length)
        return Look(float(frame.pts * frame.time_base), cut, costs)


def planned_path(looks: Sequence[Look], places: Floats, length: int) -> Floats:
    """Where the window of each frame begins, in pixels, float64 [frames], when all frames are known."""
    seconds = np.array([look.seconds for look in looks])
    shown = np.diff(seconds)
    shown = np.append(shown, shown.mean() if len(shown) else 1.0)
    begins = [0, *(index for index, look in enumerate(looks) if look.cut), len(looks)]
    path = np.empty(len(looks))
    for begin, end in pairwise(begins):
        costs = np.stack([look.costs for look in looks[begin:end]])
        targets = best_targets(costs, shown[begin:end], places, length)
        path[begin:end] = smoothed(seconds[begin:end], targets, seconds[begin:end], SPAN)
    return np.clip(path, places[0], places[-1])


class LivePath:
    """The same from what came before: the path comes half of `LIVE_SPAN` after the targets."""

    def __init__(self, places: Floats, length: int) -> None:
        self._places, self._length = places, length
        self._begin()

    def push(self, look: Look) -> float:
        """Where the window of the next frame begins, in pixels."""
        if look.cut:
            self._begin()
        shown = look.seconds - self._starts[-1] if self._starts else 0.0
        self._held.append(self._targets.push(look.costs, shown))
        self._starts.append(look.seconds)
        at = look.seconds - LIVE_SPAN / 2
        while len(self._starts) > 1 and self._starts[1] + LIVE_SPAN / 2 < at:
            del self._starts[0], self._held[0]  # long arrived there
        place = smoothed(self._starts, self._held, np.array([at]), LIVE_SPAN)[0]
        return float(np.clip(place, self._places[0], self._places[-1]))

    def _begin(self) -> None:
        self._targets = LiveTargets(self._places, self._length)
        self._starts: list[float] = []
        self._held: list[float] = []
