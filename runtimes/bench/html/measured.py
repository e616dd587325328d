"""The middle of the page: speed, the golden clip, scores on labelled footage, and the worst frames as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from ..elements import Child, element, styled, table
from ..figures import (
    PERCENTILE,
    REFERENCE,
    describe,
    order,
    show,
    show_limit,
    show_with_unit,
    within,
)
from ..report import Bound, Kind, Report, Result, WorstFrame
from .gather import gathered
from .pictures import data_uri, difference, heat, largest_error
from .plots import Axis, bar, chart, distribution, errors_over_time, linear_axis, log_axis
from .verdict import badge

_LEAST_TIME: Final = 1e-3  # ms, where the axis of times begins at the earliest
_LEAST_ERROR: Final = 1e-9  # what is smaller, and zero, is drawn there
_PLOTS_IN_SIGHT: Final = 8
_PICTURES_IN_SIGHT: Final = 4
_MOST_PICTURES: Final = 12
_TOTALS: Final = {"total_p50_ms": "p50", "total_p95_ms": "p95", "total_p99_ms": "p99"}


def measured(report: Report, worst: Sequence[WorstFrame]) -> list[Element]:
    """Sections of what there is; of what was not measured there is none."""
    makers: dict[Kind, Callable[[dict[str, list[Result]]], Element]]
    makers = {"speed": _speed, "golden": _golden, "task": _task}
    sections = []
    for kind, maker in makers.items():
        by_bundle = _by_bundle(report, kind)
        if by_bundle:
            sections.append(maker(by_bundle))
    if worst:
        sections.append(_worst_frames(report, worst))
    return sections


def _by_bundle(report: Report, kind: Kind) -> dict[str, list[Result]]:
    """Results of that kind which have something to show."""
    found: dict[str, list[Result]] = {}
    for result in report.results:
        if result.kind == kind and (result.figures or result.series or result.status == "FAIL"):
            found.setdefault(result.bundle, []).append(result)
    return found


# --- speed ----------------------------------------------------------------------------------------------


def _speed(by_bundle: dict[str, list[Result]]) -> Element:
    parts: list[Child] = [element("h2", {}, "Speed"), *_how_to_read(by_bundle)]
    rates = linear_axis(_values(by_bundle, "fps"))
    times = log_axis(_times(by_bundle), _LEAST_TIME)
    for bundle, results in by_bundle.items():
        ranked = sorted(results, key=lambda result: -result.figures.get("fps", 0.0))
        bars = [_rate(result, rates) for result in ranked if "fps" in result.figures]
        spreads = [_spread(result, times) for result in ranked if _is_timed(result)]
        parts.append(element("h3", {}, bundle))
        if bars:
            parts.append(chart(rates, "FPS", "", bars))
        if spreads:
            parts.append(chart(times, "ms", " / ".join(_TOTALS.values()), spreads))
        parts.append(_in_detail(ranked))
    return element("section", {"id": "speed"}, *parts)


def _how_to_read(by_bundle: dict[str, list[Result]]) -> list[Child]:
    """A sentence for each kind of chart that there is."""
    results = [result for group in by_bundle.values() for result in group]
    told: list[Child] = []
    if any("fps" in result.figures for result in results):
        text = "Bars: frames per second, from camera frame to the peaks of its map; longer is better."
        told.append(element("p", {}, text))
    if any(map(_is_timed, results)):
        text = (
            "Times: how long one frame took, on a logarithmic axis. The area is how often each time occurred, the "
            "lines are p50 (solid), p95 (dashed) and p99 (dotted); further left is better, narrow is steady."
        )
        told.append(element("p", {}, text))
    if any(name in result.limits for result in results for name in ("fps", *_TOTALS)):
        told.append(element("p", {}, "A red line is the limit that a case was held to."))
    return told


def _is_timed(result: Result) -> bool:
    return bool(_percentiles(result) or result.series.get("total_ms"))


def _rate(result: Result, axis: Axis) -> Element:
    value = result.figures["fps"]
    floor = result.limits["fps"][1] if "fps" in result.limits else None
    return bar(_name(result), value, f"{show('fps', value)} FPS", axis, floor, result.status.lower())


def _spread(result: Result, axis: Axis) -> Element:
    found = _percentiles(result)
    text = " / ".join(show("total_p50_ms", value) for _, value in found)
    limit = next((result.limits[name][1] for name in _TOTALS if name in result.limits), None)
    times = result.series.get("total_ms", ())
    return distribution(_name(result), times, found, f"{text} ms" if text else "", axis, limit)


def _percentiles(result: Result) -> list[tuple[str, float]]:
    return [(label, result.figures[name]) for name, label in _TOTALS.items() if name in result.figures]


def _values(by_bundle: dict[str, list[Result]], name: str) -> list[float]:
    """Of a figure, and of its limits."""
    results = [result for group in by_bundle.values() for result in group]
    values = [result.figures[name] for result in results if name in result.figures]
    return values + [result.limits[name][1] for result in results if name in result.limits]


def _times(by_bundle: dict[str, list[Result]]) -> list[float]:
    values = [value for name in _TOTALS for value in _values(by_bundle, name)]
    for group in by_bundle.values():
        values += [value for result in group for value in result.series.get("total_ms", ())]
    return values


def _name(result: Result) -> Child:
    if result.status == "PASS":
        return result.case
    return element("span", {}, f"{result.case} ", badge(result.status))


# --- the golden clip ------------------------------------------------------------------------------------


def _golden(by_bundle: dict[str, list[Result]]) -> Element:
    text = (
        "The golden clip lies in the bundle with the maps that the float32 network gave for it; each case computes "
        "it here, and this is how far it was from them. Below a figure is the limit that it was held to. Cases that "
        "differ only in how the frames come (T, S, colour) and have the same limits share a row, with the worst of "
        "each figure."
    )
    parts: list[Child] = [element("h2", {}, "Accuracy on the golden clip"), element("p", {}, text)]
    for bundle, results in by_bundle.items():
        rows = gathered(results)
        parts += [element("h3", {}, bundle), figures_table(rows)]
        if len(rows) < len(results):
            parts.append(_in_detail(results))
        traced = [result for result in rows if result.series.get("error")]
        if traced:
            parts += _traces(traced)
    return element("section", {"id": "golden"}, *parts)


def _traces(results: Sequence[Result]) -> list[Child]:
    """Small plots on one axis, the worst first."""
    limits = [result.limits["max_abs_map"][1] for result in results if "max_abs_map" in result.limits]
    errors = [value for result in results for value in result.series["error"]]
    axis = log_axis([*errors, *limits], _LEAST_ERROR)
    ranked = sorted(results, key=lambda result: (result.status == "PASS", -max(result.series["error"])))
    plots = [_trace(result, axis) for result in ranked]
    text = (
        "Largest error of each frame's map, the worst case first; all on one logarithmic axis. The red line is the "
        "limit."
    )
    parts: list[Child] = [element("p", {}, text), styled("div", "plots", *plots[:_PLOTS_IN_SIGHT])]
    rest = plots[_PLOTS_IN_SIGHT:]
    if rest:
        summary = element("summary", {}, f"{len(rest)} more")
        parts.append(element("details", {}, summary, styled("div", "plots", *rest)))
    return parts


def _trace(result: Result, axis: Axis) -> Element:
    errors = result.series["error"]
    limit = result.limits["max_abs_map"][1] if "max_abs_map" in result.limits else None
    label = f"{result.case}: largest error {max(errors):.1e} in {len(errors)} frames"
    plot = errors_over_time(errors, axis, limit, label)
    return element("figure", {}, element("figcaption", {}, _name(result)), plot)


# --- labelled footage -----------------------------------------------------------------------------------


def _task(by_bundle: dict[str, list[Result]]) -> Element:
    text = (
        "Scores against where people looked. The reference is the float32 network on the same frames; the share is "
        "what was gained or lost against it."
    )
    parts: list[Child] = [element("h2", {}, "Scores on labelled footage"), element("p", {}, text)]
    for bundle, results in by_bundle.items():
        parts += [element("h3", {}, bundle), figures_table(results)]
    return element("section", {"id": "task"}, *parts)


# --- tables of figures ----------------------------------------------------------------------------------


def figures_table(results: Sequence[Result]) -> Element:
    """A row for each case, a column for each figure; percentiles of one stage share a column, and so does a figure
    with its reference."""
    names = sorted({name for result in results for name in result.figures}, key=order)
    columns = {_column(name): None for name in names}
    rows: list[list[Child]] = [
        [result.case, badge(result.status), *(_cell(result, column, names) for column in columns)]
        for result in results
    ]
    return table(("case", "status", *map(_heading, columns)), rows, "figures")


def _in_detail(results: Sequence[Result]) -> Element:
    return element(
        "details",
        {},
        element("summary", {}, f"All {len(results)} cases with all figures"),
        figures_table(results),
    )


def _column(name: str) -> str:
    """What names have in common that share a column."""
    found = PERCENTILE.fullmatch(name)
    return f"{found['stage']}_ms" if found else name.removesuffix(REFERENCE)


def _heading(column: str) -> Element:
    kind = describe(column)
    unit = f" ({kind.unit})" if kind.unit else ""
    return element("span", {"title": kind.meaning}, f"{kind.name}{unit}")


def _cell(result: Result, column: str, names: Iterable[str]) -> Element:
    shared = [name for name in names if _column(name) == column and name in result.figures]
    if not shared:
        return styled("span", "none", "–")
    if column + REFERENCE in result.figures:
        cell = _against(result.figures.get(column), result.figures[column + REFERENCE], column)
    else:
        percentiles = [found["percentile"] for name in shared if (found := PERCENTILE.fullmatch(name))]
        values = " / ".join(show(name, result.figures[name]) for name in shared)
        cell = element("span", {}, values)
        if percentiles:
            cell.append(styled("small", "", " / ".join(percentiles)))
    for name in shared:
        if name in result.limits:
            cell.append(_limit(name, result.figures[name], result.limits[name]))
    return cell


def _limit(name: str, value: float, limit: tuple[Bound, float]) -> Element:
    kept = within(value, limit)
    percentile = PERCENTILE.fullmatch(name)
    which = f"{percentile['percentile']} " if percentile else ""
    return styled("small", "" if kept else "broken", f"{'' if kept else '✗ '}{which}{show_limit(limit)}")


def _against(value: float | None, reference: float, name: str) -> Element:
    change = ""
    if reference and value is not None:
        change = f", {round(100 * (value / reference - 1), 2) + 0.0:+.2f} %"  # + 0.0: no -0.00
    note = styled("small", "", f"reference {show(name, reference)}{change}")
    return element("span", {}, "–" if value is None else show(name, value), note)


# --- pictures -------------------------------------------------------------------------------------------


def _worst_frames(report: Report, worst: Sequence[WorstFrame]) -> Element:
    statuses = {(item.bundle, item.case): item.status for item in report.results if item.kind == "golden"}

    def rank(item: WorstFrame) -> tuple[bool, float]:
        return statuses.get((item.bundle, item.case)) != "FAIL", -largest_error(item)

    ranked = sorted(worst, key=rank)
    text = (
        "For each case the frame of the golden clip that it got most wrong: failed cases first, then by their error. "
        "Maps go from black (0) to yellow (1). The difference is blue where the backend's map is below the reference "
        "and red where it is above; its colours are scaled to the largest difference, which is told below it, so "
        "small ones look as strong as large ones."
    )
    parts: list[Child] = [element("h2", {}, "The worst frames"), element("p", {}, text)]
    cards = [
        _pictures(item, statuses.get((item.bundle, item.case)) == "FAIL") for item in ranked[:_MOST_PICTURES]
    ]
    parts += cards[:_PICTURES_IN_SIGHT]
    if cards[_PICTURES_IN_SIGHT:]:
        summary = element("summary", {}, f"{len(cards) - _PICTURES_IN_SIGHT} more")
        parts.append(element("details", {}, summary, *cards[_PICTURES_IN_SIGHT:]))
    if ranked[_MOST_PICTURES:]:
        rest = ", ".join(f"{item.bundle}: {item.case}" for item in ranked[_MOST_PICTURES:])
        parts.append(element("p", {}, f"Not shown, so that the page stays small: {rest}."))
    return element("section", {"id": "worst"}, *parts)


def _pictures(worst: WorstFrame, failed: bool) -> Element:
    change, scale = difference(worst)
    rows, columns = worst.reference.shape
    shown = (
        ("frame", worst.frame, f"{columns} x {rows}, network input"),
        ("reference map", heat(worst.reference), "float32 network"),
        ("backend's map", heat(worst.found), "computed here"),
        ("difference", change, f"full colour is ±{show_with_unit('max_abs_map', scale)}"),
    )
    figures = []
    for name, picture, caption in shown:
        image = element("img", {"src": data_uri(picture), "alt": f"{name} of {worst.case}", "width": "192"})
        note = element("figcaption", {}, name, styled("small", "", caption))
        figures.append(element("figure", {}, image, note))
    mark: tuple[Child, ...] = (badge("FAIL"), " ") if failed else ()
    title = element("h3", {}, *mark, f"{worst.bundle}: {worst.case}, frame {worst.index}")
    return styled("article", "worst", title, styled("div", "pictures", *figures))
