"""A report is read as it was written, and nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from made_reports import report, reports, result, run_on_a_small_machine

from uva_edge.errors import DataError
from uva_edge.runtimes.bench.report import STATUSES, Report, read_report, succeeded


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(made=reports())
def test_what_was_written_is_read(made: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(made.to_json(), encoding="utf-8")
    assert read_report(path) == made


def test_a_whole_run_is_read(tmp_path: Path) -> None:
    made = run_on_a_small_machine()
    path = tmp_path / "report.json"
    path.write_text(made.to_json(), encoding="utf-8")
    assert read_report(path) == made
    assert {row.status for row in made.results} == set(STATUSES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema: expected an integer from 1 to 1, got 2"),
        ({"results": [{}]}, r"results\[0\].kind: missing"),
        ({"passed": "yes"}, 'passed: expected true or false, got "yes"'),
        ({"more": 1}, r'\["more"\]: unknown field'),
    ],
)
def test_another_form_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**json.loads(report(result()).to_json()), **change}), encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        read_report(path)
    assert str(caught.value).startswith(str(path))
    assert "uva-edge bench --report" in str(caught.value)


def test_a_report_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.json: No such file or directory; the JSON of a report was expected"
    ):
        read_report(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("statuses", "passed"),
    [
        ((), False),
        (("SKIPPED", "UNSUPPORTED"), False),
        (("PASS", "SKIPPED"), True),
        (("PASS", "FAIL"), False),
    ],
)
def test_the_verdict_needs_a_check(statuses: tuple[str, ...], passed: bool) -> None:
    assert succeeded(statuses) is passed
