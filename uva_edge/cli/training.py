"""`uva-edge train` and `uva-edge teach`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uva_edge.errors import OptionError
from uva_edge.extras import needs

from .shared import data_option, make_console

if TYPE_CHECKING:
    from uva_edge.training.command import Precision
    from uva_edge.training.loop import Progress
    from uva_edge.training.recipe import Recipe

_file = click.Path(path_type=Path)


@click.command()
@data_option
@click.option("-o", "--output", type=_file, required=True, help="Directory of the run.")
@click.option(
    "--recipe",
    "source",
    help="coupled, skd, hierarchical, or a TOML file.  [default: coupled]",
)
@click.option("--paper", is_flag=True, help="The paper's choices throughout, of the recipe coupled.")
@click.option(
    "--teacher",
    type=click.Choice(["dva", "salnet", "ssnet", "tsnet"]),
    help="Train this teacher instead of a network for the edge.",
)
@click.option("--imagenet", type=_file, help="ImageNet weights for the teacher's convolutions.")
@click.option("--resolution", type=int, help="32, 64, 96, 128 or 256.")
@click.option("--steps", type=int, help="Of the last stage.")
@click.option("--seed", type=int, help="Of first weights and batches.")
@click.option("--initial", type=_file, help="A checkpoint to start from, in place of the stages before.")
@click.option("--spatial-maps", type=_file, help="Root of teacher_maps/ of another, spatial teacher.")
@click.option("--maps", "teacher_maps", type=_file, help="Root of teacher_maps/ in place of the data's own.")
@click.option("--maps-by", default="", help="Who made the data's teacher maps, for the lineage.")
@click.option("--resume", is_flag=True, help="Go on where a run in this directory stopped.")
@click.option("--cache", type=_file, help="Directory of packed frames  [default: OUTPUT/../cache]")
@click.option("--accelerator", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--devices", default="1", show_default=True, help="A number, or auto.")
@click.option("--precision", default="32-true", show_default=True, help="32-true or bf16-mixed.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch in each process.")
@click.option("--compile/--eager", "compiled", default=True, show_default=True, help="Use torch.compile.")
@click.option("--evaluate-every", default=500, show_default=True, help="Steps between validations.")
@click.option("--checkpoint-every", default=500, show_default=True, help="Steps that a kill can cost.")
def train(
    specs: tuple[str, ...],
    output: Path,
    resume: bool,
    cache: Path | None,
    accelerator: str,
    devices: str,
    precision: Precision,
    threads: int,
    compiled: bool,
    evaluate_every: int,
    checkpoint_every: int,
    spatial_maps: Path | None,
    teacher_maps: Path | None,
    maps_by: str,
    **choices: Any,
) -> None:
    """Train a recipe on the train split; writes checkpoint.safetensors, log.csv and TensorBoard's events.

    Several processes share each batch under `torchrun -m uva_edge train ...`; --devices is torchrun's then.
    """
    with needs("train"):
        from uva_edge.training.command import Machine, Sources, train_on
        from uva_edge.training.loop import RunOptions

    recipe = _recipe(**choices)
    with _progress_bar() as (report, packing):
        checkpoint = train_on(
            Sources(specs, spatial_maps, teacher_maps, maps_by),
            output,
            recipe,
            machine=Machine(accelerator, devices, precision, threads),
            options=RunOptions(compiled, evaluate_every, checkpoint_every, resume),
            cache=cache or output.parent / "cache",
            report=report,
            packing=packing,
            tell=lambda line: click.echo(line, err=True),
        )
    if checkpoint is not None:
        click.echo(str(checkpoint))


@click.command()
@click.argument("teachers", nargs=-1, required=True, metavar="CHECKPOINT...", type=_file)
@data_option
@click.option("--split", default="train", show_default=True, help="train, val or test.")
@click.option("-o", "--output", type=_file, required=True, help="Root in which teacher_maps/ is made.")
def teach(teachers: tuple[Path, ...], specs: tuple[str, ...], split: str, output: Path) -> None:
    """Store a teacher's maps of all footage, for `train --maps`; several CHECKPOINTs are an ensemble.

    CHECKPOINT is a teacher that `train --teacher` wrote (.safetensors) or a TinyHD of its authors (.pth).
    """
    with needs("train"):
        from uva_edge.training.command import write_maps

    with _progress_bar() as (_, packing):
        count = write_maps(
            teachers, specs, split, output, report=packing, tell=lambda line: click.echo(line, err=True)
        )
    click.echo(f"{output / 'teacher_maps'}: maps of {count} more stills and videos")


def _recipe(
    *,
    source: str | None,
    paper: bool,
    teacher: str | None,
    imagenet: Path | None,
    resolution: int | None,
    steps: int | None,
    seed: int | None,
    initial: Path | None,
) -> Recipe:
    """The recipe that the options describe; what they don't say is the recipe's own."""
    from uva_edge.training.recipe import (
        RECIPES,
        CoupledRecipe,
        TeacherRecipe,
        read_recipe,
        recipe_from,
    )

    recipe: Recipe
    if sum((paper, teacher is not None, source is not None)) > 1:
        raise OptionError("--recipe, --paper and --teacher each are a recipe; give one of them")
    if imagenet and not teacher:
        raise OptionError("--imagenet is for a teacher; add --teacher, or leave it out")
    if teacher:
        recipe = TeacherRecipe(teacher=teacher, imagenet=str(imagenet or ""))
    elif paper:
        recipe = CoupledRecipe.paper()
    elif source is None or source in RECIPES:
        recipe = recipe_from({} if source is None else {"name": source})
    else:
        recipe = read_recipe(Path(source))
    given: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "initial": None if initial is None else str(initial),
    }
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if resolution is not None:
        recipe = replace(recipe, network=replace(recipe.network, resolution=resolution))
    return recipe


@contextmanager
def _progress_bar() -> Iterator[tuple[Callable[[Progress], None], Callable[[int, int], None]]]:
    """A bar a stage with loss and remaining time, scores above it, and one for the cache; on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, console=make_console(stderr=True)) as bar:

        def show(name: str, done: int, total: int, note: str = "") -> None:
            if name not in tasks:
                # A resumed stage starts in the middle: its rate counts from there.
                tasks[name] = bar.add_task(name, total=total, completed=max(0, done - 1), note=note)
            bar.update(tasks[name], completed=done, total=total, note=note)

        def report(now: Progress) -> None:
            show(now.stage, now.step, now.steps, f"loss {now.loss:.4f}")
            for dataset, scores in (now.scores or {}).items():
                found = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
                bar.console.print(f"{now.stage} {now.step}/{now.steps}  {dataset}: {found}", markup=False)

        yield report, lambda done, total: show("footage", done, total)
