"""The generated C beside the engines, one frame at a time on one core, and how near it is to what the core can do.

    python benchmarks/native.py [--rounds 40] [--write docs/native.md]

All run in turns in one process, the state chained, on frames that differ. The peak is that of the kernels' own
multiply-add, on registers alone.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from accuracy import DOCS, replace_between
from numpy.typing import NDArray
from performance import percentiles

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.runtimes.backend import Session, SessionOptions
from uva_edge.runtimes.native.build import FLAGS, compile_source, find_compiler, probe_compiler
from uva_edge.runtimes.native.compiled import Model
from uva_edge.runtimes.native.constants import constants_of
from uva_edge.runtimes.native.session import source_of
from uva_edge.runtimes.native.source import Facts, Source, fragment
from uva_edge.runtimes.registry import BACKENDS
from uva_edge.runtimes.selection import Plan, plan_for

MARK: Final = "speed"
BUNDLES: Final = ("uva-32", "uva-64")
STEPS: Final = 16
ENGINES: Final = ("native", "onnxruntime", "openvino", "torch")

_PEAK: Final = """
%(start)s
void uva_peak_of(long count, void *out)
{
    %(vector)s sum[10];
    %(vector)s x = %(load)s, w = %(load)s;
    for (int i = 0; i < 10; i++) sum[i] = %(load)s;
    for (long n = 0; n < count; n++) {
        UVA_KEEP(x);
        for (int i = 0; i < 10; i++) sum[i] = %(step)s;
    }
    for (int i = 0; i < 10; i++) uva_store((char *)out + 64 * i, sum[i]);
}
"""
_FLOAT: Final = {"vector": "uva_vector", "load": "uva_load(out)", "step": "uva_multiply_add(x, w, sum[i])"}
_INT8: Final = {"vector": "uva_ints", "load": "uva_load(out)", "step": "uva_dot(sum[i], x, w)"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="replace the measured part of docs/native.md")
    arguments = parser.parse_args()
    cpu = environment.probe_cpu()
    lines = [
        f"Machine: {cpu.model}, class {cpu.processor_class}, one core. {probe_compiler().version}, {' '.join(FLAGS)}.",
        "",
    ]
    for name in BUNDLES:
        lines += [*_table(Bundle.shipped(name), arguments.rounds), ""]
    lines += _end_to_end(arguments.rounds)
    print("\n".join(lines))
    if arguments.write:
        replace_between(DOCS / "native.md", MARK, lines)


def _table(bundle: Bundle, rounds: int) -> list[str]:
    """One bundle: every backend in float32 and int8, and the roofline of ours."""
    frames = bundle.golden().frames
    sessions = dict(_sessions(bundle))
    calls = {name: _chained(session, bundle, frames) for name, session in sessions.items()}
    times = _interleaved(calls, rounds)
    for session in sessions.values():
        session.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        f"| {bundle.name} | us a frame, p50 | p95 | frames/s | beside the fastest engine in float32 | in INT8 |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in times.items():
        p50, p95 = (value * 1e3 for value in percentiles(values, 50, 95))
        ratios = (_ratio(times, name, precision) for precision in ("fp32", "int8"))
        rows.append(f"| {name} | {p50:.0f} | {p95:.0f} | {1e6 / p50:,.0f} | {' | '.join(ratios)} |")
    rows += ["", "| | MACs | constants | GMAC/s | peak of the core | share |", "|---|---|---|---|---|---|"]
    for precision in ("fp32", "int8"):
        plan = plan_for(bundle, BACKENDS["native"], precision)
        assert isinstance(plan, Plan)
        data = bundle.read(plan.clip.files[0])
        facts = Facts.of(
            constants_of(bundle.manifest.network, bundle.manifest.contract, plan.clip.format, data)
        )
        rate, peak = facts.macs / medians[f"native {precision}"] / 1e9, _peak(precision)
        rows.append(
            f"| {precision} | {facts.macs / 1e6:.1f} M | {facts.constant_bytes / 1e3:.0f} KB | {rate:.0f} | "
            f"{peak:.0f} | {rate / peak:.0%} |"
        )
    return rows


def _sessions(bundle: Bundle) -> Iterator[tuple[str, Session]]:
    for name in ENGINES:
        for precision in ("fp32", "int8"):
            plan = plan_for(bundle, BACKENDS[name], precision)
            if isinstance(plan, Plan):
                yield f"{name} {precision}", plan.backend.load(bundle, plan.step, SessionOptions())


def _chained(session: Session, bundle: Bundle, frames: NDArray[np.uint8]) -> Callable[[], None]:
    """Some steps of a stream that never ends."""
    states: list[Any] = [np.zeros(bundle.manifest.contract.state_shape, np.float32)]
    at = [0]

    def steps() -> None:
        for _ in range(STEPS):
            index = at[0] = (at[0] + 1) % len(frames)
            _, states[0] = session.run(frames[index : index + 1], states[0])

    return steps


def _interleaved(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step in each round; the first two rounds are not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if index >= 2:
                times[name].append((time.perf_counter() - start) / STEPS)
    return times


def _ratio(times: dict[str, list[float]], name: str, precision: str) -> str:
    """Median over the rounds of how much faster than the fastest of the others it is."""
    others = [
        other
        for other in times
        if other.endswith(precision) and not other.startswith(("native", "torch")) and other != name
    ]
    if not name.startswith("native") or not others:
        return ""
    fastest = min(others, key=lambda other: statistics.median(times[other]))
    ratios = [theirs / ours for theirs, ours in zip(times[fastest], times[name], strict=True)]
    return f"{statistics.median(ratios):.2f}x"


def _peak(precision: str) -> float:
    """GMAC/s of the kernels' multiply-add on registers."""
    kind, words = ("float", _FLOAT) if precision == "fp32" else ("int8", _INT8)
    start = "\n".join(
        ("#include <stddef.h>\n#include <stdint.h>\n#include <string.h>", fragment("prologue.h"))
    ) + fragment(f"{kind}_kernels.c")
    source = Source("uva_peak", "", _PEAK % {**words, "start": start})
    compiler = find_compiler()
    assert compiler is not None
    output = Path(__file__).with_name(".peak.so")
    try:
        compile_source(source, compiler, ("-O3", "-march=native", "-fPIC", "-shared", "-w"), output)
        run = ctypes.CDLL(str(output)).uva_peak_of
    finally:
        output.unlink(missing_ok=True)
    run.argtypes = (ctypes.c_long, ctypes.c_void_p)
    memory, count = np.zeros(1024, np.uint8), 200_000
    features = environment.probe_cpu().features
    width = 16 if "avx512f" in features else 8 if "avx2" in features else 4
    best = min(_seconds(lambda: run(count, memory.ctypes.data)) for _ in range(30))
    return count * 10 * width * (4 if precision == "int8" else 1) / best / 1e9


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _end_to_end(rounds: int) -> list[str]:
    """In C alone: an NV12 frame of 1920x1080 to the input, and on to the map; each frame from memory of its own."""
    draw = np.random.default_rng(0)
    videos = [draw.integers(0, 256, (1620, 1920), np.uint8) for _ in range(8)]
    rows = [
        "| from 1080p NV12, in C | frame to input, us | step, us | both, us, p50 | p95 |",
        "|---|---|---|---|---|",
    ]
    for name in BUNDLES:
        bundle = Bundle.shipped(name)
        side = bundle.manifest.contract.resolution
        for precision in ("fp32", "int8"):
            plan = plan_for(bundle, BACKENDS["native"], precision)
            assert isinstance(plan, Plan)
            source = source_of(bundle, plan.clip)
            model = Model.load(source, bundle.manifest.contract.state_shape)
            convert = model.functions["frame_nv12"]
            rgb, maps = np.empty((1, side, side, 3), np.uint8), np.empty((1, side, side), np.float32)
            memory = model.blank()
            parts: list[tuple[float, float]] = []
            for index in range(rounds * STEPS):
                video = videos[index % len(videos)]
                taken = _seconds(lambda: convert(video.ctypes.data, 1920, 1080, 1920, 0, rgb.ctypes.data))  # noqa: B023
                parts.append((taken, _seconds(lambda: model.steps(memory, rgb, maps))))  # noqa: B023
            frame, step = (statistics.median(values) * 1e6 for values in zip(*parts, strict=True))
            p50, p95 = (value * 1e3 for value in percentiles([sum(part) for part in parts], 50, 95))
            rows.append(f"| {name} {precision} | {frame:.0f} | {step:.0f} | {p50:.0f} | {p95:.0f} |")
    return rows


if __name__ == "__main__":
    main()
