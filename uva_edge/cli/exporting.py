"""`uva-edge export` and `uva-edge build-engine`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uva_edge.extras import needs

from .shared import make_console, table

if TYPE_CHECKING:
    from uva_edge.bundle import Bundle
    from uva_edge.export.artifacts import Splits


@click.command()
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the bundle."
)
@click.option(
    "--to",
    default="onnx",
    show_default=True,
    help="What to make, with commas between: onnx, onnx-int8, openvino, openvino-fp16, openvino-int8, tensorrt[-fp16|"
    "-int8], tensorrt-rtx[-fp16|-int8], c, c-int8, native-int8, tflite, triton[-int8], ovms.",
)
@click.option("--name", help="Name of the bundle  [default: the directory's]")
@click.option(
    "--data",
    metavar="SPEC",
    help="Score the network on this data's val split (see evaluate); INT8 is calibrated on its train split.",
)
@click.option(
    "--qat",
    "qat_steps",
    type=click.IntRange(min=0),
    default=0,
    metavar="STEPS",
    help="Fine-tune the weights with rounded numbers before INT8; 300 is a good start  [default: not]",
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="Compute capability to build for, such as 8.6; may be repeated  [default: all that TensorRT-RTX knows]",
)
@click.option(
    "--version-compatible", is_flag=True, help="Engines for later TensorRTs of the same major version too."
)
@click.option(
    "--hardware-compatible", is_flag=True, help="Engines for every GPU from Ampere on (full TensorRT)."
)
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of measured tactics, read and written (full TensorRT).",
)
def export(
    source: str, output: Path, to: str, name: str | None, data: str | None, qat_steps: int, **engines: Any
) -> None:
    """Make the bundle of SOURCE, a checkpoint or a bundle: artifacts, run and compared before anything is written."""
    with needs("export"):
        from uva_edge.export.bundles import export_bundle, names_bundle
        from uva_edge.export.tensorrt import EngineOptions
    accuracy, splits = None, None
    if data is not None:
        with needs("train"):
            from uva_edge.training.predictors import from_checkpoint
            from uva_edge.training.scoring import score
        splits = _splits(data)
        if not names_bundle(source):
            predictor = from_checkpoint(Path(source))
            accuracy = score([predictor], splits.val()).means(predictor.name)
    bundle = export_bundle(
        source,
        output,
        name=name or output.resolve().name,
        to=tuple(filter(None, to.split(","))),
        splits=splits,
        engines=EngineOptions(**engines),
        qat_steps=qat_steps,
        accuracy=accuracy,
    )
    _print_costs(bundle)
    click.echo(bundle.location)


@click.command("build-engine")
@click.argument("bundle")
@click.option(
    "--to",
    "words",
    default="tensorrt-rtx",
    show_default=True,
    help="What to build, with commas between: tensorrt[-fp16|-int8], tensorrt-rtx[-fp16|-int8].",
)
@click.option(
    "--data", metavar="SPEC", help="Footage to calibrate INT8 with and to judge it by, as for export."
)
def build_engine(bundle: str, words: str, data: str | None) -> None:
    """Build TensorRT engines of BUNDLE for the GPU of this machine, and keep them where its backends look."""
    with needs("export"):
        from uva_edge.export.bundles import export_bundle
        from uva_edge.export.tensorrt import EngineOptions
    from uva_edge.bundle import Bundle
    from uva_edge.errors import OptionError
    from uva_edge.runtimes.engines import WORDS, capability_here, place_of

    asked = tuple(words.split(","))
    if unknown := [word for word in asked if not word.startswith(tuple(WORDS.values()))]:
        raise OptionError(
            f"engines are of {' or '.join(WORDS.values())}; got {', '.join(map(repr, unknown))}"
        )
    opened, capability = Bundle.open(bundle), capability_here()
    splits = None if data is None else _splits(data)
    for word in asked:
        # The full TensorRT builds for this GPU by itself.
        options = EngineOptions(capabilities=(capability,) if word.startswith(WORDS["tensorrt_rtx"]) else ())
        place = place_of(opened, word, capability)
        built = export_bundle(
            opened.location, place, name=opened.name, to=(word,), splits=splits, engines=options
        )
        click.echo(built.location)


def _splits(data: str) -> Splits:
    with needs("train"):
        from uva_edge.data.sources import open_footage
    from uva_edge.export.artifacts import Splits

    return Splits(partial(open_footage, data, "train"), partial(open_footage, data, "val"))


def _print_costs(bundle: Bundle) -> None:
    """What each artifact takes of flash and of memory, and all of them of arithmetic."""
    network, rows = bundle.manifest.network, []
    for artifact in bundle.manifest.artifacts:
        held = artifact.details.get("activations", {})
        figures = (sum(file.bytes for file in artifact.files), held.get("total"), held.get("live"))
        rows.append((artifact.name, *("" if value is None else f"{value:,}" for value in figures)))
    console = make_console(stderr=True)
    console.print(
        f"{network.parameters:,} parameters, {network.macs_per_step:,} multiply-accumulates a frame"
    )
    console.print(table(("artifact", "bytes", "activations", "at once"), rows))
