"""Times of real processes. No absolute time decides: ratios in one run, and counts."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.errors import SessionError
from uva_edge.preprocess import COLORS
from uva_edge.runtimes.bench import worker as worker_module
from uva_edge.runtimes.bench.host import Host
from uva_edge.runtimes.bench.offers import offers
from uva_edge.runtimes.bench.speed import (
    Timing,
    measure,
    slowed_remarks,
    speed_cases,
    speed_result,
)
from uva_edge.runtimes.bench.worker import STAGES, SpeedCase, Worker

CASE = SpeedCase(
    bundle=str(Bundle.shipped("uva-32").location),
    backend="onnxruntime",
    artifact="onnx-fp32-t1",
    threads=1,
    length=1,
    color="bgr",
    width=640,
    height=360,
)


def timing(totals: list[float]) -> Timing:
    """Every stage takes a third."""
    third = np.array(totals) / 3
    return Timing(1.0, 0.5, dict.fromkeys(STAGES, third), 100.0, None)


def test_a_worker_times_every_stage_of_every_call() -> None:
    with Worker(CASE) as worker:
        times = worker.run(7)
        assert times.shape == (7, len(STAGES))
        assert (times > 0).all()
        assert worker.load_seconds > 0
        assert worker.first_seconds > 0
        assert worker.peak_rss_mb() > 10


@pytest.mark.parametrize("color", COLORS)
def test_every_frame_format_can_be_timed(color: str) -> None:
    with Worker(replace(CASE, color=color)) as worker:
        assert (worker.run(2) > 0).all()


def test_a_larger_network_takes_longer() -> None:
    """uva-64 has four times the arithmetic of uva-32: the clock measures the session."""
    larger = replace(CASE, bundle=str(Bundle.shipped("uva-64").location))
    found = measure([CASE, larger], seconds=0.3)
    small, large = (found[case] for case in (CASE, larger))
    assert isinstance(small, Timing)
    assert isinstance(large, Timing)
    assert np.median(large.stages["session"]) > 1.5 * np.median(small.stages["session"])
    assert large.figures()["fps"] < small.figures()["fps"]


def test_the_default_here_is_faster_than_torch() -> None:
    """The floor of our own tests is a ratio in one run: the first choice of `auto` beats the reference."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    from uva_edge.runtimes.selection import select

    bundle = Bundle.shipped("uva-32")
    plan = select(bundle).plan
    first = replace(CASE, backend=plan.backend.name, artifact=plan.step.name)
    torch = replace(CASE, backend="torch", artifact="torch-fp32")
    found = measure([first, torch], seconds=0.5)
    ours, theirs = (found[case] for case in (first, torch))
    assert isinstance(ours, Timing)
    assert isinstance(theirs, Timing)
    ratio = np.median(theirs.stages["session"]) / np.median(ours.stages["session"])
    assert ratio > 1.5, f"{first}: {ratio:.2f} times as fast as torch"


def test_frames_in_a_call_share_its_time() -> None:
    found = measure([replace(CASE, artifact="onnx-fp32", length=8)], seconds=0.2)
    (batched,) = found.values()
    assert isinstance(batched, Timing)
    calls = len(batched.total)
    assert batched.figures()["fps"] == pytest.approx(calls / batched.total.sum())


def test_figures_are_those_of_the_times() -> None:
    figures = timing([0.001] * 90 + [0.002] * 9 + [0.011]).figures()
    assert figures["fps"] == pytest.approx(100 / (0.090 + 0.018 + 0.011))
    assert figures["total_p50_ms"] == pytest.approx(1)
    assert figures["total_p95_ms"] == pytest.approx(2)
    assert 2 < figures["total_p99_ms"] < 11
    assert (figures["load_ms"], figures["first_frame_ms"], figures["rss_mb"]) == (1000, 500, 100)
    assert "joules_per_frame" not in figures, "what was not measured is not there"


def test_energy_is_read_around_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter that counts one joule a reading."""
    readings = iter(range(10_000_000, 10**12, 1_000_000))
    monkeypatch.setattr(Host, "energy_uj", lambda _: {"package": (next(readings), 10**12)})
    (found,) = measure([CASE], seconds=0.2).values()
    assert isinstance(found, Timing)
    assert found.joules_per_frame is not None
    blocks = found.joules_per_frame * len(found.total)
    assert blocks == pytest.approx(round(blocks))
    assert blocks >= 8


def test_a_run_that_slows_down_is_said() -> None:
    assert slowed_remarks({CASE: timing([0.001] * 40)}) == []
    (said,) = slowed_remarks(
        {CASE: timing([0.001] * 20 + [0.002] * 20), replace(CASE, threads=2): SessionError("x")}
    )
    assert said.startswith(f"{CASE} was 2.00 times as slow")


@pytest.mark.parametrize(
    ("floors", "status", "words"),
    [
        ({}, "PASS", "no floor was given"),
        ({"fps": (">=", 900.0)}, "PASS", "every floor is kept"),
        ({"fps": (">=", 1100.0)}, "FAIL", "fps 1000, asked for >= 1100"),
        ({"total_p99_ms": ("<=", 0.5)}, "FAIL", "total_p99_ms 1, asked for <= 0.5"),
        ({"joules_per_frame": ("<=", 1.0)}, "FAIL", "can't be measured here"),
    ],
)
def test_floors_decide(floors: Any, status: str, words: str) -> None:
    result = speed_result("uva-32", CASE, timing([0.001] * 10), floors)
    assert (result.status, words in result.message) == (status, True), result.message
    assert result.limits == floors
    assert len(result.series["total_ms"]) == 10


def test_a_long_run_is_sampled() -> None:
    result = speed_result("uva-32", CASE, timing([0.001] * 5000), {})
    assert len(result.series["total_ms"]) == 2000


def test_an_artifact_that_does_not_exist_is_an_error_in_its_words() -> None:
    found = measure([replace(CASE, artifact="onnx-fp99"), CASE], seconds=0.2)
    good = found.pop(CASE)
    (bad,) = found.values()
    assert isinstance(bad, SessionError)
    assert "onnx-fp99" in str(bad)
    assert isinstance(good, Timing), "the others go on"
    assert speed_result("uva-32", CASE, bad, {}).status == "FAIL"


def test_a_process_that_dies_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with Worker(CASE) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(SessionError, match="ended with code -9"):
            worker.run(1)


def test_a_process_that_gives_no_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with Worker(CASE) as worker:
        os.kill(worker._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(worker_module, "_PATIENCE_S", 0.2)
        with pytest.raises(SessionError, match="no answer"):
            worker.run(1)
    assert worker._process.returncode is not None


def test_the_cases_are_the_offers() -> None:
    bundle = Bundle.shipped("uva-32")
    available = offers(bundle, ("onnxruntime", "cuda"))
    table = speed_cases(bundle, available, threads=(1, 2), lengths=(1, 8), color="nv12", size=(1280, 720))
    names = [str(case) for case, _ in table]
    assert len(set(names)) == len(names) == len(available) * 4
    assert "onnxruntime/onnx-fp32-t1/T=1/nv12 1280x720" in names
    assert "onnxruntime/onnx-int8/T=8/threads=2/nv12 1280x720" in names
    for case, refusal in table:
        if case.backend == "onnxruntime":
            assert refusal is None


def test_no_process_is_left_behind() -> None:
    with Worker(CASE) as worker:
        assert worker._process.poll() is None
    assert worker._process.poll() is not None
