"""A report for other programs: JUnit XML for build servers, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .elements import element, printable
from .figures import order, show_limit, within
from .report import Report, Result

COLUMNS: Final = ("kind", "bundle", "case", "status", "message")
_FORMULA: Final = ("=", "+", "-", "@")


def junit(report: Report) -> str:
    """JUnit XML: a suite for each bundle and kind, a test case for each result, figures as its properties.

    UNSUPPORTED and SKIPPED are ``skipped`` with that type. A run in which nothing was checked has one more test
    case that fails, for a build server would call no failure a success.
    """
    suites: dict[tuple[str, str], list[Element]] = {}
    for result in report.results:
        suites.setdefault((result.bundle, result.kind), []).append(_test_case(result))
    if not report.passed and not any(result.status == "FAIL" for result in report.results):
        suites["uva-edge bench", "run"] = [_nothing_was_checked()]
    root = element("testsuites", {"name": "uva-edge bench", **_counts(suites.values())})
    for (bundle, kind), cases in suites.items():
        facts = {"name": f"{bundle}.{kind}", "timestamp": _timestamp(report.created), **_counts([cases])}
        root.append(element("testsuite", facts, *cases))
    ElementTree.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def csv_rows(report: Report) -> str:
    """CSV, a line for each result: `COLUMNS`, then every figure that any result has; lines end with LF.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    names = sorted({name for result in report.results for name in result.figures}, key=order)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in (*COLUMNS, *names)])
    for result in report.results:
        facts = (result.kind, result.bundle, result.case, result.status, result.message)
        figures = ("" if name not in result.figures else repr(result.figures[name]) for name in names)
        writer.writerow([*map(_cell, facts), *figures])
    return text.getvalue()


def _test_case(result: Result) -> Element:
    case = element(
        "testcase",
        {
            "classname": f"{result.bundle}.{result.kind}",
            "name": result.case,
            "time": f"{_seconds(result):.6f}",
        },
    )
    if result.figures:
        properties = (
            element("property", {"name": name, "value": repr(result.figures[name])})
            for name in sorted(result.figures, key=order)
        )
        case.append(element("properties", {}, *properties))
    if result.status == "FAIL":
        case.append(element("failure", {"type": "FAIL", "message": result.message}, *_exceeded(result)))
    elif result.status != "PASS":
        case.append(element("skipped", {"type": result.status, "message": result.message}))
    return case


def _exceeded(result: Result) -> tuple[str, ...]:
    """In one text, which limits were not kept."""
    words = [
        f"{name} is {result.figures[name]:g}, must be {show_limit(limit)}"
        for name, limit in result.limits.items()
        if name in result.figures and not within(result.figures[name], limit)
    ]
    return ("; ".join(words),) if words else ()


def _nothing_was_checked() -> Element:
    message = "nothing was checked: no case passed or failed; the reasons are with the skipped ones"
    case = element(
        "testcase", {"classname": "uva-edge bench", "name": "something was checked", "time": "0.000000"}
    )
    case.append(element("failure", {"type": "FAIL", "message": message}))
    return case


def _counts(suites: Iterable[list[Element]]) -> dict[str, str]:
    cases = [case for suite in suites for case in suite]
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{sum(float(case.attrib['time']) for case in cases):.6f}",
    }


def _seconds(result: Result) -> float:
    """What is known of the time that a result took."""
    known = (result.figures.get("load_ms", 0.0), result.figures.get("first_frame_ms", 0.0))
    return (sum(known) + sum(result.series.get("total_ms", ()))) / 1000


def _timestamp(created: str) -> str:
    """ISO 8601 without the zone, as the format has it."""
    return created.partition("+")[0].partition(".")[0].removesuffix("Z")


def _cell(text: str) -> str:
    line = printable(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line
