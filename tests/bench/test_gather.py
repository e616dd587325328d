"""Rows that differ only in how the frames come become one, and lose nothing that is bad."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made_reports import result, results

from uva_edge.runtimes.bench.html.gather import gathered
from uva_edge.runtimes.bench.report import Result

_LIMITS = {"max_abs_map": ("<=", 1e-4), "min_cc": (">=", 0.999)}


def _golden(case: str, error: float, cc: float, **facts: Any) -> Result:
    figures = {"max_abs_map": error, "min_cc": cc, "drift": -error}
    given: dict[str, Any] = {"limits": _LIMITS, "series": {"error": (0.0, error)}}
    return result("golden", case=case, figures=figures, **{**given, **facts})


def test_a_row_has_the_worst_of_each_figure() -> None:
    (row,) = gathered(
        [
            _golden("native/fp32/T=1", 1e-6, 0.9999),
            _golden("native/fp32/T=16", 3e-6, 1.0),
            _golden("native/fp32/T=1/S=4", 2e-6, 0.9995),
        ]
    )
    assert row.case == "native/fp32: T=1, T=16, T=1/S=4"
    assert row.figures == {"max_abs_map": 3e-6, "min_cc": 0.9995, "drift": -3e-6}
    assert row.series == {"error": (0.0, 3e-6)}
    assert row.limits == _LIMITS


def test_the_worst_is_what_a_limit_judges() -> None:
    """An upper limit is broken by the largest, even where another lies farther below zero."""
    rows = [
        result(case=f"a/b/T={length}", figures={"drift": drift}, limits={"drift": ("<=", 0.2)})
        for length, drift in ((1, -0.5), (2, 0.1))
    ]
    (row,) = gathered(rows)
    assert row.figures == {"drift": 0.1}


def test_what_differs_in_more_stays_apart() -> None:
    rows = [
        _golden("native/fp32/T=1", 1e-6, 1.0),
        _golden("native/int8/T=1", 1e-6, 1.0),
        _golden("openvino/fp32/T=1", 1e-6, 1.0),
        _golden("native/fp32/T=16", 1e-2, 1.0, status="FAIL"),
        _golden("native/fp32/T=1/nv12", 1e-2, 1.0, limits={"max_abs_map": ("<=", 0.35)}),
        _golden("native/fp32/T=all", 1e-6, 1.0, bundle="uva-64"),
    ]
    assert gathered(rows) == rows


def test_figures_that_only_some_have_are_kept() -> None:
    rows = [
        result(case="a/b/T=1"),
        result(case="a/b/T=2", figures={"fps": 2.0}),
        result(case="a/b/T=3", figures={"fps": 1.0}),
    ]
    (row,) = gathered(rows)
    assert row.figures == {"fps": 1.0}


@given(rows=st.lists(results(), max_size=8))
def test_a_failure_is_never_gathered_away(rows: list[Result]) -> None:
    together = gathered(rows)
    assert {row.status for row in together} == {row.status for row in rows}
    assert {name for row in together for name in row.figures} == {
        name for row in rows for name in row.figures
    }
    assert len(together) <= len(rows)
