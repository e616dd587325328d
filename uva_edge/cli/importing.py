"""`uva-edge import-tinyhd`."""

from __future__ import annotations

from pathlib import Path

import click

from uva_edge.extras import needs


@click.command("import-tinyhd")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the bundle."
)
@click.option("--name", help="Name of the bundle  [default: the directory's]")
def import_tinyhd(checkpoint: Path, output: Path, name: str | None) -> None:
    """Make a bundle of CHECKPOINT, a public one of TinyHD-S or TinyHD-M.

    Every artifact is run and compared before anything is written, which takes minutes. The checkpoints have no
    licence: the bundle is not to be redistributed.
    """
    with needs("export"):
        from uva_edge.export.tinyhd import import_tinyhd as make_bundle
    bundle = make_bundle(checkpoint, output, name=name or output.resolve().name)
    click.echo(bundle.location)
