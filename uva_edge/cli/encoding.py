"""`uva-edge encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .coding import coding_of, coding_options, tell
from .outputs import progress_bar
from .shared import json_option, open_predictor, predictor_options


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--strength",
    type=float,
    help="QP for each doubling of attention; by default 2 for libx264, 1 for libx265. 0 is plain coding.",
)
@coding_options
@predictor_options
@json_option
def encode(
    source: Path, output: Path, strength: float | None, no_sound: bool, as_json: bool, **options: Any
) -> None:
    """Code the video IN anew, as OUT (.mp4, .mov or .mkv), with its bits where people look."""
    from uva_edge.runtimes.video.encode import encode_video

    coding = coding_of(options)
    with open_predictor(options) as predictor, progress_bar(source.name) as progress:
        report = encode_video(
            predictor,
            source,
            output,
            coding=coding,
            strength=strength,
            sound=not no_sound,
            progress=progress,
        )
    tell(predictor, report, f"{report.bytes} bytes", as_json=as_json)
