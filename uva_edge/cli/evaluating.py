"""`uva-edge evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .predicting import EXIT_DAMAGED_SOURCE
from .shared import json_option, make_console, needs, print_json, table

if TYPE_CHECKING:
    from uva_edge.training.scoring import DataSetScores, Predictor

_CHECKPOINT = ".safetensors"
_NAME_WIDTH = 24


@click.command()
@click.argument("predictors", nargs=-1, metavar="[PREDICTOR]...")
@click.option(
    "--data",
    "specs",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="stills:PATH, clips:PATH, dhf1k:PATH, ... or the path of stills and clips; may be repeated.",
)
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
    bundles = [source for source in predictors if not source.endswith(_CHECKPOINT)]
    if not bundles and (backends, precisions) != (("auto",), ("auto",)):
        raise click.UsageError("--backend and --precision are for bundles, and no bundle is named")
    with needs("train"):
        from uva_edge.data.sources import open_footage
        from uva_edge.training.score_files import summary_document, write_scores
        from uva_edge.training.scoring import score

        footage = [item for spec in specs for item in open_footage(spec, split)]
        with ExitStack() as stack:
            scored = [
                *_networks(stack, predictors, backends, precisions, threads),
                *_others(baselines, folders),
            ]
            if not scored:
                raise click.UsageError("nothing to score: name a PREDICTOR, a --baseline or --maps")
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
        _print_tables(summary)
        for path in outputs:
            click.echo(str(path))
    if scores.damaged:
        sys.exit(EXIT_DAMAGED_SOURCE)


def _networks(
    stack: ExitStack,
    sources: Sequence[str],
    backends: Sequence[str],
    precisions: Sequence[str],
    threads: int,
) -> Iterator[Predictor]:
    """Checkpoints once, bundles in each backend and precision that is asked for; freed with `stack`."""
    from uva_edge.training.predictors import from_bundle, from_checkpoint

    for source in sources:
        if source.endswith(_CHECKPOINT):
            yield from_checkpoint(Path(source))
            continue
        for backend, precision in product(backends, precisions):
            opened = from_bundle(source, backend=backend, precision=precision, threads=threads)
            yield stack.enter_context(opened)


def _others(baselines: Sequence[str], folders: Sequence[Path]) -> Iterator[Predictor]:
    from uva_edge.training.baselines import BASELINES
    from uva_edge.training.predictors import from_baseline, from_folder

    yield from map(from_baseline, BASELINES if "all" in baselines else baselines)
    yield from map(from_folder, folders)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar of stills and videos with the remaining time, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _print_tables(summary: Sequence[DataSetScores]) -> None:
    """One table a data set: the mean, and half the width of its 95 % interval."""
    console = make_console()
    for dataset in dict.fromkeys(item.dataset for item in summary):
        items = [item for item in summary if item.dataset == dataset]
        names = list(dict.fromkeys(name for item in items for name in item.scores))
        rows = [
            (_folded(item.predictor), *(_cell(item.scores.get(name)) for name in names)) for item in items
        ]
        counts = {estimate.count for item in items for estimate in item.scores.values()}
        console.print(table((f"{dataset} ({max(counts, default=0)})", *names), rows))


def _folded(name: str) -> str:
    """Cut into lines, or the path of a checkpoint would leave no room for its scores."""
    return "\n".join(name[start : start + _NAME_WIDTH] for start in range(0, len(name), _NAME_WIDTH))


def _cell(estimate: Any) -> str:
    if estimate is None:
        return ""
    if estimate.interval is None:
        return f"{estimate.mean:.3f}"
    low, high = estimate.interval
    return f"{estimate.mean:.3f} ±{(high - low) / 2:.2f}"
