"""What `uva-edge train` does with data, a recipe and the machine at hand."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning_fabric import Fabric

from uva_edge.data.cache import Pack, PackOptions, pack
from uva_edge.data.footage import Footage
from uva_edge.data.sources import open_footage
from uva_edge.models.uva_net import UvaNet
from uva_edge.training.loop import Progress, RunOptions, TrainingData, train
from uva_edge.training.recipe import Recipe
from uva_edge.training.validation import Validation


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes; the numbers of the design are for one process in full precision."""

    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"
    threads: int = 1

    def fabric(self) -> Fabric:
        """Launched: under torchrun and `fabric run` the processes are theirs."""
        torch.set_num_threads(self.threads)
        # OpenCV's own threads would fight with torch's for the same cores.
        cv2.setNumThreads(1)
        devices: int | str = int(self.devices) if self.devices.isdigit() else self.devices
        fabric = Fabric(accelerator=self.accelerator, devices=devices, precision=self.precision)  # type: ignore[arg-type]
        fabric.launch()
        return fabric


def train_on(
    specs: Sequence[str],
    output: Path,
    recipe: Recipe,
    *,
    machine: Machine,
    options: RunOptions,
    cache: Path,
    teacher: str = "",
    report: Callable[[Progress], None] = lambda _: None,
    packing: Callable[[int, int], None] = lambda done, total: None,
    skipped: Callable[[str], None] = lambda line: None,
) -> UvaNet:
    """Train a recipe on the train split of the data that `specs` name; the val split chooses.

    Raises:
        DataError: the data are incomplete, or the loss is no longer finite.
        OptionError: a recipe or a spec that is not allowed.
        OutputError: a checkpoint can't be written.
    """
    fabric = machine.fabric()
    footage = [item for spec in specs for item in open_footage(spec, "train")]
    chosen = [item for spec in specs if not spec.startswith(_WITHOUT_SPLIT) for item in open_footage(spec, "val")]
    side = recipe.network.resolution
    # One process fills the cache; the others find it full.
    with fabric.rank_zero_first():
        # Stills are few and cropped more: they keep the pixels that a smaller view shows.
        stills = _packed(footage, "still", cache, PackOptions(4 * side), packing, skipped)
        videos = _packed(footage, "video", cache, PackOptions(2 * side), packing, skipped)
    data = TrainingData(
        stills, videos, Validation(chosen, resolution=side, pairing=recipe.network.pairing)
    )
    lineage: dict[str, Any] = {"data": _described(footage), "teacher": teacher, "commit": _commit()}
    return train(recipe, data, output, fabric=fabric, lineage=lineage, options=options, report=report)


_WITHOUT_SPLIT = ("synthetic:", "videos:")


def _packed(
    footage: Sequence[Footage],
    kind: str,
    cache: Path,
    options: PackOptions,
    packing: Callable[[int, int], None],
    skipped: Callable[[str], None],
) -> Pack | None:
    wanted = [item for item in footage if item.kind == kind]
    return pack(wanted, cache, options, report=packing, skipped=skipped) if wanted else None


def _described(footage: Sequence[Footage]) -> list[str]:
    """A line for each data set, for the lineage."""
    counts = Counter((item.dataset, item.kind) for item in footage)
    return [f"{dataset}: {count} {kind}s, train split" for (dataset, kind), count in sorted(counts.items())]


def _commit() -> str | None:
    """The commit of the source tree that trains, where it is one; not that of a tree it is installed in."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
