"""The top of the page: the verdict and its counts, what failed and why, remarks, what was not checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from ..elements import element, styled, table
from ..figures import describe, show, show_limit, show_with_unit, within
from ..report import STATUSES, Kind, Report, Result, Status

KINDS: Final[dict[Kind, str]] = {
    "golden": "golden clip",
    "task": "labelled footage",
    "speed": "speed",
}
_WORDS: Final[dict[Status, str]] = {
    "PASS": "passed",
    "FAIL": "failed",
    "UNSUPPORTED": "unsupported",
    "SKIPPED": "skipped",
}
_SIGNS: Final[dict[Status, str]] = {"PASS": "✓", "FAIL": "✗", "UNSUPPORTED": "–", "SKIPPED": "–"}


def verdict(report: Report) -> list[Element]:
    """What a reader with a minute wants."""
    sections = [_head(report), _at_a_glance(report)]
    failed = [result for result in report.results if result.status == "FAIL"]
    if failed:
        title = element("h2", {}, "What failed, and why")
        sections.append(element("section", {"id": "failed"}, title, *map(_failure, failed)))
    if report.remarks:
        remarks = (element("li", {}, remark) for remark in report.remarks)
        title = element("h2", {}, "Before the figures are believed")
        sections.append(element("section", {"id": "remarks"}, title, element("ul", {}, *remarks)))
    unchecked = [result for result in report.results if result.status in ("UNSUPPORTED", "SKIPPED")]
    if unchecked:
        sections.append(_unchecked(unchecked))
    return sections


def badge(status: Status) -> Element:
    """A status in words and a sign, so that nobody needs to see its colour."""
    return styled("span", f"badge {status.lower()}", f"{_SIGNS[status]} {status}")


def counted(results: Iterable[Result]) -> str:
    """``3 passed, 1 failed``; what there is none of is left out."""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{counts[status]} {_WORDS[status]}" for status in STATUSES if counts[status])


def _head(report: Report) -> Element:
    checked = [result for result in report.results if result.status in ("PASS", "FAIL")]
    failures = sum(result.status == "FAIL" for result in checked)
    if report.passed:
        sentence = f"All {_number(len(checked), 'check')} passed"
    elif failures:
        sentence = f"{failures} of {_number(len(checked), 'check')} failed"
    else:
        sentence = "Nothing was checked, and that counts as a failure"
    rest = len(report.results) - len(checked)
    if rest:
        sentence += f"; {_number(rest, 'case')} could not be checked here"
    word = "PASS" if report.passed else "FAIL"
    title = element("h1", {}, styled("span", f"verdict {word.lower()}", word), f" {sentence}.")
    names = ", ".join(bundle.name for bundle in report.bundles) or "no bundle"
    made = f"{names} on {_processor(report)}, {report.created}, uva_edge {report.uva_edge}"
    return element("header", {}, title, element("p", {}, _shares(report.results)), styled("p", "made", made))


def _shares(results: Iterable[Result]) -> Element:
    """The shares of the statuses as a bar of one line, and in words."""
    found = list(results)
    counts = Counter(result.status for result in found)
    shares, left = [], 0.0
    for status in STATUSES:
        width = 100 * counts[status] / max(1, len(found))
        at = {
            "x": f"{left:.2f}%",
            "width": f"{width:.2f}%",
            "height": "10",
            "class": f"share {status.lower()}",
        }
        shares.append(element("rect", at))
        left += width
    drawing = element("svg", {"class": "shares", "height": "10", "aria-hidden": "true"}, *shares)
    return element("span", {}, drawing, counted(found))


def _processor(report: Report) -> str:
    cpu = report.machine.get("cpu")
    model = cpu.get("model") if isinstance(cpu, dict) else None
    return model if isinstance(model, str) and model else "an unknown processor"


def _at_a_glance(report: Report) -> Element:
    names = list(
        dict.fromkeys([bundle.name for bundle in report.bundles] + [item.bundle for item in report.results])
    )
    rows = []
    for name in names:
        results = [result for result in report.results if result.bundle == name]
        cells = [counted(row for row in results if row.kind == kind) or "not asked for" for kind in KINDS]
        rows.append((name, *cells, _fastest(results)))
    title = element("h2", {}, "At a glance")
    header = ("bundle", *KINDS.values(), "fastest that passed")
    return element("section", {"id": "glance"}, title, table(header, rows, "stacked"))


def _fastest(results: Iterable[Result]) -> str:
    timed = [
        item for item in results if item.kind == "speed" and item.status == "PASS" and "fps" in item.figures
    ]
    if not timed:
        return "none"
    best = max(timed, key=lambda item: item.figures["fps"])
    slow = best.figures.get("total_p99_ms")
    tail = f", 99 of 100 frames within {show_with_unit('total_p99_ms', slow)}" if slow is not None else ""
    return f"{best.case}: {show('fps', best.figures['fps'])} FPS{tail}"


def _failure(result: Result) -> Element:
    where = element(
        "h3", {}, badge("FAIL"), f" {result.bundle}: {result.case} ", styled("small", "", KINDS[result.kind])
    )
    parts = [where, element("p", {}, result.message or "no reason was given")]
    broken = [
        (
            describe(name).name,
            show_with_unit(name, result.figures[name]),
            show_limit(limit),
            describe(name).meaning,
        )
        for name, limit in result.limits.items()
        if name in result.figures and not within(result.figures[name], limit)
    ]
    if broken:
        parts.append(table(("figure", "found", "must be", "which is"), broken, "stacked"))
    return styled("article", "failure", *parts)


def _unchecked(results: Iterable[Result]) -> Element:
    """By reason: whole backends lack one package, and their cases have one reason."""
    reasons: dict[tuple[Status, str], list[str]] = {}
    for result in results:
        cases = reasons.setdefault((result.status, result.message), [])
        cases.append(f"{result.bundle}: {result.case} ({KINDS[result.kind]})")
    blocks = []
    for (status, message), cases in reasons.items():
        summary = element("summary", {}, badge(status), f" {_number(len(cases), 'case')}: {message}")
        listed = element("ul", {}, *(element("li", {}, case) for case in cases))
        blocks.append(element("details", {}, summary, listed))
    return element(
        "section", {"id": "unchecked"}, element("h2", {}, "What was not checked, and why"), *blocks
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
