"""`uva-edge reframe`."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from uva_edge.errors import OptionError

from .coding import coding_of, coding_options, tell
from .outputs import progress_bar
from .shared import json_option, open_predictor, predictor_options


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--aspect", help="Shape of what is seen, WIDTH:HEIGHT, such as 9:16 or 1:1.")
@click.option("--size", help="Size of OUT in pixels, WIDTHxHEIGHT; by default that of the crop.")
@click.option(
    "--live", is_flag=True, help="Decide by the past alone: one pass, and a crop that follows later."
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a contact sheet of crops to this PNG.")
@coding_options
@predictor_options
@json_option
def reframe(
    source: Path,
    output: Path,
    aspect: str | None,
    size: str | None,
    live: bool,
    sheet: Path | None,
    no_sound: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Crop the video IN to another shape, following where people look, as OUT (.mp4, .mov or .mkv)."""
    from uva_edge.runtimes.video.crop_sheet import CropSheet
    from uva_edge.runtimes.video.reframe import reframe_video
    from uva_edge.runtimes.writers import write_png

    shape = None if aspect is None else Fraction(*_pair("--aspect", aspect, ":", "9:16"))
    pixels = None if size is None else _pair("--size", size, "x", "1080x1920")
    drawing = None if sheet is None else CropSheet()
    coding = coding_of(options)
    with open_predictor(options) as predictor, progress_bar(source.name) as progress:
        report = reframe_video(
            predictor,
            source,
            output,
            aspect=shape,
            size=pixels,
            live=live,
            coding=coding,
            sound=not no_sound,
            sheet=drawing,
            progress=progress,
        )
    if sheet is not None and drawing is not None:
        write_png(sheet, drawing.drawn())
    kept = f"{report.kept:.0%} of attention kept, {report.kept_centred:.0%} in the middle"
    tell(predictor, report, f"{report.cuts} cuts; {kept}", as_json=as_json)


def _pair(option: str, text: str, between: str, example: str) -> tuple[int, int]:
    found = re.fullmatch(rf"([1-9][0-9]{{0,4}}){between}([1-9][0-9]{{0,4}})", text)
    if found is None:
        raise OptionError(f"{option} must be two numbers, such as {example}; got {text!r}")
    return int(found[1]), int(found[2])
