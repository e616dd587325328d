"""How the commands that predict are told what to read, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uva_edge.errors import OptionError

from .shared import Command, parse_size

if TYPE_CHECKING:
    from uva_edge.runtimes.sources import RawFormat, Source


def source_options(command: Command) -> Command:
    """The options that say more of a source than its name does; `open_with` takes them."""
    for option in (
        click.option(
            "--reconnect/--no-reconnect",
            default=True,
            show_default=True,
            help="Open a live URL again when it is lost, until nothing came for a minute.",
        ),
        click.option(
            "--latest",
            is_flag=True,
            help="Of a camera, URL or pipe, predict the newest frame and drop what there was no time for.",
        ),
        click.option("--topic", help="Of a ROS bag, where several topics have images."),
        click.option(
            "--yuv-range", default="limited", show_default=True, help="Of raw YUV: limited or full."
        ),
        click.option("--fps", type=float, help="Clock of images and raw video  [default: 25]"),
        click.option("--size", help="Of raw video: WIDTHxHEIGHT."),
        click.option(
            "--format",
            help="SOURCE, or - (standard input), is raw video: bgr, rgb, gray, nv12, i420 or yuyv.",
        ),
    ):
        command = option(command)
    return command


def take_source_options(options: dict[str, Any]) -> dict[str, Any]:
    """Moves the options of `source_options` out of those of a command, as arguments of `open_source`."""
    raw = _raw_format(options.pop("format"), options.pop("size"), options.pop("yuv_range"))
    return {"raw": raw, **{name: options.pop(name) for name in ("fps", "topic", "latest", "reconnect")}}


def _raw_format(color: str | None, size: str | None, yuv_range: Any) -> RawFormat | None:
    from uva_edge.preprocess import COLORS
    from uva_edge.runtimes.sources import RawFormat

    if color is None and size is None:
        if yuv_range != "limited":
            raise OptionError(
                f"--yuv-range is of raw video, which --format and --size tell; got {yuv_range!r}"
            )
        return None
    if color is None or size is None:
        raise OptionError("raw video needs both --format and --size, such as --format nv12 --size 1920x1080")
    known = next((name for name in COLORS if name == color), None)
    if known is None:
        raise OptionError(f"--format is one of {', '.join(COLORS)}; got {color!r}")
    return RawFormat(known, parse_size(size), yuv_range)


def expect_plain(arguments: dict[str, Any], source: str) -> None:
    """Of a folder of videos nothing more can be said."""
    told = [name for name, value in arguments.items() if value and name != "reconnect"]
    if told:
        options = ", ".join("--format" if name == "raw" else f"--{name}" for name in told)
        raise OptionError(f"{options} is for one source; {source} is a folder of videos")


def losses_of(source: Source) -> str:
    """What a live source lost, in words; empty if nothing."""
    losses = source.losses
    parts = [f"{losses.dropped} frames dropped"] if losses.dropped else []
    if losses.reconnects:
        parts.append(f"{losses.reconnects} reconnects, {losses.seconds:.1f} s without a connection")
    return "; ".join(parts)
