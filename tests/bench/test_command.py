"""`uva-edge bench` as a user runs it: what it writes, what it says, and its exit code."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from uva_edge.cli import main
from uva_edge.runtimes.bench.report import read_report

QUICK = ("--backend", "onnxruntime", "--threads", "1", "--seconds", "0.1", "--size", "320x180")


def bench(*words: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(main, ["bench", *(os.fspath(word) for word in words)])


def test_everything_is_checked_and_written(tmp_path: Path) -> None:
    files = {name: tmp_path / f"r.{name}" for name in ("json", "html", "xml", "csv")}
    result = bench(
        "uva-32", *QUICK, "--precision", "fp32", "--report", files["json"], "--html", files["html"],
        "--junit", files["xml"], "--csv", files["csv"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("PASS")
    report = read_report(files["json"])
    assert report.passed
    assert {row.kind for row in report.results} == {"golden", "task", "speed"}
    assert {row.status for row in report.results} == {"PASS"}
    assert report.bundles[0].name == "uva-32"
    assert {"onnx-fp32", "onnx-int8"} <= {artifact["name"] for artifact in report.bundles[0].artifacts}
    assert report.machine["cpu"]["cores"] >= 1
    page = files["html"].read_text("utf-8")
    assert "data:image/png" in page, "the worst frames are in it"
    suites = ElementTree.fromstring(files["xml"].read_text("utf-8"))
    assert len(suites.findall(".//testcase")) == len(report.results)
    assert len(files["csv"].read_text("utf-8").splitlines()) == len(report.results) + 1


def test_json_is_the_report(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = bench("uva-32", *QUICK, "--only", "speed", "--json")
    assert result.exit_code == 0, result.output
    path.write_text(result.stdout, "utf-8")
    assert {row.kind for row in read_report(path).results} == {"speed"}


def test_a_floor_that_is_missed_fails(tmp_path: Path) -> None:
    result = bench("uva-32", *QUICK, "--only", "speed", "--precision", "fp32", "--min-fps", "1e9")
    assert result.exit_code == 1
    assert "asked for >= 1e+09" in " ".join(result.stdout.split())
    assert result.stdout.rstrip().endswith("FAIL")


def test_nothing_checked_is_a_failure() -> None:
    result = bench("uva-32", *QUICK, "--precision", "bf16")
    assert result.exit_code == 1
    assert result.stdout.rstrip().endswith("FAIL: nothing was checked")


def test_a_profile_decides(tmp_path: Path) -> None:
    profile = tmp_path / "board.toml"
    text = (
        'name = "board"\nbundle = "uva-32"\nbackend = "onnxruntime"\nprecision = "fp32"\nsize = [320, 180]\n'
    )
    profile.write_text(f"{text}[floors]\nmin_fps = 0.001\n", "utf-8")
    words = ("--profile", profile, "--seconds", "0.1")
    kept = bench(*words, "--json")
    assert kept.exit_code == 0, kept.output
    report = json.loads(kept.stdout)
    assert report["options"]["profile"] == "board"
    assert {row["kind"] for row in report["results"]} == {"golden", "task", "speed"}
    assert bench(*words, "--min-fps", "1e9").exit_code == 1, "the command line is stricter"
    refused = bench(*words, "--backend", "torch")
    assert (refused.exit_code, "leave these options out" in refused.output) == (1, True)


def test_auto_is_the_one_case_that_the_predictor_takes() -> None:
    result = bench(
        "uva-32", "--backend", "auto", "--threads", "1", "--only", "speed", "--seconds", "0.1", "--json"
    )
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["results"]) == 1


def test_two_reports_are_compared(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    for path in (before, after):
        assert (
            bench("uva-32", *QUICK, "--only", "golden", "--precision", "fp32", "--report", path).exit_code
            == 0
        )
    same = bench("--compare", before, after)
    assert same.exit_code == 0, same.output
    document = json.loads(after.read_text("utf-8"))
    document["results"][0] |= {"status": "FAIL", "message": "max_abs_map 1 > 0.0001"}
    document["passed"] = False
    after.write_text(json.dumps(document), "utf-8")
    worse = bench("--compare", before, after)
    assert worse.exit_code == 1
    assert "FAIL" in worse.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--precision", "fp7"), "--precision takes auto, fp32"),
        (("--backend", "tpu"), "backend must be one of"),
        (("--backend", "auto", "--backend", "torch"), "auto stands alone"),
        (("--threads", "0"), "threads must be from 1"),
        (("--color", "cmyk"), "--color takes bgr"),
        (("--seconds", "0"), "--seconds from 0.1"),
        (("--size", "13x7", "--color", "nv12"), "even sizes"),
        (("--size", "wide"), "WIDTHxHEIGHT"),
        (("--compare", "none.json", "none.json"), "none.json"),
        (("nowhere",), "nowhere"),
    ],
)
def test_what_can_not_be_done_is_told(words: tuple[str, ...], message: str) -> None:
    result = bench(*words)
    assert (result.exit_code, result.output.count("\n")) >= (1, 1)
    assert result.exit_code != 0
    assert message in result.output
