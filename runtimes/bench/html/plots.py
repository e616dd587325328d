"""Plots as inline SVG: bars, distributions of times, errors over a clip.

Bars and distributions have one row for each case, in percent of the row's width, so that they fit any screen and
their names stay text of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..elements import Child, element, styled
from ..figures import short

_BINS: Final = 80
_ROW: Final = 26  # px, height of a row's drawing
_MOST_POINTS: Final = 240
_PLOT: Final = (260, 120)  # px, of one plot of errors
_LEFT, _TOP, _BOTTOM = 40, 6, 18  # px, for its labels


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which are ticks; logarithmic or from zero."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool

    def places(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Where values lie, 0 to 1; what is beyond an end lies on it, and what is no number on the lower one."""
        found = np.clip(np.nan_to_num(np.asarray(values, np.float64), nan=self.low), self.low, self.high)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (np.log(found) - low) / (high - low)
        return (found - self.low) / (self.high - self.low)

    def percent(self, value: float) -> str:
        return f"{100 * float(self.places([value])[0]):.2f}%"


def linear_axis(values: Iterable[float]) -> Axis:
    """From zero to a round number that is not below any of the values."""
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    if highest <= 0:
        highest = 1.0
    step = 10.0 ** math.floor(math.log10(highest))
    step *= next(factor for factor in (0.25, 0.5, 1, 2.5) if highest <= 4 * factor * step)
    count = math.ceil(highest / step)
    return Axis(0.0, count * step, tuple(index * step for index in range(count + 1)), log=False)


def log_axis(values: Iterable[float], least: float) -> Axis:
    """Between round numbers that have all values between them; those below `least` count as that."""
    found = [max(value, least) for value in values if math.isfinite(value)] or [1.0]
    low, high = math.log10(min(found)), math.log10(max(found))
    if high - low > 2:
        first, last = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        step = max(1, math.ceil((last - first) / 5))
        first = last - step * math.ceil((last - first) / step)
        ticks = tuple(10.0**power for power in range(first, last + 1, step))
        return Axis(ticks[0], ticks[-1], ticks, log=True)
    # Below two decades: ticks at 1, 2 and 5, from the last one not above the least to the first not below the most.
    round_ones = [
        factor * 10.0**power
        for power in range(math.floor(low) - 1, math.ceil(high) + 2)
        for factor in (1, 2, 5)
    ]
    first = max(index for index, tick in enumerate(round_ones) if tick <= min(found) * (1 + 1e-9))
    last = min(index for index, tick in enumerate(round_ones) if tick >= max(found) * (1 - 1e-9))
    ticks = tuple(round_ones[first : max(last, first + 1) + 1])
    return Axis(ticks[0], ticks[-1], ticks, log=True)


def chart(axis: Axis, unit: str, values: str, rows: Sequence[Element]) -> Element:
    """Rows over one axis; `values` says what the numbers at the end of each row are."""
    scale = element("svg", {"class": "scale", "aria-hidden": "true"}, *_tick_labels(axis, unit))
    axis_row = styled("div", "row axis", styled("div", "name"), scale, styled("div", "value", values))
    return styled("div", "chart", *rows, axis_row)


def bar(name: Child, value: float, text: str, axis: Axis, floor: float | None, style: str) -> Element:
    """A row with a bar; `floor` is the least that it had to reach."""
    marks = [*_grid(axis)]
    marks.append(
        element("rect", {"class": f"bar {style}", "y": "5", "height": "16", "width": axis.percent(value)})
    )
    if floor is not None:
        marks.append(_line("limit", axis.percent(floor)))
    return _row(name, marks, text)


def distribution(
    name: Child,
    times: Sequence[float],
    percentiles: Sequence[tuple[str, float]],
    text: str,
    axis: Axis,
    limit: float | None,
) -> Element:
    """A row with how often each time occurred, as an area, and lines at the percentiles."""
    marks = [*_grid(axis)]
    if len(times):
        marks.append(_area(axis.places(times)))
    marks += [_line(f"percentile {label}", axis.percent(value)) for label, value in percentiles]
    if limit is not None:
        marks.append(_line("limit", axis.percent(limit)))
    return _row(name, marks, text)


def errors_over_time(errors: Sequence[float], axis: Axis, limit: float | None, label: str) -> Element:
    """The error of each frame as a line, over a logarithmic axis."""
    width, height = _PLOT
    right, bottom = width - 4, height - _BOTTOM

    def y(value: float) -> str:
        return f"{bottom - (bottom - _TOP) * float(axis.places([value])[0]):.1f}"

    marks: list[Element] = []
    for tick in axis.ticks:
        marks.append(
            element(
                "line", {"class": "grid", "x1": str(_LEFT), "x2": str(right), "y1": y(tick), "y2": y(tick)}
            )
        )
        at = {"x": str(_LEFT - 4), "y": y(tick), "text-anchor": "end", "dy": "0.35em"}
        marks.append(
            element("text", at, short(tick) if 1e-2 <= tick < 1e4 else f"{tick:.0e}".replace("e-0", "e-"))
        )
    if limit is not None and axis.low <= limit <= axis.high:
        marks.append(
            element(
                "line", {"class": "limit", "x1": str(_LEFT), "x2": str(right), "y1": y(limit), "y2": y(limit)}
            )
        )
    kept = _peaks(errors)
    steps = max(1, len(kept) - 1)
    points = " ".join(
        f"{_LEFT + (right - _LEFT) * index / steps:.1f},{y(value)}" for index, value in enumerate(kept)
    )
    marks.append(element("polyline", {"class": "errors", "points": points}))
    for x, anchor, text in ((_LEFT, "start", "frame 0"), (right, "end", str(len(errors) - 1))):
        marks.append(element("text", {"x": str(x), "y": str(height - 4), "text-anchor": anchor}, text))
    size = {"viewBox": f"0 0 {width} {height}", "width": str(width), "height": str(height)}
    return element("svg", {"class": "plot", "role": "img", "aria-label": label, **size}, *marks)


def _row(name: Child, marks: Sequence[Element], text: str) -> Element:
    drawing = element("svg", {"class": "marks", "height": str(_ROW), "aria-hidden": "true"}, *marks)
    return styled("div", "row", styled("div", "name", name), drawing, styled("div", "value", text))


def _grid(axis: Axis) -> list[Element]:
    return [_line("grid", axis.percent(tick)) for tick in axis.ticks]


def _line(style: str, x: str) -> Element:
    return element("line", {"class": style, "x1": x, "x2": x, "y1": "0", "y2": str(_ROW)})


def _tick_labels(axis: Axis, unit: str) -> list[Element]:
    labels = []
    for tick in axis.ticks:
        anchor = "start" if tick == axis.low else "end" if tick == axis.high else "middle"
        text = f"{short(tick)} {unit}" if tick == axis.high else short(tick)
        labels.append(element("text", {"x": axis.percent(tick), "y": "12", "text-anchor": anchor}, text))
    return labels


def _area(places: NDArray[np.float64]) -> Element:
    """A histogram in an SVG of its own, which is stretched over the row."""
    counts, _ = np.histogram(places, bins=_BINS, range=(0.0, 1.0))
    heights = counts / max(1, counts.max())
    steps = " ".join(f"V{1 - height:.3f}H{index + 1}" for index, height in enumerate(heights))
    stretch = {"viewBox": f"0 0 {_BINS} 1", "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    return element("svg", stretch, element("path", {"class": "area", "d": f"M0,1{steps}V1Z"}))


def _peaks(errors: Sequence[float]) -> list[float]:
    """At most so many values, each the largest of its piece of the clip; what is no number is the largest of all."""
    values = np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf, posinf=np.inf)
    return [float(piece.max()) for piece in np.array_split(values, min(len(values), _MOST_POINTS))]
