"""The ablations of [UVA] Fig. 6 and its table of resolutions on data of one's own, each run a line.

    python benchmarks/ablation.py --data DATA -o runs/ablation             # trains what is not there yet
    python benchmarks/ablation.py --data DATA -o runs/ablation --write docs/training.md

Every run leaves ``NAME-SEED.json`` in the output, so a study that was stopped goes on with the next run. Scores
are those of the averaged weights on the val split; intervals are 95 % bootstraps over its stills or clips, of
the scores averaged over the seeds. Differences are paired: of the scores of two rows on the same still or clip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from accuracy import replace_between

from uva_edge.data.batches import Mix
from uva_edge.data.cache import PackOptions, pack
from uva_edge.data.sources import open_footage
from uva_edge.models.uva_net import UvaNet, UvaNetConfig
from uva_edge.training.command import Machine
from uva_edge.training.loop import RunOptions, TrainingData, train
from uva_edge.training.losses import Loss
from uva_edge.training.recipe import CoupledRecipe, HierarchicalRecipe, Recipe, SkdRecipe
from uva_edge.training.scoring import estimate_mean
from uva_edge.training.validation import Validation
from uva_edge.whole_files import replace_file

COLUMNS: Final = (
    ("osie", "nss"),
    ("osie", "cc"),
    ("osie", "auc"),
    ("sun500", "nss"),
    ("sun500", "cc"),
    ("clips", "cc"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    says: str
    recipe: Recipe


def rows(student: int, fusion: int) -> Iterator[Row]:
    """The study at R = 32; every row sees as many batches of as many pairs."""
    base = CoupledRecipe(
        network=UvaNetConfig(resolution=32), student_steps=student, steps=fusion, mix=Mix(16, 16)
    )

    def network(**changes: Any) -> UvaNetConfig:
        return replace(base.network, **changes)

    scratch = replace(base, distilled=False, mix=Mix(32, 0))
    yield Row("mb-scratch", "MB, scratch", replace(scratch, network=network(block="mb")))
    yield Row("scratch", "CA-Res, scratch", scratch)
    yield Row("stills", "CA-Res, distilled, the same stills", replace(base, mix=Mix(32, 0)))
    yield Row("mb", "MB, distilled", replace(base, network=network(block="mb")))
    yield Row("mb-se", "MB+SE, distilled", replace(base, network=network(block="mb_se")))
    yield Row("ca-res", "CA-Res, distilled", base)
    yield Row("spatial", "spatial branch alone", replace(base, network=network(branches="spatial")))
    yield Row("temporal", "temporal branch alone", replace(base, network=network(branches="temporal")))
    yield Row("hard", "video by its teacher, stills by fixations alone", replace(base, distilled=False))
    yield Row("lookahead", "paired with the next frame", replace(base, network=network(pairing="lookahead")))
    l2 = Loss(kind="l2")
    yield Row("l2", "L2 loss, distilled", replace(base, loss=l2, network=network(output="clamp")))
    yield Row("l2-scratch", "L2 loss, scratch", replace(scratch, loss=l2, network=network(output="clamp")))
    one = replace(base, student_steps=0, steps=student + fusion)
    yield Row("one-stage", "S_sp at once, without S", one)
    shared = {"network": base.network, "mix": base.mix}
    third = (student + fusion) // 4
    yield Row(
        "skd", "recipe skd", SkdRecipe(**shared, student_steps=third, steps=student + fusion - 2 * third)
    )
    yield Row("hierarchical", "recipe hierarchical", HierarchicalRecipe(**shared, steps=student + fusion))


def resolution_rows(steps: int) -> Iterator[Row]:
    """[UVA] table 3: one recipe at every resolution, with equal steps."""
    for side in (32, 64, 96, 128, 256):
        recipe = CoupledRecipe(
            network=UvaNetConfig(resolution=side), student_steps=steps // 3, steps=steps - steps // 3
        )
        yield Row(f"r{side}", f"R = {side}", recipe)


def run(row: Row, seed: int, data: TrainingData, output: Path, *, compiled: bool) -> None:
    """Train and score one line, unless it is there."""
    place = output / f"{row.name}-{seed}.json"
    if place.exists():
        return
    recipe = replace(row.recipe, seed=seed)
    options = RunOptions(compiled, evaluate_every=10**9, checkpoint_every=10**9)
    directory = output / f"{row.name}-{seed}"
    network = train(recipe, data, directory, fabric=Machine("cpu").fabric(), lineage={}, options=options)
    assert isinstance(network, UvaNet)
    each = data.validation.score_each(network.eval(), recipe.network.output, torch.device("cpu"))
    replace_file(place, json.dumps({"recipe": recipe.as_dict(), "scores": each}).encode())
    print(place, flush=True)


Scores: TypeAlias = "dict[tuple[str, str], np.ndarray[Any, Any]]"
"""Data set and metric -> [seeds, stills or clips]."""


def scores_of(output: Path, row: Row, seeds: int) -> Scores:
    """Of the runs of a row that are there; empty if none is."""
    found = [output / f"{row.name}-{seed}.json" for seed in range(seeds)]
    runs = [json.loads(path.read_bytes())["scores"] for path in found if path.exists()]
    return {
        (dataset, metric): np.array([[item[metric] for name, item in run if name == dataset] for run in runs])
        for dataset, metric in (COLUMNS if runs else ())
    }


def table(output: Path, study: list[Row], seeds: int) -> list[str]:
    """Markdown lines of the runs that are there."""
    found = {row.says: scores_of(output, row, seeds) for row in study}
    return _lines(
        "row", {says: [_cell(values) for values in of.values()] for says, of in found.items() if of}
    )


def differences(output: Path, study: list[Row], seeds: int, base: str) -> list[str]:
    """Markdown lines of how far each row is from the row of that name."""
    (reference,) = (row for row in study if row.name == base)
    expected = scores_of(output, reference, seeds)
    found = {row.says: scores_of(output, row, seeds) for row in study if row is not reference}
    cells = {
        says: [_difference(values, expected[column]) for column, values in of.items()]
        for says, of in found.items()
        if of and expected
    }
    return _lines(f"against *{reference.says}*", cells)


def _lines(heading: str, cells: dict[str, list[str]]) -> list[str]:
    names = {"osie": "OSIE", "sun500": "SUN-500", "clips": "clips"}
    header = [heading, *(f"{names[dataset]} {metric.upper()}" for dataset, metric in COLUMNS)]
    rows = [header, ["---"] * len(header), *([says, *line] for says, line in cells.items())]
    return ["| " + " | ".join(line) + " |" for line in rows] if cells else []


def _cell(values: np.ndarray[Any, Any]) -> str:
    mean, half = _interval(values)
    seeds = values.mean(axis=1)
    spread = f" (seeds ±{(seeds.max() - seeds.min()) / 2:.3f})" if len(seeds) > 1 else ""
    return f"{mean:.3f} ±{half:.3f}{spread}"


def _difference(values: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> str:
    mean, half = _interval(values.mean(axis=0, keepdims=True) - expected.mean(axis=0))
    shown = f"{mean:+.3f} ±{half:.3f}"
    return f"**{shown}**" if abs(mean) > half else shown


def _interval(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The mean, and half of its interval over stills or clips."""
    estimate = estimate_mean(values.mean(axis=0).tolist())
    low, high = estimate.interval or (estimate.mean, estimate.mean)
    return estimate.mean, (high - low) / 2


def _training_data(spec: str, side: int, cache: Path) -> TrainingData:
    footage = open_footage(spec, "train")
    packs = [
        pack([item for item in footage if item.kind == kind], cache, PackOptions(factor * side))
        for kind, factor in (("still", 4), ("video", 2))
    ]
    validation = Validation(open_footage(spec, "val"), resolution=side, pairing="causal")
    return TrainingData(packs[0], packs[1], validation)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="packed frames  [default: OUTPUT/cache]")
    parser.add_argument("--student", type=int, default=400, help="steps of S")
    parser.add_argument("--fusion", type=int, default=800, help="steps of S_sp")
    parser.add_argument("--resolution-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument("--eager", action="store_true", help="do without torch.compile")
    parser.add_argument(
        "--write", type=Path, help="a page whose table between the marks is replaced; no training"
    )
    options = parser.parse_args()
    study, resolutions = (
        list(rows(options.student, options.fusion)),
        list(resolution_rows(options.resolution_steps)),
    )
    if options.write:
        tables = (
            table(options.output, study, options.seeds),
            differences(options.output, study, options.seeds, "ca-res"),
            table(options.output, resolutions, 1),
        )
        lines = [line for found in tables if found for line in ("", *found)]
        replace_between(options.write, "ablation", lines[1:])
        return
    options.output.mkdir(parents=True, exist_ok=True)
    data: dict[tuple[int, str], TrainingData] = {}
    planned = [(row, seed) for seed in range(options.seeds) for row in study]
    for row, seed in [*planned, *((row, 0) for row in resolutions)]:
        if options.only and row.name not in options.only:
            continue
        side, pairing = row.recipe.network.resolution, row.recipe.network.pairing
        if (side, pairing) not in data:
            made = _training_data(options.data, side, options.cache or options.output / "cache")
            validation = Validation(open_footage(options.data, "val"), resolution=side, pairing=pairing)
            data = {(side, pairing): replace(made, validation=validation)}
        run(row, seed, data[side, pairing], options.output, compiled=not options.eager)


if __name__ == "__main__":
    main()
