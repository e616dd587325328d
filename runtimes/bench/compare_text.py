"""A comparison of two reports in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .compare import CONFIDENCE, CaseChange, Comparison, FigureChange
from .elements import printable
from .figures import PERCENTILE, describe, show, show_with_unit

_NOTABLE: Final = 1.05
_NOTABLE_ERROR: Final = 2.0  # another order of the same sums changes them by half
"""Factors by which figures have to change before they are told; JSON has all."""


def comparison_text(comparison: Comparison) -> str:
    """Lines that end with the verdict; what could explain a change comes before it."""
    lines = [f"before: {comparison.before}", f"after:  {comparison.after}"]
    lines += _differences(comparison)
    lines += _verdicts(comparison.cases)
    lines += _times(comparison)
    lines += _figures(comparison)
    lines += _verdict(comparison)
    return "\n".join(map(printable, lines))


def _differences(comparison: Comparison) -> Iterator[str]:
    if not comparison.differences:
        yield "same machine, settings, versions and bundles"
        return
    yield "the runs differ in:"
    for item in comparison.differences:
        yield f"  {item.what}: {item.before} -> {item.after}"
    if not comparison.times_comparable:
        spoilers = ", ".join(item.what for item in comparison.differences if item.spoils_times)
        yield f"times can't be compared, and are not judged: {spoilers}"
        yield "  run both on one machine with the same settings"


def _verdicts(cases: Iterable[CaseChange]) -> Iterator[str]:
    for case in cases:
        if case.before != case.after:
            change = f"{case.before or 'absent'} -> {case.after or 'absent'}"
            why = f": {case.message}" if case.after not in ("PASS", None) else ""
            yield f"{change}  {_name(case)}{why}"


def _times(comparison: Comparison) -> Iterator[str]:
    timed = [(case, case.times) for case in comparison.cases if case.times]
    if not timed:
        return
    yield f"median time of a frame, after / before ({CONFIDENCE:.0%} interval):"
    for case, times in sorted(timed, key=lambda pair: -pair[1].ratio):
        if times.judgement != "same within noise":
            yield f"  {times.judgement}  {times.ratio:.3f} ({times.low:.3f} to {times.high:.3f})  {_name(case)}"
    same = sum(times.judgement == "same within noise" for _, times in timed)
    if same:
        yield f"  same within noise: {same} of {len(timed)}"


def _figures(comparison: Comparison) -> Iterator[str]:
    """What changed notably, but for what is judged by the times themselves, or can't be compared."""
    told = []
    for case in comparison.cases:
        changes = [
            _change(figure)
            for figure in case.figures
            if _is_notable(figure)
            and (comparison.times_comparable or describe(figure.name).style not in ("time", "rate"))
            and not (case.times and PERCENTILE.fullmatch(figure.name))
        ]
        if changes:
            told.append(f"  {_name(case)}: {', '.join(changes)}")
    if told:
        yield f"figures that changed by more than {_NOTABLE - 1:.0%}, errors twofold (noise or not):"
        yield from told


def _is_notable(figure: FigureChange) -> bool:
    if show(figure.name, figure.before) == show(figure.name, figure.after):
        return False
    factor = _NOTABLE_ERROR if describe(figure.name).style == "error" else _NOTABLE
    return figure.ratio is None or not 1 / factor <= figure.ratio <= factor


def _change(figure: FigureChange) -> str:
    before, after = show(figure.name, figure.before), show_with_unit(figure.name, figure.after)
    return f"{describe(figure.name).name} {before} -> {after}"


def _verdict(comparison: Comparison) -> Iterator[str]:
    regressions = [case for case in comparison.cases if case.regression]
    compared = sum(case.compared for case in comparison.cases)
    for case in regressions:
        yield f"REGRESSION  {_name(case)}: {case.regression}"
    if not compared:
        yield "REGRESSED: no case was checked in both runs, so nothing was compared"
        return
    verdict = f"REGRESSED: {len(regressions)} of" if regressions else "no regression in"
    unjudged = "" if comparison.times_comparable else "; times were not judged"
    yield f"{verdict} {compared} cases that both runs checked{unjudged}"


def _name(case: CaseChange) -> str:
    return f"{case.kind} {case.bundle} {case.case}"
