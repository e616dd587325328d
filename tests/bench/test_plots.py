"""Axes hold what they are made for, and figures are written as a reader expects them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uva_edge.runtimes.bench.figures import describe, order, short, show, show_with_unit, within
from uva_edge.runtimes.bench.html.plots import errors_over_time, linear_axis, log_axis

_values = st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=8)


@given(values=_values)
def test_bars_begin_at_zero_and_end_on_the_axis(values: list[float]) -> None:
    axis = linear_axis(values)
    assert axis.low == 0
    assert axis.high >= max(values) * (1 - 1e-9)
    assert axis.high <= max(values) * 2.5 * (1 + 1e-9), "the longest bar is to be seen"
    assert 2 <= len(axis.ticks) <= 5
    assert axis.percent(0.0) == "0.00%"
    assert axis.percent(2 * axis.high) == "100.00%"


@given(values=_values)
def test_a_logarithmic_axis_holds_its_values(values: list[float]) -> None:
    axis = log_axis(values, 1e-9)
    assert axis.low <= max(min(values), 1e-9) * (1 + 1e-6)
    assert axis.high >= max(*values, 1e-9) * (1 - 1e-6)
    assert axis.ticks[0] == axis.low < axis.high == axis.ticks[-1]
    assert 2 <= len(axis.ticks) <= 8
    places = axis.places(sorted(values))
    assert all(0 <= place <= 1 for place in places)
    assert list(places) == sorted(places)


def test_a_line_goes_up_where_errors_grow() -> None:
    axis = log_axis([1e-6, 1e-2], 1e-9)
    plot = errors_over_time([1e-6, 1e-4, 1e-2, 0.0], axis, 1e-3, "an example")
    (line,) = plot.iter("polyline")
    heights = [float(y) for y in re.findall(r",([\d.]+)", line.attrib["points"])]
    assert heights[0] > heights[1] > heights[2], "y grows downwards"
    assert heights[3] == heights[0], "zero lies on the axis"
    (limit,) = (mark for mark in plot.iter("line") if mark.attrib["class"] == "limit")
    assert heights[2] < float(limit.attrib["y1"]) < heights[1]


def test_a_long_clip_keeps_its_peaks() -> None:
    errors = [1e-6] * 10_000
    errors[7777] = 1e-2
    plot = errors_over_time(errors, log_axis(errors, 1e-9), None, "an example")
    (line,) = plot.iter("polyline")
    points = line.attrib["points"].split()
    assert len(points) == 240
    assert len({point.split(",")[1] for point in points}) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.4, "1234"),
        (4.567, "4.57"),
        (0.012345, "0.0123"),
        (2.0, "2"),
        (1e-7, "1.00e-07"),
        (-0.5, "-0.5"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert short(value) == text


@given(value=st.floats(1e-4, 1e8))
def test_what_is_shown_is_near(value: float) -> None:
    assert float(short(value)) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_abs_map", 1.234e-6, "1.2e-06"),
        ("max_abs_map", 0.2512, "0.251"),
        ("min_cc", 0.9999914, "0.999991"),
        ("fps", 4353.4, "4,353"),
        ("fps", 12.34, "12.3"),
        ("session_p99_ms", 0.69123, "0.691 ms"),
        ("rss_mb", 92.42, "92.4 MB"),
        ("of_its_own_px", 3.0, "3 px"),
        ("nss_reference", 1.87891, "1.8789"),
        ("fps", math.nan, "nan"),
    ],
)
def test_figures_have_their_digits_and_units(name: str, value: float, text: str) -> None:
    assert show_with_unit(name, value) == text
    assert show(name, value) == text.split(" ")[0]


def test_what_is_not_known_keeps_its_name() -> None:
    assert describe("of_its_own").name == "of its own"
    assert describe("of_its_own_ms").name == "of its own"


def test_stages_are_in_the_order_of_a_frame() -> None:
    names = ["zeta", "total_p50_ms", "fps", "result_p50_ms", "input_p99_ms", "input_p50_ms", "max_abs_map"]
    assert sorted(names, key=order) == [
        "max_abs_map",
        "fps",
        "input_p50_ms",
        "input_p99_ms",
        "result_p50_ms",
        "total_p50_ms",
        "zeta",
    ]


@pytest.mark.parametrize(("value", "kept"), [(1.0, True), (1.5, False), (math.nan, False)])
def test_a_limit_is_kept_up_to_its_edge(value: float, kept: bool) -> None:
    assert within(value, ("<=", 1.0)) is kept
    assert within(-value, (">=", -1.0)) is kept
