"""The rows of the golden clip in a report, and the frames that a reader should see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from uva_edge.bundle import Bundle

from ..agreement import limits, worst_frame
from ..backend import SessionOptions
from ..conformance import Case, Outcome, clip_inputs, run_clip, tolerance
from ..registry import backend
from .report import Bound, Result, WorstFrame

_PICTURES: Final = 6


def chosen(
    table: Iterable[Case], bundle: Bundle, backends: Sequence[str], precisions: Sequence[str]
) -> list[Case]:
    """The cases of some backends and precisions."""
    return [
        case
        for case in table
        if case.backend in backends and bundle.artifact(case.artifact).precision in precisions
    ]


def golden_result(bundle: Bundle, outcome: Outcome) -> Result:
    """The row of one case."""
    errors = outcome.errors
    bounds = limits(tolerance(bundle.artifact(outcome.case.artifact), outcome.case))
    direction: dict[str, Bound] = {"min_cc": ">="}
    return Result(
        kind="golden",
        bundle=bundle.name,
        case=str(outcome.case),
        status=outcome.status,
        message=outcome.message,
        figures=errors.figures() if errors else {},
        limits={name: (direction.get(name, "<="), bound) for name, bound in bounds.items()} if errors else {},
        series={"error": errors.per_frame} if errors else {},
    )


def worst_frames(bundle: Bundle, outcomes: Sequence[Outcome]) -> list[WorstFrame]:
    """Of the worst case of each artifact in each backend, failed ones first, the frame that it got most wrong.

    The cases are run again for it: maps of all would fill a small board's memory.
    """
    worst: dict[tuple[str, str], Outcome] = {}
    ranked = sorted(
        (outcome for outcome in outcomes if outcome.errors),
        key=lambda outcome: (outcome.status != "FAIL", outcome.errors.min_cc if outcome.errors else 0),
    )
    for outcome in ranked:
        worst.setdefault((outcome.case.backend, outcome.case.artifact), outcome)
    return [_worst_frame(bundle, outcome) for outcome in list(worst.values())[:_PICTURES]]


def _worst_frame(bundle: Bundle, outcome: Outcome) -> WorstFrame:
    case, golden = outcome.case, bundle.golden()
    assert outcome.errors is not None
    place = worst_frame(outcome.errors)
    index = int(golden.mapped[place])
    inputs = golden.frames if case.color is None else clip_inputs(bundle, golden, case.color)
    session = backend(case.backend).load(
        bundle, bundle.artifact(case.artifact), SessionOptions(threads=case.threads)
    )
    try:
        maps, _ = run_clip(bundle, case, session, inputs)
    finally:
        session.close()
    return WorstFrame(bundle.name, str(case), index, golden.frames[index], golden.maps[place], maps[index])
