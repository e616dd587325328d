"""Cases of one backend and artifact that were held to the same limits, as one row that has the worst of each figure:
a golden clip is cut in a dozen ways, and most of them give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..figures import describe
from ..report import Result


def gathered(results: Sequence[Result]) -> list[Result]:
    """One row for each backend, artifact, status and set of limits, in the order in which they first come.

    Its case is ``backend/artifact: `` and what the cases differ in; its series are those of the case with the largest
    error.
    """
    groups: dict[Any, list[Result]] = {}
    for result in results:
        key = (result.bundle, _split(result.case)[0], result.status, tuple(sorted(result.limits.items())))
        groups.setdefault(key, []).append(result)
    return [_worst(group) if len(group) > 1 else group[0] for group in groups.values()]


def _worst(group: Sequence[Result]) -> Result:
    names = {name: None for result in group for name in result.figures}
    figures = {
        name: _worst_value(name, [result for result in group if name in result.figures]) for name in names
    }
    stem = _split(group[0].case)[0]
    rests = ", ".join(_split(result.case)[1] or "plain" for result in group)
    largest = max(group, key=lambda result: max(result.series.get("error", ()), default=0.0))
    return replace(largest, case=f"{stem}: {rests}", figures=figures)


def _worst_value(name: str, results: Sequence[Result]) -> float:
    """What is nearest to a limit, or beyond it; without one the smallest score or rate, and of others what is farthest
    from zero."""
    values = [result.figures[name] for result in results]
    bounds = {result.limits[name][0] for result in results if name in result.limits}
    if bounds == {"<="}:
        return max(values)
    if bounds == {">="} or describe(name).style in ("score", "rate"):
        return min(values)
    return max(values, key=abs)


def _split(case: str) -> tuple[str, str]:
    """``backend/artifact`` and the rest."""
    backend, _, rest = case.partition("/")
    artifact, _, rest = rest.partition("/")
    return f"{backend}/{artifact}", rest
