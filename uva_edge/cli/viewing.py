"""`uva-edge view`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from uva_edge.extras import needs

from .shared import predictor_options

if TYPE_CHECKING:
    from uva_edge.runtimes.view.playback import OpenSource

DEMO = "demo"


@click.command()
@click.argument("source")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0 is all.")
@click.option("--port", default=8080, show_default=True, help="0 takes any free one.")
@click.option(
    "--token",
    envvar="UVA_EDGE_TOKEN",
    help="Asked of every viewer; made up and printed where the address is not this machine alone.",
)
@click.option("--once", is_flag=True, help="Play a file once, not in a loop.")
@click.option("--max-width", default=960, show_default=True, help="Pixels of the picture's width, at most.")
@click.option("--peaks", default=3, show_default=True, help="Peaks that are marked.")
@click.option("--alpha", default=0.5, show_default=True, help="Opacity of the heat, 0 to 1.")
@predictor_options
def view(
    source: str,
    host: str,
    port: int,
    token: str | None,
    once: bool,
    max_width: int,
    peaks: int,
    alpha: float,
    **options: Any,
) -> None:
    """Show SOURCE and its saliency live on a web page.

    SOURCE is a video, an image, a folder of images, a camera number, a URL such as rtsp://... , or demo, a synthetic
    flight. Files play at their own frame rate.
    """
    with needs("view"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401

    from uva_edge.runtimes.view import server
    from uva_edge.runtimes.view.access import Access
    from uva_edge.runtimes.view.choices import Choice, Choices
    from uva_edge.runtimes.view.hub import Hub
    from uva_edge.runtimes.view.loop import Look, PredictionLoop

    look, access = Look(max_width, peaks, alpha), Access(host, token)
    choices = Choices(options["bundle"], options["threads"])
    choice = Choice(options["bundle"], options["backend"], options["precision"])
    with server.bind(host, port) as listening:
        hub = Hub()
        loop = PredictionLoop(_opener(source), choices, choice, hub, look=look, once=once)
        try:
            loop.start()
            click.echo(server.address_of(listening, host, access.token))
            click.echo("open this address in a browser; Ctrl-C ends it", err=True)
            server.run(server.make_app(hub, loop, access, listening.getsockname()[1]), listening)
        except KeyboardInterrupt:
            click.echo("ended", err=True)
        finally:
            ended = loop.close()
    if not ended:
        _end_at_once()


def _end_at_once() -> None:
    """Leave a source that doesn't let go: its thread is in a driver's or FFmpeg's call, and an ordinary end of the
    process would free these libraries below it and crash."""
    sys.stdout.flush()
    os._exit(0)


def _opener(source: str) -> OpenSource:
    if source != DEMO:
        from uva_edge.runtimes.sources import open_source

        return lambda: open_source(source)
    from uva_edge.demo import endless_flight

    return endless_flight
