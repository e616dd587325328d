"""`uva-edge predict FOLDER`: an archive of videos."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .outputs import EXIT_DAMAGED_SOURCE, EXIT_INTERRUPTED, Wanted, make_writers, progress_bar
from .shared import print_json

if TYPE_CHECKING:
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.folders import VideoResult


def predict_folder(
    predictor: SaliencyPredictor,
    folder: Path,
    videos: Sequence[Path],
    output: Path,
    wanted: Wanted,
    max_frames: int | None,
    *,
    resume: bool,
    as_json: bool,
) -> None:
    """Predict all videos of a folder, say what was done, and leave with the exit code that tells it.

    Raises:
        SourceError: there are no videos.
    """
    from uva_edge.errors import SourceError
    from uva_edge.runtimes.folders import VIDEO_SUFFIXES, FolderRun

    if not videos:
        raise SourceError(
            f"{folder} holds neither images nor videos; expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}, "
            "or images"
        )
    run = FolderRun(
        predictor,
        folder,
        output,
        partial(make_writers, wanted=wanted),
        _request(predictor, wanted),
        max_frames,
        resume,
    )
    results: list[VideoResult] = []
    start, interrupted = time.perf_counter(), False
    try:
        for number, video in enumerate(videos, 1):
            with progress_bar(f"{number}/{len(videos)} {video.name}") as progress:
                results.append(run.predict(video, progress=progress))
            _tell(results[-1], as_json)
    except KeyboardInterrupt:
        interrupted = True
    _summary(predictor, results, len(videos), time.perf_counter() - start, as_json)
    if interrupted:
        click.echo(
            "interrupted; the videos that were finished are complete, --resume does the others", err=True
        )
        sys.exit(EXIT_INTERRUPTED)
    if any(result.problem for result in results):
        sys.exit(EXIT_DAMAGED_SOURCE)


def _request(predictor: SaliencyPredictor, wanted: Wanted) -> dict[str, Any]:
    """What results depend on, besides the video."""
    info = predictor.info
    return {
        "bundle": predictor.bundle.sha256,
        "backend": info.backend,
        "precision": info.precision,
        "save": list(wanted.kinds),
        "peaks": wanted.peaks,
        "alpha": wanted.alpha,
    }


def _tell(result: VideoResult, as_json: bool) -> None:
    if result.problem:
        click.echo(f"uva-edge: {result.video}: {result.problem}", err=True)
    if result.output is not None and not as_json:
        click.echo(str(result.output))


def _summary(
    predictor: SaliencyPredictor, results: Sequence[VideoResult], count: int, seconds: float, as_json: bool
) -> None:
    done = [result for result in results if not result.skipped]
    frames = sum(result.frames for result in done)
    fps = frames / max(seconds, 1e-9)
    if as_json:
        videos = [
            {**asdict(result), "output": str(result.output) if result.output else None} for result in results
        ]
        totals = {"files": count, "frames": frames, "seconds": seconds, "fps": fps, "videos": videos}
        print_json({"bundle": predictor.bundle.name, "engine": predictor.info.as_dict(), **totals})
        return
    info, skipped = predictor.info, len(results) - len(done)
    damaged = [result for result in results if result.problem]
    click.echo(
        f"{len(done)} of {count} videos{f' ({skipped} were finished before)' if skipped else ''}, {frames} frames in "
        f"{seconds:.1f} s, {fps:.1f} FPS end to end with {predictor.bundle.name} on {info.engine}, {info.precision}, "
        f"threads {info.threads}",
        err=True,
    )
    if damaged:
        click.echo(f"{len(damaged)} damaged:", err=True)
        for result in damaged:
            kept = f"{result.frames} frames kept" if result.output else "nothing kept"
            click.echo(f"  {result.video} ({kept})", err=True)
