"""Measure every GPU backend on this machine's first GPU, and write the tables of docs/performance.md.

    python benchmarks/gpu.py [--write docs/performance.md] [--sizes 32,64,96,128,256] [--data DATA]

Two tables for each resolution. Latency: one frame from the host's memory in, its map on the GPU, and its map on the
host, p50 and p99 over the calls. Throughput: frames per second with T frames a call, maps on the GPU, by the median
call. All calls are waited for. The frames of every call are others than those of the last, in buffers of their own;
states are chained. In a round everything runs once, so that the clock falls on all alike; the first rounds are not
counted. Beside the backends run torch eager, and torch.compile with CUDA graphs, in the same rounds.

TensorRT's engines are built first, for this GPU; INT8 needs footage to calibrate with, as uva-edge export does. What
can't be measured stands below the tables with its own words. Without a GPU the exit code is 3.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from performance import percentiles, replace_between

from uva_edge import Bundle, __version__
from uva_edge.errors import UvaEdgeError
from uva_edge.gpu import GpuFacts, probe_gpus
from uva_edge.runtimes.backend import GpuSession, SessionOptions
from uva_edge.runtimes.engines import WORDS
from uva_edge.runtimes.registry import BACKENDS, GPU
from uva_edge.runtimes.selection import Plan, plan_for

BEGIN, END = "<!-- measured on a GPU: begin -->", "<!-- measured on a GPU: end -->"
NO_GPU: Final = 3
PRECISIONS: Final = ("fp32", "fp16", "int8")
POOL: Final = 64
"""Distinct inputs that the calls take in turn."""

Frames: TypeAlias = NDArray[np.uint8]
Step: TypeAlias = Callable[[Frames], object]
"""Some frames through an engine, the state kept by it; done when it returns."""


@dataclass
class Entry:
    """Something to measure: T = 1 with its map on the GPU and on the host, and T of any number on the GPU."""

    name: str
    on_gpu: Step
    on_host: Step
    clip: Step


@dataclass
class Measured:
    """Of one resolution: seconds of each call, by entry; and what could not be measured."""

    on_gpu: dict[str, list[float]] = field(default_factory=dict)
    on_host: dict[str, list[float]] = field(default_factory=dict)
    clips: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parse(words)
    facts = probe_gpus()
    if not facts.usable:
        print(f"no GPU: {facts.problem}; {facts.fix}", file=sys.stderr)
        return NO_GPU
    sections = [machine(facts)]
    for side in arguments.sizes:
        sections.append(section(f"uva-{side}", measure_bundle(f"uva-{side}", arguments)))
        print(sections[-1], flush=True)
    if arguments.write:
        replace_between(arguments.write, BEGIN, END, "\n\n".join(sections))
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="replace the part of this page that was measured on a GPU")
    parser.add_argument(
        "--sizes", type=_numbers, default=(32, 64, 96, 128, 256), help="resolutions of bundles"
    )
    parser.add_argument(
        "--lengths", type=_numbers, default=(8, 64, 512), help="frames a call, for throughput"
    )
    parser.add_argument(
        "--rounds", type=int, default=1000, help="calls of T = 1; a tenth as many of the others"
    )
    parser.add_argument("--data", help="footage for INT8 engines, as of uva-edge export")
    return parser.parse_args(words)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1 with commas between, got {text}")
    return numbers


# --- measuring ------------------------------------------------------------------------------------------


def measure_bundle(name: str, arguments: argparse.Namespace) -> Measured:
    """All backends in all precisions that the bundle has or engines are built for, and torch."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uva-edge-gpu-")))
        entries, remarks = _entries(name, place, arguments.data, stack)
        inputs = _inputs(Bundle.open(name))
        found = measure(entries, inputs, arguments.lengths, arguments.rounds)
        found.remarks = remarks
        return found


def measure(
    entries: Sequence[Entry],
    inputs: Frames,
    lengths: Sequence[int],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Run everything in turns, on the pool of inputs."""
    found = Measured()
    single = {entry.name: entry.on_gpu for entry in entries}
    found.on_gpu = _in_turns(single, inputs, 1, rounds, clock)
    found.on_host = _in_turns({entry.name: entry.on_host for entry in entries}, inputs, 1, rounds, clock)
    for length in lengths:
        clips = {entry.name: entry.clip for entry in entries}
        found.clips[length] = _in_turns(clips, inputs, length, max(10, rounds // 10), clock)
    return found


def _in_turns(
    steps: Mapping[str, Step], inputs: Frames, length: int, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    warm_up = max(3, rounds // 10)
    chunks = [
        np.take(inputs, range(start, start + length), axis=0, mode="wrap") for start in range(min(8, POOL))
    ]
    if length == 1:
        chunks = [frame[None].copy() for frame in inputs]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + warm_up):
        for name, step in steps.items():
            chunk = chunks[round_ % len(chunks)]
            start = clock()
            step(chunk)
            if round_ >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def _inputs(bundle: Bundle) -> Frames:
    rows, columns = bundle.manifest.contract.grid
    noise = np.random.default_rng(0).integers(0, 64, (POOL, rows, columns, 3), dtype=np.uint8)
    golden = bundle.golden().frames
    return np.clip(np.resize(golden, noise.shape).astype(np.int16) + noise - 32, 0, 255).astype(np.uint8)


# --- what is measured -----------------------------------------------------------------------------------


def _entries(name: str, place: Path, data: str | None, stack: ExitStack) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    remarks: list[str] = []
    for backend, precision in product((BACKENDS[item] for item in GPU), PRECISIONS):
        label = f"{backend.name} {precision}"
        try:
            probed = backend.probe()
            if not probed.ok:
                raise UvaEdgeError(f"{probed.reason}; {probed.fix}")
            bundle = Bundle.open(name)
            if backend.name in WORDS:
                bundle = _built(name, place / label.replace(" ", "-"), backend.name, precision, data)
            plan = plan_for(bundle, backend, precision)
            if not isinstance(plan, Plan):
                raise UvaEdgeError(plan.reason)
            sessions: list[Any] = []
            for artifact in (plan.step, plan.clip):
                sessions.append(backend.load(bundle, artifact, SessionOptions()))
                stack.callback(sessions[-1].close)
            entries.append(_entry(label, *sessions, bundle))
        except UvaEdgeError as error:
            remarks.append(f"{label}: not measured, {error}")
    try:
        entries += _torch(Bundle.open(name))
    except Exception as error:  # whatever torch has against this GPU
        remarks.append(f"torch: not measured, {type(error).__name__}: {error}")
    return entries, remarks


def _built(name: str, place: Path, flavour: str, precision: str, data: str | None) -> Bundle:
    """The bundle with engines for this GPU; raises OptionError where its package does not know the GPU."""
    from uva_edge.data.sources import open_footage
    from uva_edge.export.artifacts import Splits
    from uva_edge.export.bundles import export_bundle
    from uva_edge.export.tensorrt import EngineOptions
    from uva_edge.runtimes.engines import capability_here

    word = WORDS[flavour] if precision == "fp32" else f"{WORDS[flavour]}-{precision}"
    splits = (
        Splits(partial(open_footage, data, "train"), partial(open_footage, data, "val")) if data else None
    )
    options = EngineOptions(capabilities=(capability_here(),) if flavour == "tensorrt_rtx" else ())
    return export_bundle(name, place, name=name, to=(word,), splits=splits, engines=options)


def _entry(label: str, step: GpuSession, clip: GpuSession, bundle: Bundle) -> Entry:
    blank = np.zeros(bundle.manifest.contract.state_shape, bundle.manifest.contract.state_in.dtype)
    states: dict[str, Any] = {"on_gpu": blank, "on_host": blank, "clip": blank}

    def on_gpu(frames: Frames) -> None:
        _, states["on_gpu"] = step.run_on_device(frames, states["on_gpu"])

    def on_host(frames: Frames) -> None:
        _, states["on_host"] = step.run(frames, states["on_host"])

    def many(frames: Frames) -> None:
        # An engine's longest call is its own: more frames are several calls.
        most = int(
            clip.info.details.get("frames_per_call", f"to {len(frames)}").split(" to ")[-1].split()[-1]
        )
        for start in range(0, len(frames), most):
            _, states["clip"] = clip.run_on_device(frames[start : start + most], states["clip"])

    return Entry(label, on_gpu, on_host, many)


def _torch(bundle: Bundle) -> list[Entry]:
    """The network itself, eager and compiled with CUDA graphs, in float32 without TF32 and in float16."""
    import torch

    from uva_edge.models.families import load_step

    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} can't use this GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    weights = bundle.read(next(item for item in bundle.manifest.artifacts if item.format == "torch").files[0])
    entries = []
    for half, compiled in product((False, True), (False, True)):
        network: Any = load_step(bundle.manifest.network.family, weights).cuda()
        if compiled:
            network = torch.compile(network, mode="reduce-overhead")
        name = f"torch {'compile + CUDA graphs' if compiled else 'eager'} {'fp16' if half else 'fp32'}"
        shape = bundle.manifest.contract.state_shape
        steps = (_TorchStep(network, shape, half=half, to_host=to_host) for to_host in (False, True, False))
        entries.append(Entry(name, *steps))
    return entries


class _TorchStep:
    """A network on the GPU with a state of its own."""

    def __init__(self, network: Any, shape: tuple[int, ...], *, half: bool, to_host: bool) -> None:
        import torch

        self._torch: Any = torch
        self._network, self._half, self._to_host = network, half, to_host
        self._state = torch.zeros(shape, device="cuda")

    def __call__(self, frames: Frames) -> None:
        torch = self._torch
        pinned = torch.from_numpy(frames).pin_memory()
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._half):
            torch.compiler.cudagraph_mark_step_begin()
            maps, state = self._network(pinned.to("cuda", non_blocking=True), self._state)
            self._state = state.float().clone()  # a graph's outputs are overwritten by its next replay
            if self._to_host:
                maps.cpu()
        torch.cuda.synchronize()


# --- telling --------------------------------------------------------------------------------------------


def section(title: str, found: Measured) -> str:
    """The tables of one resolution."""
    lines = [f"### {title} on the GPU", ""]
    if found.on_gpu:
        lines += ["| T = 1 | map on the GPU p50 / p99 µs | map on the host p50 / p99 µs |", "|---|---|---|"]
        for name in sorted(found.on_gpu, key=lambda name: statistics.median(found.on_gpu[name])):
            cells = (_micro(found.on_gpu[name]), _micro(found.on_host[name]))
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lengths = list(found.clips)
        lines += ["", f"| frames per second | {' | '.join(f'T = {length}' for length in lengths)} |"]
        lines.append("|---|" + "---|" * len(lengths))
        for name in found.on_gpu:
            rates = (f"{length / statistics.median(found.clips[length][name]):,.0f}" for length in lengths)
            lines.append(f"| {name} | {' | '.join(rates)} |")
    lines += ["", *(f"- {remark}" for remark in found.remarks)] if found.remarks else []
    return "\n".join(lines)


def _micro(seconds: Sequence[float]) -> str:
    return " / ".join(f"{value * 1e3:.1f}" for value in percentiles(seconds, 50, 99))


def machine(facts: GpuFacts) -> str:
    versions = ", ".join(
        f"{name} {BACKENDS[name].installed().version}" for name in GPU if BACKENDS[name].installed().ok
    )
    return f"GPU: {facts}. uva_edge {__version__}, numpy {np.__version__}, {versions or 'no GPU backend'}."


if __name__ == "__main__":
    sys.exit(main())
