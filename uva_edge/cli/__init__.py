"""The command `uva-edge`.

Results go to standard output (one JSON document with ``--json``), progress and remarks to standard error. Exit
codes: 0 done; 1 an error, told in one message; 2 wrong usage; 3 done, but the source was damaged; 130 Ctrl-C,
with what was finished until then complete on disk.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

import click

import uva_edge
from uva_edge.errors import UvaEdgeError

from .benchmarking import bench
from .checking import doctor, verify
from .encoding import encode
from .evaluating import evaluate
from .exporting import build_engine, export
from .importing import import_tinyhd
from .outputs import EXIT_INTERRUPTED
from .predicting import demo, predict
from .reframing import reframe
from .soaking import soak
from .training import teach, train
from .viewing import view


class _Group(click.Group):
    """Tells an error of uva_edge in its own words, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UvaEdgeError as error:
            _fail(str(error))
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


def _fail(message: str) -> NoReturn:
    click.echo(f"uva-edge: {message}", err=True)
    sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(uva_edge.__version__, package_name="uva-edge")
def main() -> None:
    """Video saliency on the edge: where people would look in a video, per frame."""
    # A service manager's stop ends a run as Ctrl-C does: with complete outputs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


for _command in (
    demo,
    predict,
    encode,
    reframe,
    view,
    doctor,
    verify,
    bench,
    soak,
    train,
    teach,
    evaluate,
    export,
    build_engine,
    import_tinyhd,
):
    main.add_command(_command)
