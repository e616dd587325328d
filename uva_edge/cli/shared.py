"""What several commands share: options and the console."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uva_edge.errors import OptionError

if TYPE_CHECKING:
    from rich.console import Console

    from uva_edge.runtimes import SaliencyPredictor

Command = TypeVar("Command", bound=Callable[..., Any])


def predictor_options(command: Command) -> Command:
    """The options of every command that predicts."""
    for option in (
        click.option("--threads", default=1, show_default=True, help="Threads of the engine."),
        click.option(
            "--precision", default="auto", show_default=True, help="auto, fp32, fp16, bf16 or int8."
        ),
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            help="auto, fastest (measures here and remembers), tensorrt, tensorrt_rtx, cuda, onnxruntime, openvino "
            "or torch.",
        ),
        click.option(
            "--bundle", default="uva-64", show_default=True, help="Shipped name, directory or .zip."
        ),
    ):
        command = option(command)
    return command


data_option = click.option(
    "--data",
    "specs",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="stills:PATH, clips:PATH, dhf1k:PATH, ... or the path of stills and clips; may be repeated.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def open_predictor(options: dict[str, Any]) -> SaliencyPredictor:
    from uva_edge.runtimes import SaliencyPredictor

    bundle = options.pop("bundle")
    return SaliencyPredictor(bundle, **options)


def make_console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.markup import escape
    from rich.table import Column, Table

    # The first column names the row: it is never cut.
    table = Table(Column(header[0], no_wrap=True, overflow="fold"), *header[1:])
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of WIDTHxHEIGHT; raises OptionError for anything else."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and len(text) < 20):
        raise OptionError(f"--size must be WIDTHxHEIGHT, such as 960x540; got {text!r}")
    return int(width), int(height)
