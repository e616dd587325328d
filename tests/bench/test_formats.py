"""JUnit XML as build servers read it, CSV as spreadsheets do."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_reports import report, reports, result, run_on_a_small_machine

from uva_edge.runtimes.bench.formats import COLUMNS, csv_rows, junit
from uva_edge.runtimes.bench.report import Report

_ANY_TEXT = st.text(max_size=12)  # halves of surrogate pairs and control characters too


def test_a_suite_for_each_bundle_and_kind() -> None:
    made = run_on_a_small_machine()
    root = ElementTree.fromstring(junit(made))
    names = [suite.attrib["name"] for suite in root]
    assert names == [f"uva-{side}.{kind}" for side in (32, 64) for kind in ("golden", "speed", "task")]
    assert root.attrib["tests"] == str(len(made.results))
    assert root.attrib["failures"] == "2"
    assert root.attrib["skipped"] == "14"


@settings(max_examples=60, deadline=None)
@given(made=reports(_ANY_TEXT))
def test_junit_has_what_its_readers_ask_for(made: Report) -> None:
    root = ElementTree.fromstring(junit(made).encode("utf-8"))
    assert root.tag == "testsuites"
    for holder in (root, *root):
        cases = list(holder.iter("testcase"))
        assert int(holder.attrib["tests"]) == len(cases)
        assert int(holder.attrib["failures"]) == len(list(holder.iter("failure")))
        assert int(holder.attrib["skipped"]) == len(list(holder.iter("skipped")))
        assert holder.attrib["errors"] == "0"
        assert float(holder.attrib["time"]) == pytest.approx(
            sum(float(case.attrib["time"]) for case in cases), rel=1e-9, abs=1e-5
        )
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "timestamp"} <= suite.attrib.keys()
        for case in suite:
            assert {"name", "classname", "time"} <= case.attrib.keys()
            assert [child.tag for child in case] in (
                *(["properties", last] for last in ("failure", "skipped")),
                *([only] for only in ("properties", "failure", "skipped")),
                [],
            )
    assert made.passed == (root.attrib["failures"] == "0")


def test_what_failed_is_told_with_its_limits() -> None:
    row = result(
        "golden",
        status="FAIL",
        message="CC <too small>",
        figures={"min_cc": 0.98},
        limits={"min_cc": (">=", 0.99)},
    )
    (failure,) = ElementTree.fromstring(junit(report(row))).iter("failure")
    assert failure.attrib["message"] == "CC <too small>"
    assert failure.text == "min_cc is 0.98, must be ≥ 0.99"


@pytest.mark.parametrize("status", ["SKIPPED", "UNSUPPORTED"])
def test_what_was_not_checked_is_skipped_by_its_type(status: str) -> None:
    rows = result(), result(case="other", status=status, message="no such device")  # type: ignore[arg-type]
    (skipped,) = ElementTree.fromstring(junit(report(*rows))).iter("skipped")
    assert skipped.attrib == {"type": status, "message": "no such device"}


def test_a_run_without_checks_fails_in_junit_too() -> None:
    root = ElementTree.fromstring(junit(report(result(status="SKIPPED", message="no engine"))))
    (failure,) = root.iter("failure")
    assert "nothing was checked" in failure.attrib["message"]


def test_times_are_seconds() -> None:
    row = result(figures={"load_ms": 500.0, "first_frame_ms": 100.0}, series={"total_ms": (200.0, 200.0)})
    (case,) = ElementTree.fromstring(junit(report(row))).iter("testcase")
    assert float(case.attrib["time"]) == pytest.approx(1.0)


# --- CSV ------------------------------------------------------------------------------------------------


def test_a_line_for_each_result() -> None:
    made = run_on_a_small_machine()
    text = csv_rows(made)
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(made.results)
    for row, expected in zip(rows, made.results, strict=True):
        assert (row["kind"], row["bundle"], row["case"], row["status"]) == (
            expected.kind,
            expected.bundle,
            expected.case,
            expected.status,
        )
        figures = {name: float(row[name]) for name in row if name not in COLUMNS and row[name]}
        assert figures == expected.figures


@settings(max_examples=60, deadline=None)
@given(made=reports(_ANY_TEXT))
def test_csv_is_a_table_without_formulas(made: Report) -> None:
    text = csv_rows(made)
    text.encode("utf-8")
    header, *rows = csv.reader(io.StringIO(text))
    assert len(rows) == len(made.results)
    assert tuple(header[: len(COLUMNS)]) == COLUMNS
    for row in rows:
        assert len(row) == len(header)
        assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for cell in row[: len(COLUMNS)])


@pytest.mark.parametrize("message", ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "\t=1+1"])
def test_text_is_no_formula(message: str) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_rows(report(result(message=message))))))
    assert rows[0]["message"] == f"'{message}".replace("\t", " ")


def test_a_negative_figure_stays_a_number() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_rows(report(result(figures={"nss": -0.25}))))))
    assert rows[0]["nss"] == "-0.25"
