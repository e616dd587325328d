"""A predictor under hours of mixed traffic: do identical streams stay identical, is every bad frame told, does the
process stay as large as it was?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from uva_edge.errors import OptionError, UvaEdgeError

from ..predictor import SaliencyPredictor
from .footprint import Samples, Trend, footprint
from .traffic import Traffic
from .twins import Tally, Twins

MOST_DRIVERS: Final = 4
SAMPLES: Final = 600
WITNESSES: Final = 20
_WITNESS_FRAMES: Final = 8
_WARM_UP: Final = 0.2
"""Part of the time in which caches, pools and the allocator's reserve fill: it is not judged."""
_LONGEST_WARM_UP: Final = 300.0
_GRACE: Final = 120.0
"""Seconds that a thread has to end its last call; one that takes longer hangs."""


@dataclass(frozen=True)
class Soak:
    """What a run did and saw.

    Attributes:
        seconds: how long it ran.
        done: how often each thing was done: ``frames`` (pushed by both of two twins and compared), ``resets``,
            ``reopened``, ``resized``, ``replays``, ``witnesses``, and what disturbed: ``clips``, ``batches``...
        refused: the bad frames that were answered by a FrameError, by the name of their defect.
        defects: what went wrong, in words; the first few.
        defect_count: how many there were.
        trends: of memory, descriptors and threads; none where the run was too short for them.
        interrupted: whether Ctrl-C ended it.
    """

    seconds: float
    done: Mapping[str, int]
    refused: Mapping[str, int]
    defects: tuple[str, ...]
    defect_count: int
    trends: tuple[Trend, ...]
    interrupted: bool

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run did not pass, a line each; a check that had nothing to look at is a reason too."""
        found = list(self.defects)
        if self.defect_count > len(self.defects):
            found.append(f"and {self.defect_count - len(self.defects)} more")
        for name in ("frames", "replays", "witnesses"):
            if not self.done.get(name):
                found.append(f"no {name} were compared: the run was too short")
        if not self.refused:
            found.append("no bad frame was sent: the run was too short")
        if not self.trends:
            found.append("memory was not judged: the run was too short")
        for trend in self.trends:
            if not trend.steady:
                found.append(
                    f"{trend.name} grew by {trend.low * trend.hours:.1f} at least ({trend.first:.1f} to "
                    f"{trend.last:.1f}); the limit is {trend.limit:g}"
                )
        return tuple(found)

    @property
    def passed(self) -> bool:
        return not self.problems


def soak(
    predictor: SaliencyPredictor,
    *,
    seconds: float,
    streams: int = 8,
    seed: int = 0,
    progress: Callable[[float, int, int], None] = lambda seconds, frames, defects: None,
) -> Soak:
    """Drive streams of a predictor for so long, from several threads at once.

    The streams are twins by two: both are pushed the same good frames, and one of them bad ones in between. Their maps
    must be the same bit for bit, as must those of a new stream that is pushed the last frames again, and those of a
    clip that comes back all the time.

    Args:
        streams: an even number, at least 2.
        seed: of the frames and of what is done when; which thread comes first is the machine's.
        progress: is told the seconds, frames and defects so far, at every sample of the memory.

    Raises:
        OptionError: no time, or streams that are no twins; or the bundle has no live streams.
    """
    if not seconds > 0:
        raise OptionError(f"a soak takes more than 0 seconds, got {seconds}")
    if streams < 2 or streams % 2:
        raise OptionError(f"streams are twins by two: expected an even number of at least 2, got {streams}")
    return _Run(predictor, seconds, streams // 2, seed).watch(progress)


@dataclass
class _Run:
    predictor: SaliencyPredictor
    seconds: float
    pairs: int
    seed: int
    tally: Tally = field(default_factory=Tally)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self, progress: Callable[[float, int, int], None]) -> Soak:
        witness = _Witness(self.predictor, self.tally)
        drivers = [*self._drivers(), self._thread(self._look_again, witness, name="soak-golden")]
        samples, interrupted, start = Samples(), False, time.monotonic()
        warm = min(_WARM_UP * self.seconds, _LONGEST_WARM_UP)
        try:
            for driver in drivers:
                driver.start()
            while (passed := time.monotonic() - start) < self.seconds:
                if passed >= warm:
                    samples.add(passed, footprint())
                progress(passed, self.tally.done["frames"], self.tally.defect_count)
                self.stop.wait(min(self.seconds / SAMPLES, self.seconds - passed))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.stop.set()
        self._join(drivers)
        witness.compare()
        tally = self.tally
        return Soak(
            time.monotonic() - start,
            dict(tally.done),
            dict(sorted(tally.refused.items())),
            tuple(tally.defects),
            tally.defect_count,
            samples.trends(),
            interrupted,
        )

    def _drivers(self) -> list[threading.Thread]:
        batches = _takes_batches(self.predictor)
        pairs = [
            Twins(self.predictor, Traffic(f"{self.seed}/{pair}"), self.tally, batches=batches)
            for pair in range(self.pairs)
        ]
        count = min(MOST_DRIVERS, self.pairs)
        return [
            self._thread(self._drive, pairs[place::count], name=f"soak-{place}") for place in range(count)
        ]

    def _thread(self, target: Callable[[Any], None], argument: Any, *, name: str) -> threading.Thread:
        # A daemon: one that hangs is told, and must not keep the process.
        return threading.Thread(target=target, args=(argument,), name=name, daemon=True)

    def _drive(self, pairs: list[Twins]) -> None:
        while not self.stop.is_set():
            for pair in pairs:
                try:
                    pair.step()
                except Exception as error:  # whatever it is, it is what this run looks for
                    self.tally.defect(f"{type(error).__name__} where none belongs: {error}")
                    if self.stop.is_set():
                        return
                    pair.reopen()

    def _look_again(self, witness: _Witness) -> None:
        while not self.stop.wait(self.seconds / WITNESSES):
            witness.compare()

    def _join(self, drivers: list[threading.Thread]) -> None:
        end = time.monotonic() + _GRACE
        for driver in drivers:
            driver.join(max(0.0, end - time.monotonic()))
            if driver.is_alive():
                self.tally.defect(
                    f"thread {driver.name} did not end its last call within {_GRACE:.0f} s: it hangs"
                )


def _takes_batches(predictor: SaliencyPredictor) -> bool:
    try:
        predictor.stream_batch(2).close()
    except OptionError:  # of an earlier export, or a network that sees windows
        return False
    return True


class _Witness:
    """The golden clip's first frames, pushed into a new stream again and again: what comes out never changes."""

    def __init__(self, predictor: SaliencyPredictor, tally: Tally) -> None:
        self._predictor, self._tally = predictor, tally
        self._frames = predictor.bundle.golden().frames[:_WITNESS_FRAMES]
        self._maps = self._pushed()

    def compare(self) -> None:
        self._tally.count("witnesses")
        try:
            worst = float(np.abs(self._pushed() - self._maps).max())
        except UvaEdgeError as error:
            self._tally.defect(f"{type(error).__name__} where none belongs: {error}")
            return
        if worst:
            self._tally.defect(f"the golden clip's maps drifted from those at the start by {worst:.2g}")

    def _pushed(self) -> Any:
        with self._predictor.stream(color="rgb") as stream:
            return np.stack([stream.push(frame).map for frame in self._frames])
