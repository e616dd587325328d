"""The end of the page: what the terms mean, machine, versions and hashes, what was asked for, how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element

from ..elements import Child, element, styled, table
from ..figures import PERCENTILE, REFERENCE, describe, order, stage_meaning
from ..report import Report

_TERMS: Final = {
    "case": "backend/artifact/T=frames in one call (all: the whole clip); then S, the streams that share a call, and "
    "the format of the camera's frames",
    "PASS, FAIL": "checked, and within its limits or not",
    "UNSUPPORTED": "the backend is here and can't do this",
    "SKIPPED": "not tried: a package or a device is missing",
}
_PERCENTILES: Final = (
    "p50, p95, p99",
    "50, 95 or 99 of 100 frames took at most so long; p50 is the median, and p99 is what a camera that may drop one "
    "frame in a hundred has to wait for",
)


def facts(report: Report) -> list[Element]:
    """Everything that says what the figures hold for."""
    return [_glossary(report), _machine(report), _bundles(report), _again(report)]


def _glossary(report: Report) -> Element:
    """The figures of this page, each once."""
    names = {name for result in report.results for name in result.figures}
    terms = dict(_TERMS)
    if any(map(PERCENTILE.fullmatch, names)):
        terms.update([_PERCENTILES])
    for name in sorted(names, key=order):
        percentile = PERCENTILE.fullmatch(name)
        term = percentile["stage"] if percentile else describe(name).name
        meaning = stage_meaning(term) if percentile else describe(name).meaning
        if meaning and not name.endswith(REFERENCE):
            terms.setdefault(term, meaning)
    pairs: list[Child] = []
    for term, meaning in terms.items():
        pairs += [element("dt", {}, term), element("dd", {}, meaning)]
    return element("section", {"id": "terms"}, element("h2", {}, "Terms"), element("dl", {}, *pairs))


def _machine(report: Report) -> Element:
    parts: list[Child] = [element("h2", {}, "Machine and versions")]
    if report.conditions:
        text = "What could have disturbed the times:"
        parts += [element("p", {}, text), table(("condition", "found"), report.conditions.items())]
    parts.append(_value({"uva_edge": report.uva_edge, **report.machine}))
    return element("section", {"id": "machine"}, *parts)


def _bundles(report: Report) -> Element:
    parts: list[Child] = [element("h2", {}, "Bundles")]
    for bundle in report.bundles:
        hashed = element("p", {}, "SHA-256 of its manifest, which holds the hashes of all files: ")
        hashed.append(element("code", {}, bundle.sha256))
        parts += [element("h3", {}, bundle.name), hashed]
        if bundle.artifacts:
            parts.append(_records(bundle.artifacts))
    if not report.bundles:
        parts.append(element("p", {}, "None."))
    return element("section", {"id": "bundles"}, *parts)


def _again(report: Report) -> Element:
    command = report.options.get("command")
    if not isinstance(command, str):
        command = shlex.join(["uva-edge", "bench", *(bundle.name for bundle in report.bundles)])
    lines = (
        f"pip install uva-edge=={report.uva_edge}",
        command,
        "uva-edge bench --compare before.json after.json",
    )
    title = element("h2", {}, "How to do it again")
    parts: list[Child] = [title]
    if report.options:
        parts += [element("p", {}, "What was asked for:"), _value(report.options)]
    parts += [styled("pre", "", element("code", {}, line)) for line in lines]
    return element("section", {"id": "again"}, *parts)


def _value(value: Any) -> Child:
    """Free-form JSON: objects as lists of terms, objects of like objects as tables."""
    if isinstance(value, dict):
        if len(value) > 1 and all(isinstance(item, dict) and item for item in value.values()):
            return _records([{"": name, **item} for name, item in value.items()])
        pairs: list[Child] = []
        for name, item in value.items():
            pairs += [element("dt", {}, str(name)), element("dd", {}, _value(item))]
        return element("dl", {}, *pairs) if pairs else "none"
    if isinstance(value, (list, tuple)):
        if value and not any(isinstance(item, (dict, list, tuple)) for item in value):
            return ", ".join(map(_scalar, value))
        return element("ul", {}, *(element("li", {}, _value(item)) for item in value)) if value else "none"
    return _scalar(value)


def _records(records: Iterable[dict[str, Any]]) -> Child:
    """Objects as rows of a table, with a column for every key of any."""
    found = list(records)
    columns = list({name: None for record in found for name in record})
    if not columns:
        return "none"
    rows = [[_value(record.get(name, "")) for name in columns] for record in found]
    return table(columns, rows)


def _scalar(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
