"""`uva-edge soak`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

import uva_edge

from .outputs import EXIT_INTERRUPTED
from .shared import json_option, make_console, open_predictor, predictor_options, print_json, table

if TYPE_CHECKING:
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.bench.soak import Soak


@click.command()
@click.option(
    "--minutes", default=2.0, show_default=True, help="How long; two at least for memory to be told well."
)
@click.option(
    "--streams", default=8, show_default=True, help="Streams, twins by two; four threads drive them."
)
@click.option("--seed", default=0, show_default=True, help="Of the frames and of what is done when.")
@predictor_options
@json_option
def soak(minutes: float, streams: int, seed: int, as_json: bool, **options: Any) -> None:
    """Run many streams on mixed traffic, and see that none disturbs another and that nothing grows.

    Frames of every color format, size and memory layout go to twin streams; bad frames, clips, batches, resets and
    closed streams come between those of one twin. Maps must be equal bit for bit, every bad frame a FrameError, and
    memory, descriptors and threads must stay as they were. Ctrl-C ends it with what was measured.
    """
    from uva_edge.runtimes.bench.soak import soak as run

    started = datetime.now(timezone.utc)
    with open_predictor(options) as predictor, _progress(minutes * 60) as progress:
        found = run(predictor, seconds=minutes * 60, streams=streams, seed=seed, progress=progress)
        asked = {"minutes": minutes, "streams": streams, "seed": seed}
        document = _document(predictor, found, started, asked)
    if as_json:
        print_json(document)
    else:
        _print(predictor, found)
    if found.interrupted and not found.defect_count:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0 if found.passed else 1)


@contextmanager
def _progress(seconds: float) -> Iterator[Callable[[float, int, int], None]]:
    """A bar of the time with the frames so far, on standard error."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("soak"),
        BarColumn(),
        TextColumn("{task.fields[frames]} frames, {task.fields[defects]} defects"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=make_console(stderr=True)) as bar:
        task = bar.add_task("soak", total=seconds, frames=0, defects=0)

        def update(passed: float, frames: int, defects: int) -> None:
            bar.update(task, completed=passed, frames=frames, defects=defects)

        yield update


def _document(
    predictor: SaliencyPredictor, found: Soak, started: datetime, asked: dict[str, Any]
) -> dict[str, Any]:
    import platform

    from uva_edge.environment import probe_cpu

    return {
        "uva_edge": uva_edge.__version__,
        "started": started.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": asdict(probe_cpu()),
        "bundle": {"name": predictor.bundle.name, "sha256": predictor.bundle.sha256},
        "engine": predictor.info.as_dict(),
        "options": asked,
        "passed": found.passed,
        "problems": found.problems,
        **asdict(found),
    }


def _print(predictor: SaliencyPredictor, found: Soak) -> None:
    console = make_console()
    info = predictor.info
    console.print(
        f"{predictor.bundle.name} on {info.engine}, {info.precision}, {info.threads} threads: {found.seconds:.0f} s",
        markup=False,
    )
    done = {**found.done, "bad frames refused": sum(found.refused.values()), "defects": found.defect_count}
    console.print(table(("what", "times"), [(name, f"{count:,}") for name, count in done.items()]))
    rows = [
        (
            f"{trend.name}{' MB' * (trend.name == 'memory')}",
            f"{trend.first:.1f}",
            f"{trend.last:.1f}",
            f"{trend.per_hour:+.1f} ({trend.low:+.1f} to {trend.high:+.1f})",
            "steady" if trend.steady else "GROWS",
        )
        for trend in found.trends
    ]
    if rows:
        console.print(table(("held", "first", "last", "growth an hour (95 %)", ""), rows))
    for problem in found.problems:
        console.print(f"FAIL, {problem}", markup=False)
    if found.interrupted:
        console.print("interrupted: what was measured until then")
    console.print("PASS" if found.passed else "FAIL")
