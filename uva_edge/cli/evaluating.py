"""`uva-edge evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from uva_edge.extras import needs

from .outputs import EXIT_DAMAGED_SOURCE
from .shared import data_option, json_option, make_console, print_json, table


@click.command()
@click.argument("predictors", nargs=-1, metavar="[PREDICTOR]...")
@data_option
@click.option("--split", default="val", show_default=True, help="train, val or test.")
@click.option(
    "--backend", "backends", multiple=True, default=("auto",), help="Of bundles; repeat it to compare."
)
@click.option(
    "--precision", "precisions", multiple=True, default=("auto",), help="Of bundles; repeat it to compare."
)
@click.option("--threads", default=1, show_default=True, help="Of each engine.")
@click.option(
    "--baseline", "--baselines", "baselines", multiple=True, metavar="NAME", help="A baseline, or: all."
)
@click.option(
    "--maps",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of maps from elsewhere: NAME.png of a still, NAME/NUMBER.png of a video, or .npy.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for scores.csv, summary.csv and scores.json.",
)
@json_option
def evaluate(
    predictors: tuple[str, ...],
    specs: tuple[str, ...],
    split: str,
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    threads: int,
    baselines: tuple[str, ...],
    folders: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Score each PREDICTOR on human fixations, or on a teacher's maps where there are none.

    PREDICTOR is a shipped name, a bundle's directory or .zip, or a checkpoint (.safetensors).
    """
    if not (predictors or baselines or folders):
        raise click.UsageError("nothing to score: name a PREDICTOR, a --baseline or --maps")
    with needs("train"):
        from uva_edge.data.sources import open_footage
        from uva_edge.training.baselines import BASELINES
        from uva_edge.training.predictors import from_baseline, from_folder, open_networks
        from uva_edge.training.score_files import summary_document, summary_tables, write_scores
        from uva_edge.training.scoring import score

        footage = [item for spec in specs for item in open_footage(spec, split)]
        names = BASELINES if "all" in baselines else baselines
        with open_networks(predictors, backends, precisions, threads) as networks:
            scored = [*networks, *map(from_baseline, names), *map(from_folder, folders)]
            with _progress_bar(len(footage)) as advance:
                scores = score(
                    scored,
                    footage,
                    progress=lambda _: advance(),
                    report=lambda line: click.echo(line, err=True),
                )
    summary = scores.summary()
    settings = {"data": specs, "split": split, "predictors": [item.name for item in scored]}
    outputs = [] if output is None else write_scores(output, scores, settings)
    if as_json:
        print_json({**settings, "summary": summary_document(summary), "damaged": scores.damaged})
    else:
        for header, rows in summary_tables(summary):
            make_console().print(table(header, rows))
        for path in outputs:
            click.echo(str(path))
    if scores.damaged:
        sys.exit(EXIT_DAMAGED_SOURCE)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar of stills and videos with the remaining time, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
