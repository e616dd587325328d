"""What `uva-edge train` and `uva-edge evaluate` do with a data directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uva_edge.data.clips import read_clips, read_pairs
from uva_edge.data.stills import read_stills
from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.uva_net import UvaNetConfig
from uva_edge.training.evaluation import score_clips, score_stills
from uva_edge.training.loop import Progress, train
from uva_edge.training.recipe import Recipe

STILL_SETS = ("osie", "sun500")


def train_on(
    data: Path,
    output: Path,
    *,
    resolution: int,
    steps: int,
    seed: int,
    threads: int,
    compiled: bool,
    teacher: str,
    report: Callable[[Progress], None],
) -> None:
    """Train the density recipe on the train split; progress is scored on the OSIE stills of the val split.

    Raises:
        DataError: the data are incomplete, or the loss is no longer finite.
        OptionError: a recipe that is not allowed.
        OutputError: a checkpoint can't be written.
    """
    torch.set_num_threads(threads)
    recipe = Recipe(network=UvaNetConfig(resolution=resolution), steps=steps, seed=seed)
    stills = read_stills(data, "train")
    pairs = read_pairs(data, "train", per_clip=recipe.pairs_per_clip)
    lineage: dict[str, Any] = {
        "data": [
            f"{len(stills)} still images with human fixations, sets {sorted({s.dataset for s in stills})}, "
            "train split",
            f"{len(pairs)} frame pairs from {len({p.clip for p in pairs})} video clips, train split, "
            "teacher's maps only",
        ],
        "teacher": teacher,
        "commit": _commit(),
    }
    train(
        recipe,
        stills,
        pairs,
        read_stills(data, "val", dataset=STILL_SETS[0]),
        output,
        lineage=lineage,
        compiled=compiled,
        report=report,
    )


def evaluate_checkpoint(checkpoint: Path, data: Path, split: str) -> dict[str, dict[str, float]]:
    """Scores by data set: NSS, CC and AUC-Judd on stills, CC with the teacher on clips.

    Raises DataError when the checkpoint or the data can't be read.
    """
    network, _ = load_checkpoint(checkpoint)
    scores = {name: score_stills(network, read_stills(data, split, dataset=name)) for name in STILL_SETS}
    return {**scores, "clips": score_clips(network, read_clips(data, split))}


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
