"""The table of benchmarks/peers.py."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from peers_runners import Runner
from performance import percentiles

from uva_edge import __version__, environment
from uva_edge.data.footage import Footage

HEADS: Final = (
    "model", "input", "ms a frame p50 / p95", "FPS", "x torch", "golden: max error, least CC",
    "OSIE NSS / CC / AUC", "SUN-500 NSS / CC / AUC", "clips CC", "install MB", "cold start ms", "peak MB",
)  # fmt: skip


@dataclass
class Row:
    """One line of the table.

    Attributes:
        input: the size of the frames that it is timed on.
        refused: why it has no figures; "" where it has.
        seconds: of a frame, in each round.
        ratio: how many times faster than the reference, 0.0 where that did not run.
        golden: how near its maps of the golden clip are.
        scores: data set -> metric -> mean.
        install: bytes beyond the base installation.
        cold: seconds from the start of the process to the first map.
        memory: bytes, the most that the process had.
    """

    runner: Runner
    bundle: str
    input: str
    refused: str = ""
    seconds: list[float] = field(default_factory=list)
    ratio: float = 0.0
    golden: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    install: int = 0
    cold: float = 0.0
    memory: int = 0


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Ours and those with our weights by resolution, the fastest first; then the other models."""

    def place(row: Row) -> tuple[bool, str, bool, float]:
        speed = statistics.median(row.seconds) if row.seconds else 0.0
        return not row.runner.ours, row.bundle, bool(row.refused), speed

    yield f"| {' | '.join(HEADS)} |"
    yield "|---" * len(HEADS) + "|"
    for row in sorted(rows, key=place):
        name = f"{row.bundle} {row.runner.name}" if row.runner.ours else row.runner.name
        refused = row.refused.replace("|", "/")  # which would end the cell
        cells = [f"not measured: {refused}"] if refused else list(_cells(row))
        yield f"| {' | '.join([name, row.input, *cells])}" + " |" * (len(HEADS) - 1 - len(cells))


def _cells(row: Row) -> Iterator[str]:
    p50, p95 = percentiles(row.seconds, 50, 95)
    yield f"{p50:.3f} / {p95:.3f}"
    yield f"{1e3 / p50:.0f}" if p50 < 100 else f"{1e3 / p50:.1f}"
    yield f"{row.ratio:.{1 if row.ratio >= 1 else 2}f}" if row.ratio else ""
    yield row.golden
    for dataset in ("osie", "sun500"):
        found = row.scores.get(dataset, {})
        yield " / ".join(f"{found[name]:.3f}" for name in ("nss", "cc", "auc") if name in found)
    teacher = row.scores.get("clips", {}).get("teacher_cc")
    yield f"{teacher:.3f}" if teacher is not None else ""
    yield f"{row.install / 1e6:.0f}"
    yield f"{row.cold * 1e3:.0f}"
    yield f"{row.memory / 1e6:.0f}"


def machine(load: float, rows: Sequence[Row], footage: Sequence[Footage]) -> str:
    """What was measured on, with which versions and which footage."""
    cpu = environment.probe_cpu()
    versions = sorted({pair for row in rows for pair in row.versions.items()})
    counts = Counter(item.dataset for item in footage)
    scored = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "none"
    return (
        f"Machine: {cpu.model}, class {cpu.processor_class}, one thread. Load before the run: {load:.2f}. "
        f"uva_edge {__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}, "
        f"{', '.join(f'{name} {version}' for name, version in versions)}. "
        f"Stills and clips of the val split that are scored: {scored}."
    )
