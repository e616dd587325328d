"""`uva-edge export`."""

from __future__ import annotations

from pathlib import Path

import click

from .shared import needs


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the bundle."
)
@click.option("--name", help="Name of the bundle  [default: the directory's]")
@click.option(
    "--data", metavar="SPEC", help="Score the checkpoint on this data's val split too (see evaluate)."
)
def export(checkpoint: Path, output: Path, name: str | None, data: str | None) -> None:
    """Make the bundle of CHECKPOINT: ONNX artifacts, run and compared before anything is written."""
    with needs("export"):
        from uva_edge.export.bundles import export_bundle
    accuracy = None
    if data is not None:
        with needs("train"):
            from uva_edge.data.sources import open_footage
            from uva_edge.training.predictors import from_checkpoint
            from uva_edge.training.scoring import score
        predictor = from_checkpoint(checkpoint)
        accuracy = score([predictor], open_footage(data, "val")).means(predictor.name)
    bundle = export_bundle(checkpoint, output, name=name or output.resolve().name, accuracy=accuracy)
    click.echo(bundle.location)
