"""What several commands share: options, the console, errors of absent extras."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uva_edge.errors import MissingPackageError, UvaEdgeError

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
            help="auto, fastest (measures here and remembers), onnxruntime, openvino or torch.",
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


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """An import that only an extra brings."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, UvaEdgeError):
            raise
        raise MissingPackageError(
            f"this command needs the package {error.name}, which is not installed; pip install 'uva-edge[{extra}]'"
        ) from None


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
