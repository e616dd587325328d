"""The training loop on Lightning Fabric: stages and packed data in, checkpoint out, from any checkpoint onwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from uva_edge.data.augment import Augmentation
from uva_edge.data.batches import BatchSource, Mix, prefetch
from uva_edge.data.cache import Pack
from uva_edge.errors import DataError, OptionError, OutputError
from uva_edge.models.checkpoint import average_into
from uva_edge.training.journal import Journal
from uva_edge.training.parallel import with_global_batch_norm
from uva_edge.training.recipe import Optimisation, Recipe
from uva_edge.training.resume import load_resume, save_resume
from uva_edge.training.stages import Stage, stages_of
from uva_edge.training.targets import Targets
from uva_edge.training.validation import Scores, Validation, headline

CHECKPOINT = "checkpoint.safetensors"
RESUME = "resume.pt"


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    stage: str
    step: int
    steps: int
    loss: float
    """Of this step, the mean over the batch of all processes."""
    scores: Scores | None = None
    """Of the averaged weights on the val split, at steps that validate."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run learns from and chooses by."""

    stills: Pack | None
    videos: Pack | None
    validation: Validation


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; nothing of it changes what one process learns.

    Raises:
        OptionError: fewer than one step between two of anything.
    """

    compiled: bool = False
    evaluate_every: int = 500
    """Steps between validations, each of which writes a checkpoint."""
    checkpoint_every: int = 500
    """Steps between states from which a killed run goes on."""
    resume: bool = False
    """Go on from `resume.pt` in the output, if it is there."""

    def __post_init__(self) -> None:
        if min(self.evaluate_every, self.checkpoint_every) < 1:
            raise OptionError(f"evaluate_every and checkpoint_every must be at least 1 step, got {self}")


def train(
    recipe: Recipe,
    data: TrainingData,
    output: Path,
    *,
    fabric: Fabric,
    lineage: dict[str, Any],
    options: RunOptions | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> nn.Module:
    """Train all stages of a recipe and return the averaged network of the last, on the CPU and in eval mode.

    `output` receives ``checkpoint.safetensors`` (the network with recipe, scores and `lineage`), ``log.csv``
    and TensorBoard's event files, and ``resume.pt``, from which a run goes on to the same numbers.

    Raises:
        DataError: the loss or its gradient is no longer finite, or ``resume.pt`` is of another recipe.
        OptionError: the recipe asks for data that are not there.
        OutputError: a file can't be written.
    """
    run = _Run(recipe, data, output, fabric, lineage, options or RunOptions(), report)
    return run.all_stages()


@dataclass(eq=False)
class _State:
    """What a stage's step changes."""

    module: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    losses: list[float] = field(default_factory=list)
    best: float = -np.inf
    best_average: dict[str, torch.Tensor] | None = None
    misses: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            **{name: getattr(self, name) for name in ("step", "losses", "best", "best_average", "misses")},
        }

    def load(self, values: dict[str, Any]) -> None:
        for name in ("module", "average", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(values[name])
        for name in ("step", "losses", "best", "best_average", "misses"):
            setattr(self, name, values[name])


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        output: Path,
        fabric: Fabric,
        lineage: dict[str, Any],
        options: RunOptions,
        report: Callable[[Progress], None],
    ) -> None:
        self.recipe, self.data, self.output, self.fabric = recipe, data, output, fabric
        self.lineage, self.options, self.report = lineage, options, report
        self.stages = stages_of(recipe)
        self.results: dict[str, nn.Module] = {}
        self.resumed = self._resumed()

    def all_stages(self) -> nn.Module:
        _make_directory(self.output)
        with closing(
            Journal(self.output, self.resumed["journal"], write=self.fabric.is_global_zero)
        ) as journal:
            for number, stage in enumerate(self.stages):
                # The first weights of a stage do not depend on how many numbers the stage before drew.
                torch.manual_seed(self.recipe.seed + number)
                module = stage.build(self.results)
                if stage.name in self.resumed["finished"]:
                    with self._fitting():
                        module.load_state_dict(self.resumed["finished"][stage.name])
                else:
                    module = self._stage(number, stage, module, journal)
                self.results[stage.name] = module.to(self.fabric.device).eval().requires_grad_(False)
        return self.stages[-1].kept(self.results[self.stages[-1].name]).cpu().requires_grad_(True)

    def _stage(self, number: int, stage: Stage, module: nn.Module, journal: Journal) -> nn.Module:
        """Train a stage and return its average."""
        fabric, options = self.fabric, self.options
        module = module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(module).to(fabric.device).eval()
        if fabric.world_size > 1:
            module = with_global_batch_norm(module)
        optimizer = _optimizer(module, self.recipe.optimisation)
        prepared = cast(nn.Module, torch.compile(module)) if options.compiled else module
        forward, wrapped = fabric.setup(prepared, optimizer)
        schedule = _schedule(optimizer, self.recipe.optimisation, stage.steps)
        state = _State(module, average, optimizer, schedule)
        if self.resumed["stage"] == stage.name:
            with self._fitting():
                state.load(self.resumed["state"])
        share = (fabric.global_rank, fabric.world_size)
        source = self._source(number, self.recipe.mix, self.recipe.augmentation, share)
        steps = range(state.step, stage.steps if not self._stops(state) else state.step)
        with closing(prefetch(source, steps)) as batches:
            for batch in batches:
                targets = Targets.of(batch, fabric.device)
                loss = self._step(stage, forward, wrapped, state, targets)
                scores = None
                if state.step % options.evaluate_every == 0 or state.step == stage.steps:
                    scores = self._validate(stage, state, journal)
                if state.step % options.checkpoint_every == 0 or scores is not None:
                    self._save(stage, state, journal)
                self.report(Progress(stage.name, state.step, stage.steps, loss, scores))
                if self._stops(state):
                    break
        if state.best_average is not None:
            average.load_state_dict(state.best_average)
        if self.recipe.statistics.batches and stage is self.stages[-1]:
            self._renormalise(number, stage, state, journal)
        return average

    def _renormalise(self, number: int, stage: Stage, state: _State, journal: Journal) -> None:
        """Estimate the batch norms' statistics anew and write the checkpoint again."""
        choice, average = self.recipe.statistics, state.average
        augmentation = replace(self.recipe.augmentation, close_up=0.0)
        # Every process sees whole batches, so all come to the same numbers.
        source = self._source(number, choice.mix, augmentation, share=(0, 1))
        norms = [module for module in average.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        average.train()
        steps = range(stage.steps, stage.steps + choice.batches)
        with torch.no_grad(), closing(prefetch(source, steps)) as batches:
            for batch in batches:
                targets = Targets.of(batch, self.fabric.device).at(self.recipe.network.resolution)
                stage.predict(average, targets.frames, targets.others)
        average.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        scores, loss = self._score(stage, average), journal.rows[-1]["loss"]
        journal.add(stage.name, state.step, loss, scores)
        self._write(stage, state, scores)
        self.report(Progress(stage.name, state.step, stage.steps, loss, scores))

    def _stops(self, state: _State) -> bool:
        """Early, for it no longer learns."""
        return 0 < self.recipe.patience <= state.misses

    def _source(
        self, number: int, mix: Mix, augmentation: Augmentation, share: tuple[int, int]
    ) -> BatchSource:
        recipe = self.recipe
        return BatchSource(
            self.data.stills,
            self.data.videos,
            mix,
            augmentation,
            resolution=recipe.view_resolution,
            pairing=recipe.network.pairing,
            seed=1000 * recipe.seed + number,
            share=share,
        )

    def _step(self, stage: Stage, forward: nn.Module, wrapped: Any, state: _State, targets: Targets) -> float:
        choice = self.recipe.optimisation
        loss = stage.objective(forward, targets, self.results)
        wrapped.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            forward, wrapped, max_norm=choice.gradient_clip or float("inf"), error_if_nonfinite=False
        )
        mean = cast(Tensor, self.fabric.all_reduce(loss.detach(), reduce_op="mean")).item()
        state.step += 1
        _expect_finite(stage.name, state.step, mean, cast(Tensor, norm).item())
        wrapped.step()
        state.schedule.step()
        # A young average follows closely, or the random start would linger in it.
        average_into(state.average, state.module, min(choice.ema_decay, state.step / (9 + state.step)))
        state.losses.append(mean)
        return mean

    def _validate(self, stage: Stage, state: _State, journal: Journal) -> Scores:
        """Score the average, write it down, and keep the checkpoint of the last stage."""
        scores = self._score(stage, state.average)
        journal.add(stage.name, state.step, float(np.mean(state.losses)), scores)
        state.losses.clear()
        found = headline(scores)
        better = found > state.best
        state.best, state.misses = max(state.best, found), 0 if better else state.misses + 1
        if self.recipe.patience and better:
            state.best_average = copy.deepcopy(state.average.state_dict())
        if (better or not self.recipe.patience) and stage is self.stages[-1]:
            self._write(stage, state, scores)
        return scores

    def _score(self, stage: Stage, average: nn.Module) -> Scores:
        return self.data.validation.score(
            lambda frames, others: stage.predict(average, frames, others),
            self.recipe.network.output,
            self.fabric.device,
        )

    def _write(self, stage: Stage, state: _State, scores: Scores) -> None:
        """The checkpoint of the average as it stands."""
        if self.fabric.is_global_zero:
            record = {**self.lineage, "recipe": self.recipe.lineage(), "stage": stage.name}
            record |= {"step": state.step, "validation": scores}
            stage.save(self.output / CHECKPOINT, stage.kept(state.average), record)

    def _save(self, stage: Stage, state: _State, journal: Journal) -> None:
        if self.fabric.is_global_zero:
            finished = {name: module.state_dict() for name, module in self.results.items()}
            values = {
                "recipe": self.recipe.as_dict(),
                "finished": finished,
                "stage": stage.name,
                "state": state.as_dict(),
                "journal": journal.rows,
            }
            save_resume(self.output / RESUME, values)
        self.fabric.barrier()

    def _resumed(self) -> dict[str, Any]:
        path = self.output / RESUME
        if not (self.options.resume and path.exists()):
            return {"finished": {}, "stage": None, "journal": []}
        values = load_resume(path)
        if values["recipe"] != self.recipe.as_dict():
            raise DataError(
                f"{path}: it is of another recipe than this run; train without --resume, or elsewhere, to start anew"
            )
        return values

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """What torch raises for weights of other networks than these, in our words."""
        try:
            yield
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise DataError(
                f"{self.output / RESUME}: its state does not fit the networks of this version; "
                f"{str(error)[:300]}; delete it to start anew"
            ) from None


def _optimizer(module: nn.Module, choice: Optimisation) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if choice.optimizer == "adamw" else torch.optim.Adam
    return kind(module.parameters(), lr=choice.learning_rate, weight_decay=choice.weight_decay)


def _schedule(
    optimizer: torch.optim.Optimizer, choice: Optimisation, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if choice.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, choice.learning_rate, total_steps=steps)


def _make_directory(path: Path) -> None:
    """Before hours of training, not after them."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: expected a directory or a place for one; {error.strerror}") from error


def _expect_finite(stage: str, step: int, loss: float, gradient: float) -> None:
    """Before the optimizer takes it in: one NaN would spread over all weights."""
    if not np.isfinite((loss, gradient)).all():
        raise DataError(
            f"the loss is {loss} and its gradient {gradient} at step {step} of stage {stage}, expected finite "
            "numbers; lower the learning rate or check the data"
        )
