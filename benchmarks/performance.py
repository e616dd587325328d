"""Measure every backend on this machine and write the tables of docs/performance.md.

    python benchmarks/performance.py [--write docs/performance.md] [--rounds 30]

Per resolution, thread count and T: milliseconds per frame of the session alone, and end to end from 1080p BGR
frames to maps, as p50 and p95 over rounds. In a round every backend runs once, so that whatever else the
machine does falls on all of them alike; the ratio to torch eager is the median of the ratios within the
rounds. Every round has frames of its own, and the first two of each table are not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge import Bundle, SaliencyPredictor, __version__, environment
from uva_edge.data.synthetic import AerialScene
from uva_edge.preprocess import network_input
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.registry import BACKENDS
from uva_edge.runtimes.selection import Plan, plan_for

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
REFERENCE = "torch"
BUNDLES = {32: "uva-32", 64: "uva-64"}
LENGTHS = (1, 32)
WARM_UP = 2
COLD_STARTS = 7

Times = dict[str, list[float]]


@dataclass(frozen=True)
class Row:
    """Milliseconds per frame of one backend in one table."""

    backend: str
    session: tuple[float, ...]
    session_ratio: float
    end_to_end: tuple[float, ...]
    end_to_end_ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the measured part of this page")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    camera = [frame.image for frame in AerialScene(seed=1, size=(1920, 1080)).frames(max(LENGTHS))]
    sections = [_machine(), _preprocessing(camera)]
    for side, bundle in BUNDLES.items():
        for threads in (1, 2):
            if threads > environment.usable_cores():
                sections.append(f"R = {side}, {threads} threads: not measured, the process may use one core.")
                continue
            for length in LENGTHS:
                rounds = arguments.rounds if length == 1 else max(8, arguments.rounds // 3)
                rows = measure(bundle, camera, threads, length, rounds)
                sections.append(
                    _table(f"{bundle}, {threads} thread{'s' * (threads > 1)}, T = {length}", rows)
                )
    sections.append(_cold_start())
    page = "\n\n".join(sections)
    print(page)
    if arguments.write:
        replace_between(arguments.write, BEGIN, END, page)


def measure(
    bundle: str, camera: list[NDArray[np.uint8]], threads: int, length: int, rounds: int
) -> list[Row]:
    """One table: all installed backends in all precisions that the bundle has for them, interleaved."""
    plans = _plans(bundle)
    names = list(plans)
    predictors = {
        name: SaliencyPredictor(
            bundle, backend=plan.backend.name, precision=plan.clip.precision, threads=threads
        )
        for name, plan in plans.items()
    }
    session_times, total_times = _session_times(bundle, plans, threads, camera, length, rounds), Times()
    for name in names:
        total_times[name] = []
    calls = {name: _end_to_end(predictor, length) for name, predictor in predictors.items()}
    _interleave(calls, total_times, camera, length, rounds)
    for predictor in predictors.values():
        predictor.close()
    return [
        Row(
            name,
            percentiles(session_times[name], 50, 95),
            _ratio(session_times, name),
            percentiles(total_times[name], 50, 95),
            _ratio(total_times, name),
        )
        for name in names
    ]


def _plans(bundle: str) -> dict[str, Plan]:
    """By what a table calls them; float32 has no word of its own."""
    tried = {
        name if precision == "fp32" else f"{name} {precision}": plan_for(
            Bundle.open(bundle), backend, precision
        )
        for name, backend in BACKENDS.items()
        for precision in ("fp32", "int8")
    }
    return {label: plan for label, plan in tried.items() if isinstance(plan, Plan)}


def _session_times(
    bundle: str,
    plans: dict[str, Plan],
    threads: int,
    camera: list[NDArray[np.uint8]],
    length: int,
    rounds: int,
) -> Times:
    """The engines alone, on inputs that are ready, the state chained."""
    calls: dict[str, Callable[[list[NDArray[np.uint8]]], object]] = {}
    opened = Bundle.open(bundle)
    for name, plan in plans.items():
        artifact = plan.step if length == 1 else plan.clip
        session = plan.backend.load(opened, artifact, SessionOptions(threads=threads))
        state = [np.zeros(opened.manifest.contract.state_shape, np.float32)]

        def call(inputs: list[NDArray[np.uint8]], session=session, state=state) -> None:  # type: ignore[no-untyped-def]
            state[0] = session.run(inputs[0], state[0])[1]

        calls[name] = call
    inputs = np.stack([network_input(frame, opened.manifest.contract.resolution) for frame in camera])
    times: Times = {name: [] for name in plans}
    for round_ in range(rounds * (8 if length == 1 else 1) + WARM_UP):
        chunk = np.roll(inputs, round_, axis=0)[:length].copy()
        for name, call in calls.items():
            start = time.perf_counter()
            call([chunk])
            if round_ >= WARM_UP:
                times[name].append((time.perf_counter() - start) / length)
    return times


def _end_to_end(predictor: SaliencyPredictor, length: int) -> Callable[[list[NDArray[np.uint8]]], object]:
    if length > 1:
        return lambda frames: predictor.predict_clip(frames, batch=length)
    stream = predictor.stream()
    return lambda frames: stream.push(frames[0]).map


def _interleave(
    calls: dict[str, Callable[[list[NDArray[np.uint8]]], object]],
    times: Times,
    camera: list[NDArray[np.uint8]],
    length: int,
    rounds: int,
) -> None:
    for round_ in range(rounds * (8 if length == 1 else 1) + WARM_UP):
        start = round_ % len(camera)
        frames = (camera[start:] + camera[:start])[:length]
        for name, call in calls.items():
            begin = time.perf_counter()
            call(frames)
            if round_ >= WARM_UP:
                times[name].append((time.perf_counter() - begin) / length)


def percentiles(seconds: Sequence[float], *ranks: int) -> tuple[float, ...]:
    """In milliseconds."""
    return tuple(float(value) for value in np.percentile(seconds, ranks) * 1e3)


def _ratio(times: Times, name: str) -> float:
    """How many times faster than the reference, as the median of the rounds."""
    return statistics.median(
        reference / ours for reference, ours in zip(times[REFERENCE], times[name], strict=True)
    )


def _table(title: str, rows: list[Row]) -> str:
    lines = [
        f"### {title}",
        "",
        "| backend | session p50 / p95 ms | x torch | 1080p frame to map p50 / p95 ms | x torch | FPS |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.end_to_end[0]):
        session = "{:.3f} / {:.3f}".format(*row.session)
        total = "{:.3f} / {:.3f}".format(*row.end_to_end)
        lines.append(
            f"| {row.backend} | {session} | {row.session_ratio:.1f} | {total} | {row.end_to_end_ratio:.1f} | "
            f"{1e3 / row.end_to_end[0]:.0f} |"
        )
    return "\n".join(lines)


def _machine() -> str:
    cpu = environment.probe_cpu()
    found = {name: backend.installed() for name, backend in BACKENDS.items()}
    versions = ", ".join(f"{name} {item.version}" for name, item in found.items() if item.ok)
    return (
        f"Machine: {cpu.model}, {cpu.cores} usable cores, class {cpu.processor_class}. Load before the run: "
        f"{os.getloadavg()[0]:.2f}. uva_edge {__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}, "
        f"OpenCV {cv2.__version__}, {versions}. Float32 unless said otherwise."
    )


def _preprocessing(camera: list[NDArray[np.uint8]]) -> str:
    rows = [
        "| frame to input, 1080p, one thread | p50 ms | faster than cv2.resize INTER_AREA |",
        "|---|---|---|",
    ]
    # Any bytes of the right shape: what they show makes no difference to the time.
    nv12 = list(np.random.default_rng(0).integers(0, 256, (4, 1620, 1920), dtype=np.uint8))
    for side in BUNDLES:
        for color in ("bgr", "nv12"):
            ours, area = [], []
            for round_ in range(60):
                frame = camera[round_ % len(camera)]
                planes = frame if color == "bgr" else nv12[round_ % len(nv12)]
                start = time.perf_counter()
                network_input(planes, side, color=color)  # type: ignore[arg-type]
                middle = time.perf_counter()
                cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
                area.append(time.perf_counter() - middle)
                ours.append(middle - start)
            ratio = statistics.median(a / b for a, b in zip(area, ours, strict=True))
            rows.append(f"| {color} to {side}x{side} | {statistics.median(ours) * 1e3:.3f} | {ratio:.0f}x |")
    return "\n".join(rows)


_COLD = """
import time, sys
import numpy as np
from uva_edge import SaliencyPredictor
predictor = SaliencyPredictor(sys.argv[1], backend=sys.argv[2])
predictor.predict(np.zeros((1080, 1920, 3), np.uint8))
"""


def _cold_start() -> str:
    lines = [
        "### Cold start: process start to first map and exit",
        "",
        f"Median of {COLD_STARTS}, files in the page cache; bare Python with numpy takes "
        f"{_process_time('import numpy') * 1e3:.0f} ms of it.",
        "",
        "| backend | uva-32 ms | uva-64 ms |",
        "|---|---|---|",
    ]
    for name, backend in BACKENDS.items():
        if backend.installed().ok:
            times = [_process_time(_COLD, bundle, name) * 1e3 for bundle in BUNDLES.values()]
            lines.append(f"| {name} | " + " | ".join(f"{value:.0f}" for value in times) + " |")
    return "\n".join(lines)


def _process_time(code: str, *arguments: str) -> float:
    times = []
    for _ in range(COLD_STARTS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def replace_between(page: Path, begin: str, end: str, measured: str) -> None:
    """Put what was measured between two marks of a page."""
    head, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"{page}: expected the marks {begin} and {end}")
    page.write_text(f"{head}{begin}\n\n{measured}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
