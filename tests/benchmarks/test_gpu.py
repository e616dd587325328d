"""The benchmark of GPUs, as far as it needs none: what is timed and in which order, tables, words, exit codes."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge.gpu import NO_DRIVER, Gpu, GpuFacts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("cv2")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


class Machine:
    """Entries that take a known time each, by a clock of their own; it keeps what they were given."""

    def __init__(self) -> None:
        self.now = 0.0
        self.given: list[tuple[str, np.ndarray]] = []

    def clock(self) -> float:
        return self.now

    def step(self, name: str, seconds: float) -> Any:
        def run(frames: np.ndarray) -> None:
            self.given.append((name, frames))
            self.now += seconds * (len(frames) if name.endswith("clip") else 1)

        return run

    def entry(self, bench: Any, name: str, seconds: float) -> Any:
        return bench.Entry(
            name,
            self.step(f"{name} gpu", seconds),
            self.step(f"{name} host", 2 * seconds),
            self.step(f"{name} clip", seconds / 10),
        )


def test_without_a_gpu_it_says_so(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "probe_gpus", lambda: NO_DRIVER)
    assert bench.main([]) == bench.NO_GPU == 3
    assert capsys.readouterr().err.startswith(
        "no GPU: there is no NVIDIA driver here; install the GPU's driver"
    )


def test_the_arguments(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.parse([]).sizes == (32, 64, 96, 128, 256)
    assert bench.parse(["--sizes", "32,64", "--rounds", "5"]).sizes == (32, 64)
    for wrong in ("0", "a"):
        with pytest.raises(SystemExit):
            bench.parse(["--sizes", wrong])
    assert "--sizes" in capsys.readouterr().err


def test_everything_takes_turns_on_inputs_of_its_own(bench: Any) -> None:
    machine = Machine()
    entries = [machine.entry(bench, "a", 1e-3), machine.entry(bench, "b", 2e-3)]
    inputs = np.arange(64, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    found = bench.measure(entries, inputs, (4, 100), 20, machine.clock)
    assert {name: len(seconds) for name, seconds in found.on_gpu.items()} == {"a": 20, "b": 20}
    np.testing.assert_allclose(found.on_gpu["b"], 2e-3)
    np.testing.assert_allclose(found.on_host["a"], 2e-3)
    np.testing.assert_allclose(found.clips[100]["a"], 1e-4 * 100)
    names = [name for name, _ in machine.given]
    assert names[:4] == ["a gpu", "b gpu", "a gpu", "b gpu"]
    assert Counter(names)["a clip"] == 2 * (10 + 3)
    singles = [frames for name, frames in machine.given if name == "a gpu"]
    assert len({frames.ctypes.data for frames in singles}) == len(singles), "distinct buffers"
    assert all(len(frames) == 1 for frames in singles)
    assert {len(frames) for name, frames in machine.given if name == "a clip"} == {4, 100}


def test_the_tables(bench: Any) -> None:
    machine = Machine()
    entries = [machine.entry(bench, "slow", 100e-6), machine.entry(bench, "fast", 50e-6)]
    found = bench.measure(entries, np.zeros((64, 2, 2, 3), np.uint8), (8, 64), 10, machine.clock)
    found.remarks = ["tensorrt_rtx fp32: not measured, builds for 7.5, 8.0; got 9.0"]
    lines = bench.section("uva-32", found).splitlines()
    assert lines[0] == "### uva-32 on the GPU"
    rows = [line for line in lines if line.startswith("| fast")]
    assert rows == ["| fast | 50.0 / 50.0 | 100.0 / 100.0 |", "| fast | 200,000 | 200,000 |"]
    assert lines.index(rows[0]) < lines.index("| slow | 100.0 / 100.0 | 200.0 / 200.0 |"), "the fastest first"
    assert lines[-1] == "- tensorrt_rtx fp32: not measured, builds for 7.5, 8.0; got 9.0"
    alone = bench.section("uva-32", bench.Measured(remarks=["nothing"]))
    assert alone.splitlines() == ["### uva-32 on the GPU", "", "", "- nothing"]


def test_a_run_is_written_between_its_marks(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    facts = GpuFacts("580.65.06", "13.0", (Gpu("NVIDIA H200", "9.0", 141 << 30),))
    monkeypatch.setattr(bench, "probe_gpus", lambda: facts)
    monkeypatch.setattr(
        bench, "measure_bundle", lambda name, arguments: bench.Measured(remarks=[f"{name}: no"])
    )
    assert bench.main(["--sizes", "32", "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "NVIDIA H200 (compute capability 9.0, 141 GiB), driver: 580.65.06 (CUDA 13.0)" in text
    assert "uva-32: no" in capsys.readouterr().out
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="expected the marks"):
        bench.main(["--sizes", "32", "--write", str(page)])


def test_the_page_has_the_marks(bench: Any) -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert text.count(bench.BEGIN) == text.count(bench.END) == 1


def test_what_can_not_be_measured_is_a_remark(bench: Any, tmp_path: Path) -> None:
    """On a machine without a GPU: every backend by its own words, and torch."""
    if bench.probe_gpus().usable:
        pytest.skip("there is a GPU")
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    from contextlib import ExitStack

    with ExitStack() as stack:
        entries, remarks = bench._entries("uva-32", tmp_path, None, stack)
    assert entries == []
    assert len(remarks) == 3 * 3 + 1
    assert remarks[0].startswith("tensorrt fp32: not measured, ")
    assert remarks[-1].startswith("torch: not measured, RuntimeError: torch ")


def test_a_session_is_measured_with_its_state_kept(bench: Any) -> None:
    """The step of a backend, on sessions that only count."""
    from types import SimpleNamespace

    from uva_edge.bundle import Bundle

    seen: list[tuple[str, int, Any]] = []

    def session(name: str) -> Any:
        def run(kind: str, frames: np.ndarray, state: Any) -> tuple[None, str]:
            seen.append((kind, len(frames), state if isinstance(state, str) else "blank"))
            return None, f"after {kind}"

        return SimpleNamespace(
            run=lambda frames, state: run(f"{name} host", frames, state),
            run_on_device=lambda frames, state: run(f"{name} gpu", frames, state),
            info=SimpleNamespace(details={"frames_per_call": "1 to 4"}),
        )

    entry = bench._entry("it", session("step"), session("clip"), Bundle.shipped("uva-32"))
    frame = np.zeros((1, 32, 32, 3), np.uint8)
    for _ in range(2):
        entry.on_gpu(frame)
        entry.on_host(frame)
    entry.clip(np.zeros((10, 32, 32, 3), np.uint8))
    assert seen == [
        ("step gpu", 1, "blank"),
        ("step host", 1, "blank"),
        ("step gpu", 1, "after step gpu"),
        ("step host", 1, "after step host"),
        ("clip gpu", 4, "blank"),
        ("clip gpu", 4, "after clip gpu"),
        ("clip gpu", 2, "after clip gpu"),
    ]
