"""Two reports against each other: what the runs differ in, which verdicts changed, what became slower beyond noise.

The times of single frames tell noise from change: the ratio of their medians gets an interval by a bootstrap that
draws whole stretches of frames, since neighbours are slow together. It holds what varied within the two runs. What
varies from one start of a process to the next is not in it, so that a regression is also beyond a ratio that the
caller gives.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.strict_json import encode

from .figures import order
from .report import Kind, Report, Result, Status

Judgement: TypeAlias = Literal["faster", "slower", "same within noise"]

CONFIDENCE: Final = 0.99
_RESAMPLES: Final = 1000
_FEWEST_TIMES: Final = 20
_MOST_TIMES: Final = 1000
_GOVERNOR: Final = "governor"
"""The condition that decides how fast the processor may run; others, as load and heat, are never twice the same."""


@dataclass(frozen=True)
class Difference:
    """Something that the two runs do not share. `spoils_times`: because of it times can't be compared, for it is the
    machine that differs; else it may be what the comparison is for, as another version is."""

    what: str
    before: str
    after: str
    spoils_times: bool


@dataclass(frozen=True)
class TimeChange:
    """Median time of a frame, after / before, and the interval that has it with `CONFIDENCE`."""

    ratio: float
    low: float
    high: float
    judgement: Judgement


@dataclass(frozen=True)
class FigureChange:
    """One figure that both have; `ratio` is after / before, None where that is no number."""

    name: str
    before: float
    after: float
    ratio: float | None


@dataclass(frozen=True)
class CaseChange:
    """A case of either run.

    Attributes:
        before, after: its verdicts; None in the run that does not have it.
        message: of the later run that has it.
        times: None where there are too few times, or they can't be compared.
        regression: why this counts as one, or nothing.
    """

    kind: Kind
    bundle: str
    case: str
    before: Status | None
    after: Status | None
    message: str
    times: TimeChange | None
    figures: tuple[FigureChange, ...]
    regression: str

    @property
    def compared(self) -> bool:
        """Whether both runs checked it."""
        return {self.before, self.after} <= {"PASS", "FAIL"}


@dataclass(frozen=True)
class Comparison:
    """Of two reports.

    Attributes:
        regressed: a case that passed fails, or is slower beyond noise and beyond `max_slowdown`; or no case was
            checked in both runs, so that nothing was compared.
        before, after: when the runs were made.
        times_comparable: whether both ran on the same machine, set to the same speed.
    """

    regressed: bool
    before: str
    after: str
    max_slowdown: float
    times_comparable: bool
    differences: tuple[Difference, ...]
    cases: tuple[CaseChange, ...]

    def to_json(self) -> str:
        return json.dumps(encode(self), indent=1)


def compare_reports(before: Report, after: Report, max_slowdown: float = 1.1) -> Comparison:
    """Compare two runs, case by case.

    Args:
        max_slowdown: ratio of median times, at least 1, up to which a slower case is no regression.

    Raises:
        OptionError: `max_slowdown` is less than 1, or no number.
    """
    if not 1 <= max_slowdown < math.inf:
        raise OptionError(f"max_slowdown must be a ratio of at least 1, such as 1.1; got {max_slowdown}")
    differences = tuple(_differences(before, after))
    comparable = not any(difference.spoils_times for difference in differences)
    rows = [{(row.kind, row.bundle, row.case): row for row in report.results} for report in (before, after)]
    cases = tuple(
        _case(rows[0].get(key), rows[1].get(key), comparable, max_slowdown)
        for key in dict.fromkeys([*rows[0], *rows[1]])
    )
    return Comparison(
        regressed=any(case.regression for case in cases) or not any(case.compared for case in cases),
        before=before.created,
        after=after.created,
        max_slowdown=max_slowdown,
        times_comparable=comparable,
        differences=differences,
        cases=cases,
    )


# --- what the runs do not share -------------------------------------------------------------------------


def _differences(before: Report, after: Report) -> Iterator[Difference]:
    machines = before.machine, after.machine
    yield from _differ("cpu", *(_part(machine, "cpu") for machine in machines), spoils_times=True)
    gpus = ([_part(machine, "gpu").get("gpus")] for machine in machines)
    yield from _differ("gpu", *gpus, spoils_times=True)
    conditions = before.conditions, after.conditions
    for name in dict.fromkeys([*before.conditions, *after.conditions]):
        values = (found.get(name) for found in conditions)
        yield from _differ(name, *values, spoils_times=name == _GOVERNOR)
    yield from _differ("uva_edge", before.uva_edge, after.uva_edge)
    for name in ("python", "platform"):
        yield from _differ(name, *(machine.get(name) for machine in machines))
    yield from _differ("engine", *(_engines(machine) for machine in machines))
    hashes = ({bundle.name: bundle.sha256[:12] for bundle in report.bundles} for report in (before, after))
    yield from _differ("bundle", *hashes)
    yield from _differ("option", before.options, after.options)


def _differ(what: str, before: Any, after: Any, *, spoils_times: bool = False) -> Iterator[Difference]:
    """A difference for each member of objects, one for anything else."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from _differ(f"{what} {name}", before.get(name), after.get(name), spoils_times=spoils_times)
    elif before != after:
        yield Difference(what, _words(before), _words(after), spoils_times)


def _part(machine: dict[str, Any], name: str) -> dict[str, Any]:
    part = machine.get(name)
    return part if isinstance(part, dict) else {}


def _engines(machine: dict[str, Any]) -> dict[str, Any]:
    """Version of each engine; those that are not there have none."""
    engines = _part(machine, "engines").items()
    return {name: facts.get("version") for name, facts in engines if isinstance(facts, dict)}


def _words(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


# --- one case -------------------------------------------------------------------------------------------


def _case(before: Result | None, after: Result | None, comparable: bool, max_slowdown: float) -> CaseChange:
    known = after or before
    assert known is not None  # the key came from one of the two
    times: TimeChange | None = None
    figures: tuple[FigureChange, ...] = ()
    regression = ""
    if before and after:
        if comparable:
            times = compare_times(before.series.get("total_ms", ()), after.series.get("total_ms", ()))
        figures = tuple(_figures(before, after))
        regression = _regression(before, after, times, max_slowdown)
    return CaseChange(
        known.kind,
        known.bundle,
        known.case,
        before.status if before else None,
        after.status if after else None,
        known.message,
        times,
        figures,
        regression,
    )


def _regression(before: Result, after: Result, times: TimeChange | None, max_slowdown: float) -> str:
    if before.status == "PASS" and after.status == "FAIL":
        return f"passed before and fails: {after.message}"
    if times and times.judgement == "slower" and times.ratio > max_slowdown:
        return f"{times.ratio:.2f} times as slow, {max_slowdown:g} is allowed"
    return ""


def _figures(before: Result, after: Result) -> Iterator[FigureChange]:
    for name in sorted(before.figures.keys() & after.figures.keys(), key=order):
        old, new = before.figures[name], after.figures[name]
        ratio = new / old if old else math.nan
        yield FigureChange(name, old, new, ratio if math.isfinite(ratio) else None)


# --- noise ----------------------------------------------------------------------------------------------


def compare_times(before: Sequence[float], after: Sequence[float]) -> TimeChange | None:
    """The ratio of median times and its interval; None where there are less than 20 of either, or none above 0."""
    if min(len(before), len(after)) < _FEWEST_TIMES:
        return None
    old, new = _thinned(before), _thinned(after)
    if not np.median(old) > 0 or not np.median(new) > 0:
        return None
    random = np.random.default_rng(0)  # the same reports give the same judgement
    ratios = _medians(new, random) / _medians(old, random)
    low, high = np.quantile(ratios, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    judgement: Judgement = "slower" if low > 1 else "faster" if high < 1 else "same within noise"
    return TimeChange(float(np.median(new) / np.median(old)), float(low), float(high), judgement)


def _thinned(times: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(times, np.float64)
    return values[:: -(-len(values) // _MOST_TIMES)]


def _medians(times: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Medians of as many times, drawn in stretches that go on from the end at the start."""
    count = len(times)
    stretch = math.isqrt(count)
    starts = random.integers(0, count, (_RESAMPLES, -(-count // stretch)))
    drawn = (starts[..., None] + np.arange(stretch)) % count
    medians: NDArray[np.float64] = np.median(times[drawn.reshape(_RESAMPLES, -1)[:, :count]], axis=1)
    return medians
