"""What a recipe trains, one network after the other: how each starts, what it learns from, what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from uva_edge.errors import OptionError
from uva_edge.models.checkpoint import load_checkpoint, save_checkpoint
from uva_edge.models.teachers.checkpoint import save_teacher
from uva_edge.models.teachers.registry import build_teacher
from uva_edge.models.teachers.teacher import TeacherNet
from uva_edge.models.uva_net import Student, UvaNet, UvaNetConfig
from uva_edge.training.assistant import Assistant
from uva_edge.training.hierarchy import Hierarchy, pooled
from uva_edge.training.losses import distribution, resized_density
from uva_edge.training.recipe import CoupledRecipe, HierarchicalRecipe, Recipe, SkdRecipe, TeacherRecipe
from uva_edge.training.targets import Targets

Results = Mapping[str, nn.Module]
"""The averaged networks of the stages before, in eval mode, by stage."""


def _save_network(path: Path, network: nn.Module, lineage: Mapping[str, Any]) -> None:
    save_checkpoint(path, cast(UvaNet, network), lineage)


def _save_teacher(path: Path, teacher: nn.Module, lineage: Mapping[str, Any]) -> None:
    save_teacher(path, cast(TeacherNet, teacher), lineage)


@dataclass(frozen=True, eq=False)
class Stage:
    """One network's training; `results` are those of the stages before it."""

    name: str
    steps: int
    build: Callable[[Results], nn.Module]
    """The network as it starts."""
    objective: Callable[[nn.Module, Targets, Results], Tensor]
    """The loss of a batch, through the module as it is called: compiled, or spread over processes."""
    predict: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda module, frames, others: module(
        frames, others
    )
    """Frames and their partners to the logits that validation scores."""
    kept: Callable[[nn.Module], nn.Module] = lambda module: module
    """The network that a checkpoint holds, without what served training alone."""
    save: Callable[[Path, nn.Module, Mapping[str, Any]], None] = _save_network
    """Write the network that is kept, with its lineage."""


def stages_of(recipe: Recipe) -> list[Stage]:
    """The stages in their order; those with no steps are left out.

    Raises:
        OptionError: the assistant is wider than a network may be; built, that `initial` is another network.
    """
    if isinstance(recipe, CoupledRecipe):
        stages = _coupled(recipe)
    elif isinstance(recipe, SkdRecipe):
        stages = _skd(recipe)
    elif isinstance(recipe, HierarchicalRecipe):
        stages = _hierarchical(recipe)
    else:
        assert isinstance(recipe, TeacherRecipe)
        return [_teacher(recipe)]
    if recipe.initial:
        return [replace(stages[-1], build=lambda _: _initial(recipe))]
    return [stage for stage in stages if stage.steps]


def _coupled(recipe: CoupledRecipe) -> list[Stage]:
    config, output = recipe.network, recipe.network.output
    first = recipe.loss if recipe.distilled else replace(recipe.loss, mu=0.0)
    second = replace(first, mu=recipe.fusion_mu if recipe.distilled else 0.0)
    assistant = Assistant.of(recipe) if recipe.assistant else None

    def seen(batch: Targets) -> Targets:
        return (batch if assistant is None else assistant.teach(batch)).at(config.resolution)

    def single(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        batch = seen(batch)
        teacher = batch.spatial if config.branches == "spatial" else batch.teacher
        logits = module(batch.frames, batch.others)
        return first(logits, batch.density, batch.fixations, teacher, output)

    def both(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        batch = seen(batch)
        spatial, temporal = module(batch.frames, batch.others)
        return first(spatial, batch.density, batch.fixations, batch.spatial, output) + first(
            temporal, batch.density, batch.fixations, batch.teacher, output
        )

    def fusion(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        batch = seen(batch)
        logits = module(batch.frames, batch.others)
        return second(logits, batch.density, batch.fixations, batch.teacher, output)

    def start(results: Results) -> nn.Module:
        student = results.get("student")
        if student is None:
            return UvaNet(config)
        return UvaNet.from_student(student) if isinstance(student, Student) else _copy(student, config)

    if config.branches == "both":
        student = Stage("student", recipe.student_steps, lambda _: Student(config), both, _mean_of_branches)
    else:
        student = Stage("student", recipe.student_steps, lambda _: UvaNet(config), single)
    return [student, Stage("fusion", recipe.steps, start, fusion)]


def _skd(recipe: SkdRecipe) -> list[Stage]:
    config, loss, output = recipe.network, recipe.loss, recipe.network.output

    def student(branch: Literal["spatial", "temporal"]) -> Stage:
        def objective(module: nn.Module, batch: Targets, results: Results) -> Tensor:
            teacher = batch.spatial if branch == "spatial" else batch.teacher
            logits = module(batch.frames, batch.others)
            return loss(logits, batch.density, batch.fixations, teacher, output)

        return Stage(
            branch, recipe.student_steps, lambda _: UvaNet(replace(config, branches=branch)), objective
        )

    def objective(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        logits = module(batch.frames, batch.others)
        hard = loss.hard(logits, batch.density, batch.fixations, output)
        with torch.no_grad():
            maps = [distribution(pupil(batch.frames, batch.others), output) for pupil in results.values()]
        taught = [loss.soft(logits, target, output) for target in maps or [batch.teacher]]
        return (1 - loss.mu) * hard + loss.mu * torch.stack(taught).mean()

    last = Stage("spatiotemporal", recipe.steps, lambda _: UvaNet(config), objective)
    return [student("spatial"), student("temporal"), last]


def _hierarchical(recipe: HierarchicalRecipe) -> list[Stage]:
    config, loss, output = recipe.network, recipe.loss, recipe.network.output

    def objective(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        logits, intermediate = module(batch.frames, batch.others)
        teacher = batch.teacher
        if "assistant" in results:
            with torch.no_grad():
                teacher = distribution(results["assistant"](batch.frames, batch.others)[0], output)
        final = loss(logits, batch.density, batch.fixations, teacher, output)
        coarse = pooled(teacher, intermediate[0].shape[-1])
        auxiliary = torch.stack([loss.soft(item, coarse, output) for item in intermediate])
        return final + recipe.auxiliary * auxiliary.mean()

    def stage(name: str, steps: int, config: UvaNetConfig) -> Stage:
        return Stage(
            name,
            steps,
            lambda _: Hierarchy(UvaNet(config)),
            objective,
            lambda module, frames, others: module(frames, others)[0],
            lambda module: cast(Hierarchy, module).network,
        )

    network = stage("network", recipe.steps, config)
    if not recipe.assistant_steps:
        return [network]
    wide = replace(config, width=config.width * recipe.assistant_width)
    return [stage("assistant", recipe.assistant_steps, wide), network]


class _Supervised(nn.Module):
    """A teacher as the loop calls it: frames and their predecessors, uint8 [N, R, R, 3], to all its logits."""

    def __init__(self, teacher: TeacherNet) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, frames: Tensor, others: Tensor) -> tuple[Tensor, ...]:
        inputs = self.teacher.prepare(frames.cpu().numpy(), others.cpu().numpy())
        return self.teacher.outputs(inputs.to(frames.device))


def _teacher(recipe: TeacherRecipe) -> Stage:
    loss, output = recipe.loss, recipe.network.output

    def build(results: Results) -> nn.Module:
        teacher = build_teacher(recipe.teacher, width=recipe.width, output=output)
        if recipe.imagenet:
            teacher.load_imagenet(Path(recipe.imagenet))
        return _Supervised(teacher)

    def objective(module: nn.Module, batch: Targets, results: Results) -> Tensor:
        outputs = module(batch.frames, batch.others)
        size = outputs[0].shape[1:]
        density, fixations, soft = (
            resized_density(target, size) for target in (batch.density, batch.fixations, batch.teacher)
        )
        return torch.stack([loss(logits, density, fixations, soft, output) for logits in outputs]).mean()

    return Stage(
        recipe.teacher,
        recipe.steps,
        build,
        objective,
        lambda module, frames, others: module(frames, others)[0],
        lambda module: cast(_Supervised, module).teacher,
        _save_teacher,
    )


def _mean_of_branches(module: nn.Module, frames: Tensor, others: Tensor) -> Tensor:
    spatial, temporal = module(frames, others)
    return cast(Tensor, (spatial + temporal) / 2)


def _copy(network: nn.Module, config: UvaNetConfig) -> UvaNet:
    copied = UvaNet(config)
    copied.load_state_dict(network.state_dict())
    return copied


def _initial(recipe: Recipe) -> nn.Module:
    """The network of another run as a start; convolutions fit any resolution."""
    network, _ = load_checkpoint(Path(recipe.initial))
    same = replace(network.config, resolution=recipe.network.resolution)
    if same != recipe.network:
        raise OptionError(f"initial: {recipe.initial} is {same}; the recipe is for {recipe.network}")
    copied = _copy(network, recipe.network)
    return Hierarchy(copied) if isinstance(recipe, HierarchicalRecipe) else copied
