"""A run of `uva-edge bench`: every check of every bundle, as one report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import uva_edge
from uva_edge.bundle import Bundle
from uva_edge.environment import probe, usable_cores
from uva_edge.errors import OptionError
from uva_edge.preprocess import COLORS
from uva_edge.runtimes.agreement import TOLERANCES
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.bench.golden import chosen, golden_result, worst_frames
from uva_edge.runtimes.bench.host import Conditions, Host, describe, remarks
from uva_edge.runtimes.bench.offers import Offer, offers
from uva_edge.runtimes.bench.profile import Floors
from uva_edge.runtimes.bench.report import SCHEMA, BundleFacts, Report, Result, WorstFrame, succeeded
from uva_edge.runtimes.bench.speed import Timing, measure, slowed_remarks, speed_cases, speed_result
from uva_edge.runtimes.conformance import Outcome, cases, run_cases
from uva_edge.runtimes.engines import with_built
from uva_edge.runtimes.registry import BACKENDS, backend
from uva_edge.runtimes.selection import select

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a run is asked for. Backends and precisions are names; none of them means all, and ``auto`` the one that
    `SaliencyPredictor` would take.

    Raises:
        OptionError: a value that is not allowed.
    """

    bundles: tuple[str, ...]
    checks: tuple[str, ...]
    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    threads: tuple[int, ...]
    lengths: tuple[int, ...]
    color: str
    size: tuple[int, int]
    seconds: float
    floors: Floors
    profile: str | None
    specs: tuple[str, ...]
    split: str

    def __post_init__(self) -> None:
        for count in self.threads:
            SessionOptions(threads=count)
        for name in self.backends:
            if name != "auto":
                backend(name)
        for precision in self.precisions:
            if precision not in ("auto", *TOLERANCES):
                raise OptionError(f"--precision takes auto, {', '.join(TOLERANCES)}; got {precision!r}")
        if self.color not in COLORS:
            raise OptionError(f"--color takes {', '.join(COLORS)}; got {self.color!r}")
        if min(self.lengths) < 1 or not 0.1 <= self.seconds <= 3600 or min(self.size) < 2:
            raise OptionError(
                f"expected --batch from 1, --seconds from 0.1 to 3600, --size from 2x2; got {self.lengths}, "
                f"{self.seconds:g}, {self.size}"
            )
        if self.color in ("nv12", "i420", "yuyv") and (self.size[0] % 2 or self.size[1] % 2):
            raise OptionError(f"{self.color} is timed at even sizes; got {self.size[0]}x{self.size[1]}")

    def choice(self, bundle: Bundle) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Backends and precisions for a bundle."""
        if "auto" not in (*self.backends, *self.precisions):
            return self.backends or tuple(BACKENDS), self.precisions or tuple(TOLERANCES)
        if len(self.backends) > 1 or len(self.precisions) > 1:
            raise OptionError("auto stands alone: it is one backend in one precision")
        plan = select(bundle, *(self.backends or ("auto",)), *(self.precisions or ("auto",))).plan
        return (plan.backend.name,), (plan.clip.precision,)


def run(asked: Asked, tell: Tell, *, pictures: bool) -> tuple[Report, list[WorstFrame]]:
    """Check and time; `tell` gets the case in hand. The worst frames are there if `pictures` of them are wanted.

    Raises:
        BundleError: a bundle is damaged: then no number means anything.
        NoBackendError, BackendUnavailableError: for ``auto`` and a name, when it can't run.
        DataError: the labelled footage can't be read.
    """
    host = Host()
    before = Conditions.now(host)
    opened = [with_built(Bundle.open(name)) for name in asked.bundles]
    results: list[Result] = []
    worst: list[WorstFrame] = []
    slowed: list[str] = []
    for bundle in opened:
        bundle.verify()
        checks = _Checks(asked, bundle, host, tell)
        if "golden" in asked.checks:
            outcomes = checks.golden()
            results += [golden_result(bundle, outcome) for outcome in outcomes]
            worst += worst_frames(bundle, outcomes) if pictures else []
        if "task" in asked.checks:
            results += checks.task()
        if "speed" in asked.checks:
            rows, said = checks.speed()
            results, slowed = [*results, *rows], [*slowed, *said]
    after = Conditions.now(host)
    report = Report(
        schema=SCHEMA,
        passed=succeeded(result.status for result in results),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        uva_edge=uva_edge.__version__,
        machine=probe().as_dict(),
        conditions=describe(before, after, metered=bool(host.energy_uj())),
        remarks=(*remarks(before, after, usable_cores()), *slowed) if "speed" in asked.checks else (),
        options={"command": shlex.join(["uva-edge", *sys.argv[1:]]), **asdict(asked)},
        bundles=tuple(map(_facts, opened)),
        results=tuple(results),
    )
    return report, worst


class _Checks:
    """The checks of one bundle."""

    def __init__(self, asked: Asked, bundle: Bundle, host: Host, tell: Tell) -> None:
        self._asked, self._bundle, self._host = asked, bundle, host
        self._tell: Tell = lambda text: tell(f"{bundle.name}: {text}")
        self._names, self._precisions = asked.choice(bundle)

    @cached_property
    def _offers(self) -> list[Offer]:
        return offers(self._bundle, self._names, self._precisions, max(self._asked.threads))

    def golden(self) -> list[Outcome]:
        table = cases(self._bundle, [BACKENDS[name] for name in self._names], self._asked.threads)
        wanted = chosen(table, self._bundle, self._names, self._precisions)
        outcomes = []
        for outcome in run_cases(self._bundle, wanted):
            self._tell(f"golden clip, {outcome.case}")
            outcomes.append(outcome)
        return outcomes

    def task(self) -> list[Result]:
        from uva_edge.data.flights import labelled_flights
        from uva_edge.data.sources import open_footage
        from uva_edge.training.task_check import task_results

        asked = self._asked
        footage = [item for spec in asked.specs for item in open_footage(spec, asked.split)]
        return task_results(
            self._bundle,
            self._offers,
            footage or labelled_flights(),
            least_nss=asked.floors.min_nss,
            progress=lambda item: self._tell(f"labelled footage, {item.name}"),
        )

    def speed(self) -> tuple[list[Result], list[str]]:
        asked = self._asked
        table = speed_cases(
            self._bundle,
            self._offers,
            threads=asked.threads,
            lengths=asked.lengths,
            color=asked.color,
            size=asked.size,
        )
        timings: dict[Any, Timing | Exception] = measure(
            [case for case, refusal in table if refusal is None],
            seconds=asked.seconds,
            host=self._host,
            progress=lambda case: self._tell(f"speed, {case}"),
        )
        floors = asked.floors.bounds()
        rows = [
            speed_result(self._bundle.name, case, timings[case], floors)
            if refusal is None
            else Result("speed", self._bundle.name, str(case), *refusal, {}, {}, {})
            for case, refusal in table
        ]
        return rows, slowed_remarks(timings)


def _facts(bundle: Bundle) -> BundleFacts:
    artifacts = tuple(
        {
            "name": artifact.name,
            "format": artifact.format,
            "precision": artifact.precision,
            "bytes": sum(file.bytes for file in artifact.files),
            "sha256": artifact.files[0].sha256,
        }
        for artifact in bundle.manifest.artifacts
    )
    return BundleFacts(bundle.name, bundle.sha256, artifacts)
