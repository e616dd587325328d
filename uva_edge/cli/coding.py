"""What the commands that code a video anew share: options, and how a run is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uva_edge.errors import OptionError

from .outputs import EXIT_DAMAGED_SOURCE
from .shared import print_json

if TYPE_CHECKING:
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.video.movie_writer import Coding

Command = TypeVar("Command", bound=Callable[..., Any])

_BITRATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([kM]?)")
_DEFAULT_CRF = 23.0


def coding_options(command: Command) -> Command:
    """The options of every command that writes a video anew; `coding_of` takes them out of all options."""
    for option in (
        click.option("--no-sound", is_flag=True, help="Leave the sound out; else it is copied."),
        click.option(
            "--encoder-threads", default=1, show_default=True, help="Threads of decoder and encoder each."
        ),
        click.option(
            "--preset", default="medium", show_default=True, help="ultrafast ... medium ... veryslow."
        ),
        click.option("--bitrate", help="Bits a second of the pictures, such as 800k or 2.5M: in two passes."),
        click.option(
            "--crf", type=float, help="Quality, 0 (best) to 51; 23 if neither this nor --bitrate is given."
        ),
        click.option(
            "--codec", default="libx264", show_default=True, help="libx264 (H.264) or libx265 (H.265)."
        ),
    ):
        command = option(command)
    return command


def coding_of(options: dict[str, Any]) -> Coding:
    """Takes its part of the options; what is left is for the predictor. Raises OptionError."""
    from uva_edge.runtimes.video.movie_writer import Coding

    crf, bitrate = options.pop("crf"), options.pop("bitrate")
    return Coding(
        codec=options.pop("codec"),
        crf=_DEFAULT_CRF if crf is None and bitrate is None else crf,
        bitrate=None if bitrate is None else _bits(bitrate),
        preset=options.pop("preset"),
        threads=options.pop("encoder_threads"),
    )


def _bits(text: str) -> int:
    found = _BITRATE.fullmatch(text)
    if found is None:
        raise OptionError(f"--bitrate must be a number with k or M behind it, such as 800k; got {text!r}")
    return round(float(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]])


def tell(predictor: SaliencyPredictor, report: Any, facts: str, *, as_json: bool) -> None:
    """Say what was done, and leave with the exit code that tells it.

    Args:
        report: a dataclass with at least `output`, `frames`, `fps` and `problem`.
        facts: what people are told of it besides.
    """
    if as_json:
        engine = predictor.info.as_dict()
        print_json({"bundle": predictor.bundle.name, "engine": engine, **asdict(report)})
    else:
        engine_used = f"{predictor.bundle.name} on {predictor.info.engine}"
        click.echo(f"{report.frames} frames at {report.fps:.1f} FPS with {engine_used}; {facts}", err=True)
        click.echo(str(report.output))
    if report.problem:
        click.echo(f"uva-edge: {report.problem}", err=True)
        sys.exit(EXIT_DAMAGED_SOURCE)
