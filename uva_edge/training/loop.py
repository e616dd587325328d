"""The training loop: recipe and data in, checkpoint out."""

from __future__ import annotations

import copy
import csv
import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uva_edge.data.batches import Batch, BatchSource, prefetch
from uva_edge.data.clips import FramePair
from uva_edge.data.stills import Still
from uva_edge.errors import DataError, OutputError
from uva_edge.models.checkpoint import average_into, replace_file, save_checkpoint
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

    `output` receives ``checkpoint.safetensors`` (the averaged weights) and ``log.csv`` (a row for each
    evaluation of this run); both replace what an earlier run left there, at the first evaluation and at every
    one after it. `lineage` (JSON values: data, teacher, commit) is stored with the recipe and the scores.

    Raises:
        DataError: the loss or its gradient is no longer finite.
        OptionError: no stills, pairs or validation stills.
        OutputError: the checkpoint or the log can't be written.
    """
    torch.manual_seed(recipe.seed)
    network = UvaNet(recipe.network).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average: UvaNet = copy.deepcopy(network)
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
    _make_directory(output)
    started = time.perf_counter()
    losses: list[float] = []
    history: list[Progress] = []
    with closing(prefetch(source, recipe.steps)) as batches:
        for step, batch in enumerate(batches, start=1):
            loss = _loss(forward, batch, recipe)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
            losses.append(loss.item())
            _expect_finite(step, losses[-1], norm.item())
            optimizer.step()
            schedule.step()
            # A young average follows closely, or the random start would linger in it.
            average_into(average, network, min(recipe.ema_decay, (1 + step) / (10 + step)))
            if step % evaluate_every == 0 or step == recipe.steps:
                scores = score_stills(average, validation)
                rate = step / (time.perf_counter() - started)
                history.append(Progress(step, recipe.steps, float(np.mean(losses)), rate, scores))
                losses.clear()
                record = {**lineage, "recipe": recipe.as_dict(), "step": step, "validation": scores}
                save_checkpoint(output / "checkpoint.safetensors", average, record)
                replace_file(output / "log.csv", _as_csv(history))
                report(history[-1])
    return average.eval()


def _make_directory(path: Path) -> None:
    """Before hours of training, not after them."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: expected a directory or a place for one; {error.strerror}") from error


def _loss(forward: Callable[..., torch.Tensor], batch: Batch, recipe: Recipe) -> torch.Tensor:
    return density_loss(
        forward(torch.from_numpy(batch.frames), torch.from_numpy(batch.others)),
        torch.from_numpy(batch.density),
        torch.from_numpy(batch.teacher),
        torch.from_numpy(batch.fixations),
        recipe.loss,
    )


def _expect_finite(step: int, loss: float, gradient: float) -> None:
    """Before the optimizer takes it in: one NaN would spread over all weights."""
    if not np.isfinite((loss, gradient)).all():
        raise DataError(
            f"the loss is {loss} and its gradient {gradient} at step {step}, expected finite numbers; "
            "lower the learning rate or check the data"
        )


def _as_csv(history: Sequence[Progress]) -> bytes:
    rows = [{"step": item.step, "loss": item.loss, **item.scores} for item in history]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
