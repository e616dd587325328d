"""The training loop: recipe and data in, checkpoint out."""

from __future__ import annotations

import copy
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uva_edge.data.batches import Batch, BatchSource, prefetch
from uva_edge.data.clips import FramePair
from uva_edge.data.stills import Still
from uva_edge.errors import DataError
from uva_edge.models.checkpoint import average_into, save_checkpoint
from uva_edge.models.uva_net import UvaNet
from uva_edge.training.evaluation import score_stills
from uva_edge.training.losses import density_loss
from uva_edge.training.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `scores` are those of the averaged weights on the validation stills."""

    step: int
    steps: int
    loss: float
    steps_per_second: float
    scores: dict[str, float]


def train(
    recipe: Recipe,
    stills: list[Still],
    pairs: list[FramePair],
    validation: list[Still],
    output: Path,
    *,
    lineage: dict[str, Any],
    compiled: bool = False,
    evaluate_every: int = 500,
    report: Callable[[Progress], None] = lambda _: None,
) -> UvaNet:
    """Train and return the averaged network.

    `output` receives ``checkpoint.safetensors`` (the averaged weights, replaced at every evaluation) and
    ``log.csv``. `lineage` (JSON values: data, teacher, commit) is stored with the recipe and the scores.

    Raises:
        DataError: the loss is no longer finite.
        OutputError: a checkpoint can't be written.
    """
    torch.manual_seed(recipe.seed)
    network = UvaNet(recipe.network).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    source = BatchSource(
        stills,
        pairs,
        resolution=recipe.network.resolution,
        stills_per_batch=recipe.stills_per_batch,
        pairs_per_batch=recipe.pairs_per_batch,
        augmentation=recipe.augmentation,
        seed=recipe.seed,
    )
    output.mkdir(parents=True, exist_ok=True)
    started, losses = time.perf_counter(), []
    for step, batch in enumerate(prefetch(source, recipe.steps), start=1):
        loss = _loss(forward, batch, recipe)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
        optimizer.step()
        schedule.step()
        # A young average follows closely, or the random start would linger in it.
        average_into(average, network, min(recipe.ema_decay, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise DataError(
                f"the loss is {losses[-1]} at step {step}; lower the learning rate or check the data"
            )
        if step % evaluate_every == 0 or step == recipe.steps:
            scores = score_stills(average, validation)
            rate = step / (time.perf_counter() - started)
            progress = Progress(step, recipe.steps, float(np.mean(losses)), rate, scores)
            losses.clear()
            record = {**lineage, "recipe": recipe.as_dict(), "step": step, "validation": scores}
            save_checkpoint(output / "checkpoint.safetensors", average, record)
            _log(output / "log.csv", progress)
            report(progress)
    return average.eval()


def _loss(forward: Callable[..., torch.Tensor], batch: Batch, recipe: Recipe) -> torch.Tensor:
    logits = forward(torch.from_numpy(batch.frames), torch.from_numpy(batch.others))
    targets = (torch.from_numpy(target) for target in (batch.density, batch.teacher, batch.fixations))
    return density_loss(logits, *targets, weights=recipe.loss)


def _log(path: Path, progress: Progress) -> None:
    row = {"step": progress.step, "loss": progress.loss, **progress.scores}
    new = progress.step <= 0 or not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow({name: json.dumps(value) for name, value in row.items()})
