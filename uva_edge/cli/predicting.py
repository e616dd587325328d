"""`uva-edge demo` and `uva-edge predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uva_edge.errors import OptionError, UvaEdgeError

from .shared import json_option, make_console, open_predictor, predictor_options, print_json

if TYPE_CHECKING:
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.processing import Progress, Report
    from uva_edge.runtimes.sources import Source
    from uva_edge.runtimes.writers import Writer

EXIT_DAMAGED_SOURCE = 3
EXIT_INTERRUPTED = 130
_SAVES = ("video", "csv", "npy", "png")


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True)
@click.option("--seconds", default=12.0, show_default=True, help="Length of the flight.")
@click.option("--size", default="960x540", show_default=True, help="Frame size, WIDTHxHEIGHT.")
@click.option("--seed", default=7, show_default=True, help="Another seed is another landscape.")
@predictor_options
@json_option
def demo(output: Path, seconds: float, size: str, seed: int, as_json: bool, **options: Any) -> None:
    """Render a synthetic drone flight, predict it, and write a video and a contact sheet."""
    from uva_edge.demo import FPS, run_demo

    frames = round(seconds * FPS)
    if not 1 <= frames <= 100_000:
        raise OptionError(f"--seconds must be from {1 / FPS} to 4000, got {seconds}")
    with open_predictor(options) as predictor, _progress_bar("flight") as progress:
        result = run_demo(
            predictor, output, frames=frames, size=_parse_size(size), seed=seed, progress=progress
        )
    _finish(predictor, result.report, as_json, extra=[result.sheet])


@click.command()
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Directory of the results  [default: out/SOURCE]"
)
@click.option(
    "--save",
    default="video,csv",
    show_default=True,
    help="What to write, of video (overlay.mp4, or overlay.png of an image), csv (peaks), npy (all maps in one "
    "array), png (one map a file).",
)
@click.option("--max-frames", type=int, help="Stop after so many frames.")
@click.option("--peaks", default=3, show_default=True, help="Peaks per frame, in the table and ringed.")
@click.option("--alpha", default=0.5, show_default=True, help="Opacity of the heat, 0 to 1.")
@predictor_options
@json_option
def predict(
    source: str,
    output: Path | None,
    save: str,
    max_frames: int | None,
    peaks: int,
    alpha: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the saliency of SOURCE.

    SOURCE is a video, an image, a folder of images, a camera number, or a URL such as rtsp://... .
    """
    from uva_edge.runtimes.processing import process
    from uva_edge.runtimes.sources import open_source

    with open_predictor(options) as predictor, open_source(source, max_frames=max_frames) as frames:
        directory = output or Path("out") / _stem(frames)
        writers = _writers(frames, directory, save, peaks=peaks, alpha=alpha)
        with predictor.stream() as stream, _progress_bar(frames.name) as progress:
            report = process(frames, stream.push, writers, progress=progress)
    _finish(predictor, report, as_json)


def _parse_size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and len(text) < 20):
        raise OptionError(f"--size must be WIDTHxHEIGHT, such as 960x540; got {text!r}")
    return int(width), int(height)


def _stem(source: Source) -> str:
    if source.path is not None:
        return source.path.stem or source.kind
    return "".join(letter if letter.isalnum() else "-" for letter in source.name)[:64]


def _writers(source: Source, directory: Path, save: str, *, peaks: int, alpha: float) -> list[Writer]:
    from uva_edge.runtimes.sources import NOMINAL_FPS
    from uva_edge.runtimes.writers import MapArray, MapImages, OverlayImage, OverlayVideo, PeakTable

    wanted = [name for name in save.split(",") if name]
    if not wanted or not set(wanted) <= set(_SAVES):
        raise OptionError(f"--save takes {', '.join(_SAVES)}, separated by commas; got {save!r}")
    _make_directory(directory)
    fps = source.fps or NOMINAL_FPS
    makers: dict[str, Callable[[], Writer]] = {
        "video": (lambda: OverlayImage(directory / "overlay.png", alpha=alpha, peaks=peaks))
        if source.kind == "image"
        else (lambda: OverlayVideo(directory / "overlay.mp4", fps, alpha=alpha, peaks=peaks)),
        "csv": lambda: PeakTable(directory / "peaks.csv", peaks=peaks),
        "npy": lambda: MapArray(directory / "maps.npy"),
        "png": lambda: MapImages(directory / "maps"),
    }
    writers: list[Writer] = []
    try:
        for name in dict.fromkeys(wanted):
            writers.append(makers[name]())
    except UvaEdgeError:
        for writer in writers:
            writer.discard()
        raise
    return writers


def _make_directory(directory: Path) -> None:
    from uva_edge.errors import OutputError

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory}: the directory can't be made: {error.strerror}; choose another -o"
        ) from None


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and remaining time, on standard error; a bare count where the end is unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} FPS"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=make_console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, fps=0.0)

        def update(now: Progress) -> None:
            bar.update(task, completed=now.frames, total=now.total, fps=now.fps)

        yield update


def _finish(
    predictor: SaliencyPredictor, report: Report, as_json: bool, extra: list[Path] | None = None
) -> None:
    """Say what was done and leave with the exit code that tells it."""
    outputs = [*report.outputs, *(extra or [])]
    if as_json:
        from dataclasses import asdict

        facts = {**asdict(report), "outputs": [str(path) for path in outputs]}
        print_json({"bundle": predictor.bundle.name, "engine": predictor.info.as_dict(), **facts})
    else:
        info = predictor.info
        stages = ", ".join(f"{name} {stage.p50_ms:.2f}" for name, stage in report.stages.items())
        click.echo(
            f"{report.frames} frames at {report.fps:.1f} FPS with {predictor.bundle.name} on {info.engine}, "
            f"{info.precision}, threads {info.threads}; median ms a frame: {stages}",
            err=True,
        )
        for path in outputs:
            click.echo(str(path))
    if report.problem:
        click.echo(f"uva-edge: {report.problem}", err=True)
    if report.interrupted:
        click.echo("interrupted; what was finished is complete", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if report.problem:
        sys.exit(EXIT_DAMAGED_SOURCE)
