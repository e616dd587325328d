"""`uva-edge train`."""

from __future__ import annotations

from pathlib import Path

import click

from .shared import needs


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Root of images.csv, clips.csv, ..."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the run.")
@click.option("--resolution", default=64, show_default=True, help="32, 64, 96, 128 or 256.")
@click.option("--steps", default=4500, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Threads of torch.")
@click.option("--compile/--eager", "compiled", default=True, show_default=True, help="Use torch.compile.")
@click.option("--teacher", default="", help="What made the teacher maps of the data, for the lineage.")
def train(
    data: Path,
    output: Path,
    resolution: int,
    steps: int,
    seed: int,
    threads: int,
    compiled: bool,
    teacher: str,
) -> None:
    """Train on still images with fixations and clips with teacher maps; writes checkpoint.safetensors."""
    with needs("train"):
        from uva_edge.training.command import train_on
        from uva_edge.training.loop import Progress as Step

    def report(now: Step) -> None:
        remaining = (now.steps - now.step) / max(now.steps_per_second, 1e-9)
        scores = ", ".join(f"{name} {value:.3f}" for name, value in now.scores.items())
        click.echo(
            f"step {now.step}/{now.steps}  loss {now.loss:.4f}  val {scores}  "
            f"{now.steps_per_second:.2f} steps/s  {remaining / 60:.0f} min left",
            err=True,
        )

    train_on(
        data,
        output,
        resolution=resolution,
        steps=steps,
        seed=seed,
        threads=threads,
        compiled=compiled,
        teacher=teacher,
        report=report,
    )
    click.echo(str(output / "checkpoint.safetensors"))
