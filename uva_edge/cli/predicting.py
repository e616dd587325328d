"""`uva-edge demo` and `uva-edge predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uva_edge.errors import OptionError

from .folders import predict_folder
from .outputs import EXIT_DAMAGED_SOURCE, EXIT_INTERRUPTED, Wanted, make_writers, progress_bar
from .shared import json_option, open_predictor, parse_size, predictor_options, print_json

if TYPE_CHECKING:
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.processing import Report
    from uva_edge.runtimes.sources import Source


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
    with open_predictor(options) as predictor, progress_bar("flight") as progress:
        result = run_demo(
            predictor, output, frames=frames, size=parse_size(size), seed=seed, progress=progress
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
@click.option("--max-frames", type=int, help="Stop after so many frames (of each video).")
@click.option("--peaks", default=3, show_default=True, help="Peaks per frame, in the table and ringed.")
@click.option("--alpha", default=0.5, show_default=True, help="Opacity of the heat, 0 to 1.")
@click.option("--resume", is_flag=True, help="Of a folder of videos, leave out those that are finished.")
@predictor_options
@json_option
def predict(
    source: str,
    output: Path | None,
    save: str,
    max_frames: int | None,
    peaks: int,
    alpha: float,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the saliency of SOURCE.

    SOURCE is a video, an image, a folder of images, a folder of videos (with those in its folders), a camera number,
    or a URL such as rtsp://... .
    """
    from uva_edge.runtimes.folders import find_videos, is_archive
    from uva_edge.runtimes.processing import process
    from uva_edge.runtimes.sources import is_folder, open_source

    wanted = Wanted(save, peaks, alpha)
    if is_folder(source) and is_archive(Path(source)):
        folder = Path(source).resolve()
        place = (output or Path("out") / folder.name).resolve()
        videos = find_videos(folder, leave_out=place)
        with open_predictor(options) as predictor:
            predict_folder(
                predictor, folder, videos, place, wanted, max_frames, resume=resume, as_json=as_json
            )
        return
    if resume:
        raise OptionError(f"--resume is for a folder of videos; {source} is none")
    with open_predictor(options) as predictor, open_source(source, max_frames=max_frames) as frames:
        directory = output or Path("out") / _stem(frames)
        writers = make_writers(frames, directory, wanted)
        with predictor.stream() as stream, progress_bar(frames.name) as progress:
            report = process(frames, stream.push, writers, progress=progress)
    _finish(predictor, report, as_json)


def _stem(source: Source) -> str:
    if source.path is not None:
        return source.path.stem or source.kind
    return "".join(letter if letter.isalnum() else "-" for letter in source.name)[:64]


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
