"""How a crop moves: where it would keep most attention, without running after every glance, and smoothly.

A crop is the largest window of its shape in the picture, so it moves along one axis. First it gets a *target* for each
frame, which mostly stands still and jumps where that pays; then the targets, held from frame to frame, are smoothed by
a kernel in continuous time, whatever the frames' rate.

Targets. Each place costs the share of attention that it misses, a second; moving costs `PATIENCE` for a picture's
length. Offline the cheapest way through a whole shot is found, exactly (`best_targets`); live the cost so far decides,
what is past counting ever less (`LiveTargets`).

Smoothing. The kernel is the quadratic B-spline: three moving averages. A jump becomes an S-curve whose jerk is
constant in pieces, and since weights are positive and sum to 1, a path never leaves the range of its targets and
never overshoots. With targets within D of each other, speed is at most D / h, acceleration 2 D / h ** 2 and jerk
4 D / h ** 3, where h is a third of the kernel's span (`largest_jerk`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PATIENCE: Final = 0.15
"""Seconds that the whole attention must be missed for until a picture's length of movement pays."""
SPAN: Final = 2.0
"""Of the kernel offline, in seconds: the path begins to move half of this before its target does."""
LIVE_SPAN: Final = 1.0
"""Of the kernel live, whose path comes half of this after its target."""
_MEMORY: Final = 2.0
"""Live, in seconds: after this time what was missed counts e times less."""
_MAX_PLACES: Final = 128


def places_of(length: int, window: int) -> Floats:
    """Where a window may begin: at most 128 even pixels from 0 to length - window, both there, evenly spread.

    Even ones, since the colours of 4:2:0 lie there: a crop that stands still copies its pixels.
    """
    room = (length - window) // 2
    return np.asarray(2 * np.unique(np.rint(np.linspace(0, room, min(room + 1, _MAX_PLACES)))), np.float64)


def missed(density: NDArray[np.float32], places: Floats, window: int, length: int) -> Floats:
    """The share of attention outside of a window that begins at each of the places: float64 [places], 0 to 1.

    Args:
        density: [parts], along the axis of the movement, which has `length` pixels; 0 or more.
        window: its pixels.
    """
    total = float(density.sum(dtype=np.float64))
    if total <= 0:
        return np.zeros(len(places))
    edges = np.linspace(0, length, len(density) + 1)
    below = np.concatenate(([0.0], np.cumsum(density, dtype=np.float64))) / total
    kept = np.interp(places + window, edges, below) - np.interp(places, edges, below)
    return np.asarray(1 - kept, np.float64)


def best_targets(costs: Floats, seconds: Floats, places: Floats, length: int) -> Floats:
    """The cheapest way through a shot: for each frame the place, in pixels, float64 [frames].

    Dynamic programming: for each place the cheapest way to it, frame by frame. A step's price grows with its length,
    so the cheapest origin of all places is found in two sweeps over them.

    Args:
        costs: [frames, places], what each place misses.
        seconds: [frames], how long each frame is shown.
        places: [places], in pixels, growing.
        length: of the picture along the axis, in pixels.
    """
    price = places * (PATIENCE / length)
    origins = np.empty(costs.shape, np.int16)
    total = costs[0] * seconds[0]
    origins[0] = np.arange(len(places))
    for index in range(1, len(costs)):
        reached, origins[index] = _cheapest_origins(total, price)
        total = reached + costs[index] * seconds[index]
    way = np.empty(len(costs), np.intp)
    at = int(np.argmin(total))
    for index in range(len(costs) - 1, -1, -1):
        way[index] = at
        at = int(origins[index, at])
    return places[way]


def _cheapest_origins(total: Floats, price: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """For each place, the least of `total` at an origin plus the price of the way from there; and that origin."""
    at = np.arange(len(total))
    left, right = total - price, (total + price)[::-1]
    lowest, lowest_right = np.minimum.accumulate(left), np.minimum.accumulate(right)
    from_left = np.maximum.accumulate(np.where(left == lowest, at, 0))
    from_right = (len(at) - 1 - np.maximum.accumulate(np.where(right == lowest_right, at, 0)))[::-1]
    below, above = lowest + price, lowest_right[::-1] - price
    reached, origin = np.where(below <= above, below, above), np.where(below <= above, from_left, from_right)
    stays = total <= reached  # of equal ways, the one that stands still
    return np.where(stays, total, reached), np.where(stays, at, origin)


class LiveTargets:
    """The target of each frame, from what came before it."""

    def __init__(self, places: Floats, length: int) -> None:
        self._places, self._price = places, places * (PATIENCE / length)
        self._total: Floats | None = None
        self._at = 0

    def push(self, cost: Floats, seconds: float) -> float:
        """The target after a frame that misses `cost` at each place, and is shown for so long. In pixels."""
        if self._total is None:
            self._total = cost * seconds
            self._at = int(np.argmin(cost))
        else:
            reached, _ = _cheapest_origins(self._total * np.exp(-seconds / _MEMORY), self._price)
            self._total = reached + cost * seconds
            self._total -= self._total.min()
            away = np.abs(self._price - self._price[self._at])
            best = int(np.argmin(self._total + away))
            if self._total[best] + away[best] < self._total[self._at]:
                self._at = best
        return float(self._places[self._at])


def smoothed(
    starts: Sequence[float] | Floats, targets: Sequence[float] | Floats, at: Floats, span: float
) -> Floats:
    """Targets under a kernel that is centred on each moment: float64 [len(at)].

    Args:
        starts: seconds, growing; from each on its target holds, the first one also before, the last one for good.
        targets: as many.
        at: the moments, in seconds, growing. For a causal path, half a span earlier than the moments that it is for.
        span: of the kernel, in seconds, above 0.
    """
    starts, targets = np.asarray(starts, np.float64), np.asarray(targets, np.float64)
    steps = np.diff(targets)
    jumps = np.flatnonzero(steps)
    begins = np.searchsorted(at, starts[jumps + 1] - span / 2)
    ends = np.searchsorted(at, starts[jumps + 1] + span / 2)
    arrived, path = np.zeros(len(at) + 1), np.full(len(at), targets[0])
    for jump, begin, end in zip(jumps, begins, ends, strict=True):
        path[begin:end] += steps[jump] * _step_response((at[begin:end] - starts[jump + 1]) / (span / 3))
        arrived[end] += steps[jump]
    return path + np.cumsum(arrived)[:-1]


def largest_jerk(reach: float, span: float) -> float:
    """What `smoothed` can't exceed, in the unit of `reach` / s ** 3, for targets within `reach` of each other."""
    return 4 * reach / (span / 3) ** 3


def _step_response(u: Floats) -> Floats:
    """The integral of the quadratic B-spline of knots -1.5, -0.5, 0.5, 1.5: 0 before them, 1 after."""
    u = np.clip(u, -1.5, 1.5)
    rising, falling = (u + 1.5) ** 3 / 6, 1 - (1.5 - u) ** 3 / 6
    middle = 0.5 + 0.75 * u - u**3 / 3
    return np.where(u < -0.5, rising, np.where(u > 0.5, falling, middle))
