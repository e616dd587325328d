"""What a process holds, sampled while it works, and whether that grows."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

BLOCKS: Final = 12
"""Parts of the time, of which each counts as its median."""
_PAIRS: Final = BLOCKS * (BLOCKS - 1) // 2
_SPREAD: Final = 1.96 * (BLOCKS * (BLOCKS - 1) * (2 * BLOCKS + 5) / 18) ** 0.5
"""Of 95 % of Kendall's statistic over so many blocks, were there no trend."""


class Footprint(NamedTuple):
    """What this process holds: resident memory in MB (2**20 bytes), open file descriptors, threads."""

    memory: float
    descriptors: float
    threads: float


LARGEST_GROWTH: Final = Footprint(memory=16, descriptors=6, threads=6)
"""More growth than this over the time that was judged is a leak, however long that was.

Caches that fill late and pages that are held in part come to a few MB, however long a run is: the bound is one of
growth and not of a rate, so that a longer run tells slower leaks. One that keeps a map of 16 KB a frame is over it
after 1024 frames.
"""


def footprint() -> Footprint:
    """Of this process, now; from /proc, which Linux has.

    The C library is first asked to give back the memory that is free: how much of it glibc hoards depends on the order
    in which threads allocate, is more than half of what is held, and settles after minutes only.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    descriptors = len(os.listdir("/proc/self/fd"))
    return Footprint(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20, descriptors, len(os.listdir("/proc/self/task"))
    )


@dataclass(frozen=True)
class Trend:
    """How one quantity went over the time that was judged.

    Attributes:
        name: a field of `Footprint`.
        first, last: its medians in the first and in the last twelfth of the time.
        per_hour: its slope, by Theil and Sen: the median of the slopes between any two twelfths, which a step or a few
            outliers don't move.
        low, high: the 95 % interval of that slope, by Kendall's statistic.
        hours: the time that was judged.
        limit: the growth that is allowed in that time.
    """

    name: str
    first: float
    last: float
    per_hour: float
    low: float
    high: float
    hours: float
    limit: float

    @property
    def steady(self) -> bool:
        """Whether even the low end of the slope's interval stays within the limit: nothing was shown to grow."""
        return self.low * self.hours <= self.limit


class Samples:
    """Footprints over time, oldest first."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._values: list[Footprint] = []

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, seconds: float, value: Footprint) -> None:
        self._seconds.append(seconds)
        self._values.append(value)

    def trends(self) -> tuple[Trend, ...]:
        """One of each quantity; none where there are fewer than two samples for each twelfth of the time."""
        if len(self) < 2 * BLOCKS:
            return ()
        hours = np.array(self._seconds) / 3600
        middles = [float(np.median(part)) for part in np.array_split(hours, BLOCKS)]
        span = float(hours[-1] - hours[0])
        found = []
        for name, limit, column in zip(
            Footprint._fields, LARGEST_GROWTH, zip(*self._values, strict=True), strict=True
        ):
            medians = [float(np.median(part)) for part in np.array_split(np.array(column), BLOCKS)]
            slope, low, high = theil_sen(middles, medians)
            found.append(Trend(name, medians[0], medians[-1], slope, low, high, span, limit))
        return tuple(found)


def theil_sen(places: list[float], values: list[float]) -> tuple[float, float, float]:
    """The slope of `BLOCKS` values over ascending places, and its 95 % interval (Sen, 1968)."""
    points = list(zip(places, values, strict=True))
    slopes = sorted(
        (after[1] - before[1]) / (after[0] - before[0]) for before, after in combinations(points, 2)
    )
    aside = round((_PAIRS - _SPREAD) / 2)
    return float(np.median(slopes)), slopes[aside - 1], slopes[-aside]
