"""Is it fast enough? Camera frame in, peaks out, stage by stage, each case in a process of its own.

A process of its own shows what a device pays: a cold load, the first frame, the peak of memory. The processes of a
group take turns, a block of frames each, so that a change of the clock or the load meets all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import BackendError, WrongDeviceError

from .host import Host, joules
from .offers import Offer
from .report import Bound, Result, Status
from .worker import STAGES, SpeedCase, Worker

Floors = Mapping[str, tuple[Bound, float]]
"""A figure's name to what it has to be."""

_ABREAST: Final = 4
"""Processes at a time: more would ask too much memory of a small board."""
_BLOCK_S: Final = 0.1
_WARM_UP_S: Final = 0.3
_LEAST_BLOCKS: Final = 8
_MOST_SAMPLES: Final = 2000
_SLOWED: Final = 1.25
"""The last quarter of a run against the first, from which it is said."""


@dataclass(frozen=True, eq=False)
class Timing:
    """What one case took. Times are seconds a frame, one of each call: `stages` by the names of `STAGES`."""

    load: float
    first_frame: float
    stages: Mapping[str, NDArray[np.float64]]
    rss_mb: float
    joules_per_frame: float | None

    @property
    def total(self) -> NDArray[np.float64]:
        total: NDArray[np.float64] = np.sum([self.stages[name] for name in STAGES], axis=0)
        return total

    @property
    def slowed(self) -> float:
        """By what factor the last quarter was slower than the first, in the median."""
        quarter = max(1, len(self.total) // 4)
        return float(np.median(self.total[-quarter:]) / np.median(self.total[:quarter]))

    def figures(self) -> dict[str, float]:
        """As `Result` has them; milliseconds a frame."""
        found = {
            "fps": len(self.total) / float(self.total.sum()),
            "load_ms": self.load * 1e3,
            "first_frame_ms": self.first_frame * 1e3,
        }
        for name, values in (*self.stages.items(), ("total", self.total)):
            for rank, value in zip((50, 95, 99), np.percentile(values, (50, 95, 99)), strict=True):
                found[f"{name}_p{rank}_ms"] = float(value) * 1e3
        found["rss_mb"] = self.rss_mb
        if self.joules_per_frame is not None:
            found["joules_per_frame"] = self.joules_per_frame
        return found


def speed_cases(
    bundle: Bundle,
    available: Iterable[Offer],
    *,
    threads: Sequence[int],
    lengths: Sequence[int],
    color: str,
    size: tuple[int, int],
) -> list[tuple[SpeedCase, tuple[Status, str] | None]]:
    """Every offer with every number of threads and frames a call; with the reason for those that can't run."""
    return [
        (
            SpeedCase(
                bundle=str(bundle.location),
                backend=offer.backend.name,
                artifact=(offer.plan.step if length == 1 else offer.plan.clip).name,
                threads=count,
                length=length,
                color=color,
                width=size[0],
                height=size[1],
            ),
            offer.refusal,
        )
        for offer in available
        for count in threads
        for length in lengths
    ]


def measure(
    cases: Sequence[SpeedCase],
    *,
    seconds: float,
    host: Host | None = None,
    progress: Callable[[SpeedCase], object] = lambda _: None,
) -> dict[SpeedCase, Timing | Exception]:
    """Time cases, `seconds` each after the warm-up; an error in the place of a case that failed.

    Args:
        progress: is told of each case before it is loaded.
    """
    found: dict[SpeedCase, Timing | Exception] = {}
    waiting = iter(cases)
    while group := list(islice(waiting, _ABREAST)):
        found |= _measure_group(group, seconds, host or Host(), progress)
    return found


def _measure_group(
    cases: Sequence[SpeedCase], seconds: float, host: Host, progress: Callable[[SpeedCase], object]
) -> dict[SpeedCase, Timing | Exception]:
    found: dict[SpeedCase, Timing | Exception] = {}
    with ExitStack() as stack:
        runs: dict[SpeedCase, _Run] = {}
        for case in cases:
            progress(case)
            try:
                runs[case] = _Run(stack.enter_context(Worker(case)), host)
            except BackendError as error:
                found[case] = error
        while unfinished := {case: run for case, run in runs.items() if not run.finished(seconds)}:
            for case, run in unfinished.items():
                try:
                    run.block()
                except BackendError as error:
                    found[case] = error
                    del runs[case]
        return found | {case: run.timing() for case, run in runs.items()}


class _Run:
    """A worker that is warm, and what it took so far."""

    def __init__(self, worker: Worker, host: Host) -> None:
        self._worker, self._host = worker, host
        self._blocks: list[NDArray[np.float64]] = []
        self._joules: float | None = 0.0
        self._seconds = 0.0
        calls, spent = 1, 0.0
        while spent < _WARM_UP_S:
            times = worker.run(calls)
            spent += float(times.sum())
            calls *= 2
        a_call = float(np.median(times.sum(axis=1)))
        self._calls = max(1, math.ceil(_BLOCK_S / a_call))

    def block(self) -> None:
        before = self._host.energy_uj()
        times = self._worker.run(self._calls)
        used = joules(before, self._host.energy_uj())
        self._joules = None if used is None or self._joules is None else self._joules + used
        self._blocks.append(times)
        self._seconds += float(times.sum())

    def finished(self, seconds: float) -> bool:
        return self._seconds >= seconds and len(self._blocks) >= _LEAST_BLOCKS

    def timing(self) -> Timing:
        worker, times = self._worker, np.concatenate(self._blocks)
        length = worker.case.length
        return Timing(
            load=worker.load_seconds,
            first_frame=worker.first_seconds,
            stages={name: times[:, column] / length for column, name in enumerate(STAGES)},
            rss_mb=worker.peak_rss_mb(),
            joules_per_frame=None if self._joules is None else self._joules / (len(times) * length),
        )


def speed_result(bundle: str, case: SpeedCase, timing: Timing | Exception, floors: Floors) -> Result:
    """The row of a case that was tried."""
    if isinstance(timing, WrongDeviceError):
        return Result("speed", bundle, str(case), "UNSUPPORTED", str(timing), {}, {}, {})
    if isinstance(timing, Exception):
        return Result("speed", bundle, str(case), "FAIL", str(timing), {}, {}, {})
    figures = timing.figures()
    missed = missed_floors(figures, floors)
    message = "; ".join(missed) or ("every floor is kept" if floors else "measured; no floor was given")
    return Result(
        kind="speed",
        bundle=bundle,
        case=str(case),
        status="FAIL" if missed else "PASS",
        message=message,
        figures=figures,
        limits=dict(floors),
        series={"total_ms": _sampled(timing.total * 1e3)},
    )


def missed_floors(figures: Mapping[str, float], floors: Floors) -> list[str]:
    """What of the floors is not kept, in words. One whose figure could not be measured is not kept."""
    missed = []
    for name, (bound, value) in floors.items():
        if name not in figures:
            missed.append(f"{name} {bound} {value:g} was asked for and can't be measured here")
        elif not (figures[name] >= value if bound == ">=" else figures[name] <= value):
            missed.append(f"{name} {figures[name]:.4g}, asked for {bound} {value:g}")
    return missed


def slowed_remarks(timings: Mapping[SpeedCase, Timing | Exception]) -> list[str]:
    """A sentence for each case that got slower while it ran, which is heat or other work."""
    return [
        f"{case} was {timing.slowed:.2f} times as slow in the last quarter of its run as in the first: heat, or other "
        "work on the machine."
        for case, timing in timings.items()
        if isinstance(timing, Timing) and timing.slowed > _SLOWED
    ]


def _sampled(values: NDArray[np.float64]) -> tuple[float, ...]:
    places = np.linspace(0, len(values) - 1, min(len(values), _MOST_SAMPLES)).round().astype(int)
    return tuple(map(float, values[places]))
