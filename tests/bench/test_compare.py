"""What two reports say against each other: noise is no change, and a change of machine no regression."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_reports import report, reports, result, run_on_a_small_machine

from uva_edge.errors import OptionError
from uva_edge.runtimes.bench.compare import Comparison, compare_reports, compare_times
from uva_edge.runtimes.bench.compare_text import comparison_text
from uva_edge.runtimes.bench.report import Report, Result


def _times(seed: int, factor: float = 1.0, count: int = 400) -> tuple[float, ...]:
    """Of a processor that is slow for stretches: neighbours are alike, as in life."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(0, 0.05, -(-count // 20)), 20)[:count]
    return tuple((factor * np.exp(drift + rng.normal(0, 0.02, count))).tolist())


def _timed(seed: int, factor: float = 1.0, **facts: Any) -> Result:
    return result(series={"total_ms": _times(seed, factor)}, **facts)


def _with_cpu(made: Report, **facts: Any) -> Report:
    return replace(made, machine={**made.machine, "cpu": {**made.machine["cpu"], **facts}})


# --- times ----------------------------------------------------------------------------------------------


def test_noise_is_no_change() -> None:
    """Two runs of the same thing, with neighbours that are slow together, a hundred times over."""
    judged = [compare_times(_times(seed), _times(1000 + seed)) for seed in range(100)]
    changed = [
        seed for seed, times in enumerate(judged) if times is None or times.judgement != "same within noise"
    ]
    assert len(changed) <= 6, f"{len(changed)} of 100 at 99 %: {changed}"


@pytest.mark.parametrize(("factor", "judgement"), [(1.3, "slower"), (0.75, "faster")])
@pytest.mark.parametrize("seed", range(5))
def test_a_change_is_seen(factor: float, judgement: str, seed: int) -> None:
    times = compare_times(_times(seed), _times(100 + seed, factor))
    assert times is not None
    assert times.judgement == judgement
    assert times.low <= factor <= times.high
    assert times.low <= times.ratio <= times.high


@settings(max_examples=25, deadline=None)
@given(
    times=st.lists(st.floats(0.01, 1e3), min_size=20, max_size=60),
    factor=st.floats(0.5, 2.0),
)
def test_a_run_is_the_same_as_itself(times: list[float], factor: float) -> None:
    same = compare_times(times, times)
    assert same is not None
    assert same.ratio == 1
    assert same.judgement == "same within noise"
    other = compare_times(times, [factor * value for value in times])
    assert other is not None
    assert other.ratio == pytest.approx(factor)


def test_the_judgement_repeats() -> None:
    assert compare_times(_times(0), _times(1)) == compare_times(_times(0), _times(1))


@pytest.mark.parametrize("other", [(), _times(0, count=19), (0.0,) * 30, (-1.0,) * 30])
def test_times_that_tell_nothing(other: tuple[float, ...]) -> None:
    assert compare_times(_times(0), other) is None
    assert compare_times(other, _times(0)) is None


def test_very_many_times_are_thinned() -> None:
    times = compare_times(_times(0, count=30_000), _times(1, 1.5, count=30_000))
    assert times is not None
    assert times.ratio == pytest.approx(1.5, rel=0.05)


# --- regressions ----------------------------------------------------------------------------------------


def test_the_same_run_has_no_regression() -> None:
    made = run_on_a_small_machine()
    comparison = compare_reports(made, made)
    assert not comparison.regressed
    assert comparison.times_comparable
    assert comparison.differences == ()
    text = comparison_text(comparison)
    assert "same machine, settings, versions and bundles" in text
    assert "same within noise: 18 of 18" in text
    assert text.endswith("no regression in 48 cases that both runs checked")


def test_what_passed_and_fails_is_a_regression() -> None:
    comparison = compare_reports(report(result()), report(result(status="FAIL", message="CC 0.9 < 0.99")))
    assert comparison.regressed
    text = comparison_text(comparison)
    assert "PASS -> FAIL  speed uva-32 native/native-fp32/T=1: CC 0.9 < 0.99" in text
    assert "REGRESSION  speed uva-32 native/native-fp32/T=1: passed before and fails: CC 0.9 < 0.99" in text
    assert text.endswith("REGRESSED: 1 of 1 cases that both runs checked")


@pytest.mark.parametrize(
    ("before", "after"),
    [("FAIL", "FAIL"), ("FAIL", "PASS"), ("PASS", "SKIPPED"), ("SKIPPED", "FAIL"), ("UNSUPPORTED", "PASS")],
)
def test_other_changes_are_told_alone(before: Any, after: Any) -> None:
    other = result(case="other")
    comparison = compare_reports(report(result(status=before), other), report(result(status=after), other))
    assert not comparison.regressed
    assert (f"{before} -> {after}" in comparison_text(comparison)) is (before != after)


@pytest.mark.parametrize(
    ("factor", "allowed", "regressed"), [(1.3, 1.1, True), (1.3, 1.5, False), (0.7, 1.0, False)]
)
def test_slower_counts_beyond_what_is_allowed(factor: float, allowed: float, regressed: bool) -> None:
    comparison = compare_reports(report(_timed(0)), report(_timed(1, factor)), allowed)
    assert comparison.regressed is regressed
    (case,) = comparison.cases
    assert ("times as slow" in case.regression) is regressed
    assert f"{'slower' if factor > 1 else 'faster'}  " in comparison_text(comparison)


def test_a_plain_ratio_is_no_regression() -> None:
    """A figure without single times may be noise, and is told as such."""
    comparison = compare_reports(
        report(result(figures={"fps": 100.0})), report(result(figures={"fps": 50.0}))
    )
    assert not comparison.regressed
    assert comparison.cases[0].figures[0].ratio == 0.5
    assert "FPS 100 -> 50" in comparison_text(comparison)


@pytest.mark.parametrize("allowed", [0.9, float("nan"), float("inf")])
def test_a_threshold_is_a_ratio(allowed: float) -> None:
    with pytest.raises(OptionError, match="max_slowdown must be a ratio of at least 1"):
        compare_reports(report(), report(), allowed)


def test_nothing_in_common_is_a_failure() -> None:
    comparison = compare_reports(report(result(case="a")), report(result(case="b")))
    assert comparison.regressed
    text = comparison_text(comparison)
    assert "PASS -> absent  speed uva-32 a" in text
    assert "absent -> PASS  speed uva-32 b" in text
    assert text.endswith("REGRESSED: no case was checked in both runs, so nothing was compared")


def test_nothing_that_both_checked_is_a_failure_too() -> None:
    assert compare_reports(report(result()), report(result(status="SKIPPED"))).regressed
    assert compare_reports(report(result(status="SKIPPED")), report(result(status="SKIPPED"))).regressed


# --- other machines -------------------------------------------------------------------------------------


def _changed(made: Report) -> list[tuple[Report, str]]:
    """The same report of other circumstances, and what is told of them."""
    return [
        (_with_cpu(made, model="Cortex-A53"), "cpu model: Cortex-A76 -> Cortex-A53"),
        (_with_cpu(made, cores=2), "cpu cores: 4 -> 2"),
        (
            replace(made, conditions={**made.conditions, "governor": "performance"}),
            "governor: ondemand -> performance",
        ),
        (replace(made, machine={**made.machine, "gpu": {"gpus": [{"name": "Orin"}]}}), "gpu: "),
    ]


def test_times_of_another_machine_are_not_judged() -> None:
    before = report(_timed(0))
    for after, words in _changed(report(_timed(1, 3.0, figures={"fps": 1.0}))):
        comparison = compare_reports(before, after)
        assert not comparison.regressed, words
        assert not comparison.times_comparable, words
        assert comparison.cases[0].times is None, words
        text = comparison_text(comparison)
        assert words in text
        assert "times can't be compared, and are not judged" in text
        assert text.endswith("no regression in 1 cases that both runs checked; times were not judged")


def test_a_failure_on_another_machine_counts() -> None:
    comparison = compare_reports(report(result()), _with_cpu(report(result(status="FAIL")), cores=2))
    assert comparison.regressed


def test_versions_bundles_and_options_are_told_and_judged() -> None:
    """They may be what the comparison is for."""
    before, after = report(_timed(0)), report(_timed(1, 3.0))
    after = replace(
        after,
        uva_edge="0.2.0",
        options={**after.options, "threads": 2},
        bundles=(replace(after.bundles[0], sha256="cd" * 32),),
        machine={**after.machine, "engines": {"onnxruntime": {"status": "ok", "version": "1.24"}}},
    )
    comparison = compare_reports(before, after)
    assert comparison.regressed
    assert comparison.times_comparable
    text = comparison_text(comparison)
    for words in (
        "uva_edge: 0.1.0 -> 0.2.0",
        "option threads: 1 -> 2",
        "bundle uva-32: abababababab -> cdcdcdcdcdcd",
        "engine onnxruntime: 1.23.2 -> 1.24",
        "engine openvino: 2026.4.1 -> none",
    ):
        assert words in text, words
    assert text.index("option threads") < text.index("slower"), "what could explain it comes first"


def test_load_and_heat_are_never_twice_the_same() -> None:
    before = report(result())
    after = replace(before, conditions={**before.conditions, "load": "7", "throttling": "none seen"})
    comparison = compare_reports(before, after)
    assert comparison.times_comparable
    assert [item.what for item in comparison.differences] == ["load", "throttling"]


# --- forms ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(before=reports(st.text(max_size=8)), after=reports(st.text(max_size=8)))
def test_any_two_reports_compare(before: Report, after: Report) -> None:
    comparison = compare_reports(before, after)
    text = comparison_text(comparison)
    assert re.search(r"^(REGRESSED|no regression)", text.splitlines()[-1])
    assert ("REGRESSED" in text.splitlines()[-1]) is comparison.regressed
    assert all(line.isprintable() for line in text.splitlines()), "a terminal obeys control characters"
    assert json.loads(comparison.to_json())["regressed"] is comparison.regressed


def test_json_has_everything() -> None:
    comparison: Comparison = compare_reports(report(_timed(0, figures={"fps": 10.0})), report(_timed(1, 1.3)))
    made = json.loads(comparison.to_json())
    assert made["cases"][0]["times"]["judgement"] == "slower"
    assert made["cases"][0]["before"] == "PASS"
    assert made["max_slowdown"] == 1.1
