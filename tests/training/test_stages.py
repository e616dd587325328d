"""What each recipe trains: its networks in their order, what they start from, and what they learn from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from torch import Tensor, nn  # noqa: E402

from uva_edge.data.augment import Augmentation  # noqa: E402
from uva_edge.data.batches import BatchSource, Mix  # noqa: E402
from uva_edge.errors import OptionError  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from uva_edge.models.teachers.checkpoint import load_teacher  # noqa: E402
from uva_edge.models.uva_net import Student, UvaNet, UvaNetConfig  # noqa: E402
from uva_edge.training.assistant import Assistant  # noqa: E402
from uva_edge.training.hierarchy import Hierarchy, pooled  # noqa: E402
from uva_edge.training.loop import CHECKPOINT, train  # noqa: E402
from uva_edge.training.losses import Loss, distribution  # noqa: E402
from uva_edge.training.recipe import (  # noqa: E402
    CoupledRecipe,
    HierarchicalRecipe,
    Optimisation,
    Recipe,
    SkdRecipe,
    TeacherRecipe,
)
from uva_edge.training.stages import stages_of  # noqa: E402
from uva_edge.training.targets import Targets  # noqa: E402

SMALL: dict[str, Any] = {
    "network": UvaNetConfig(resolution=32),
    "steps": 12,
    "mix": Mix(2, 2),
    "optimisation": Optimisation(learning_rate=5e-3, ema_decay=0.5),
    "augmentation": Augmentation.none(),
}
PAPER = replace(CoupledRecipe.paper(32), steps=12, student_steps=12, mix=Mix(2, 2))


@pytest.fixture
def batch(toy: Any) -> Targets:
    source = BatchSource(
        toy.stills, toy.videos, Mix(2, 2), Augmentation.none(), resolution=32, pairing="causal", seed=0
    )
    targets = Targets.of(source.draw(0), torch.device("cpu"))
    # Everything apart, so that no target can stand in for another.
    return replace(targets, teacher=targets.density.roll(5, 1), spatial=targets.density.roll(9, 2))


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (CoupledRecipe(**SMALL, student_steps=12), ["student", "fusion"]),
        (PAPER, ["student", "fusion"]),
        (SkdRecipe(**SMALL, student_steps=12), ["spatial", "temporal", "spatiotemporal"]),
        (HierarchicalRecipe(**SMALL, assistant_steps=12), ["assistant", "network"]),
        (TeacherRecipe(**{**SMALL, "mix": Mix(1, 1)}, teacher="salnet", width=0.05), ["salnet"]),
    ],
    ids=["coupled", "paper", "skd", "hierarchical", "teacher"],
)
def test_every_stage_learns(recipe: Recipe, names: list[str], toy: Any, fabric: Any, tmp_path: Path) -> None:
    losses: defaultdict[str, list[float]] = defaultdict(list)
    network = train(
        recipe,
        toy,
        tmp_path,
        fabric=fabric,
        lineage={"teacher": "the truth"},
        report=lambda now: losses[now.stage].append(now.loss),
    )
    assert list(losses) == names
    for name, values in losses.items():
        assert np.mean(values[-4:]) < 0.97 * np.mean(values[:4]), name
    load = load_teacher if isinstance(recipe, TeacherRecipe) else load_checkpoint
    stored, lineage = load(tmp_path / CHECKPOINT)
    assert {name: value.tolist() for name, value in stored.state_dict().items()} == {
        name: value.tolist() for name, value in network.state_dict().items()
    }
    assert lineage["recipe"] == recipe.as_dict()
    assert (lineage["stage"], lineage["step"], lineage["teacher"]) == (names[-1], recipe.steps, "the truth")


class Answer(nn.Module):
    """A network that says the same whatever it sees."""

    def __init__(self, *answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, frames: Tensor, others: Tensor) -> Any:
        return self.answer[0] if len(self.answer) == 1 else self.answer


def logits(seed: int) -> Tensor:
    return torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(seed))


def unknown(targets: Targets, *names: str) -> Targets:
    """The batch with NaN for what must play no part."""
    nothing = torch.full_like(targets.density, torch.nan)
    return replace(targets, **dict.fromkeys(names, nothing))


def test_both_branches_of_the_student_have_a_teacher_each(batch: Targets) -> None:
    """[UVA] Eq. 4 and 5."""
    recipe = CoupledRecipe(**SMALL)
    spatial, temporal = logits(0), logits(1)
    value = stages_of(recipe)[0].objective(Answer(spatial, temporal), batch, {})
    expected = recipe.loss(spatial, batch.density, batch.fixations, batch.spatial, "peak")
    expected = expected + recipe.loss(temporal, batch.density, batch.fixations, batch.teacher, "peak")
    assert value.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("mu", [0.0, 0.25])
def test_the_second_stage_has_a_mu_of_its_own(mu: float, batch: Targets) -> None:
    recipe = CoupledRecipe(**SMALL, fusion_mu=mu)
    value = stages_of(recipe)[1].objective(Answer(logits(0)), unknown(batch, "spatial"), {})
    expected = Loss(mu=mu)(logits(0), batch.density, batch.fixations, batch.teacher, "peak")
    assert value.item() == pytest.approx(expected.item())


def test_from_scratch_no_teacher_plays_a_part(batch: Targets) -> None:
    alone = unknown(batch, "teacher", "spatial")
    for stage, answer in zip(
        stages_of(CoupledRecipe(**SMALL, distilled=False)), ([logits(0)] * 2, [logits(0)]), strict=True
    ):
        value = stage.objective(Answer(*answer), alone, {})
        hard = Loss().hard(logits(0), batch.density, batch.fixations, "peak")
        assert value.item() == pytest.approx(len(answer) * hard.item()), stage.name


@pytest.mark.parametrize(("branch", "other"), [("spatial", "teacher"), ("temporal", "spatial")])
@pytest.mark.parametrize("kind", [CoupledRecipe, SkdRecipe])
def test_one_branch_learns_from_its_own_teacher(
    kind: type[Recipe], branch: str, other: str, batch: Targets
) -> None:
    network = UvaNetConfig(32, branches=branch)  # type: ignore[arg-type]
    stages = stages_of(kind(**{**SMALL, "network": network} if kind is CoupledRecipe else SMALL))
    stage = next(stage for stage in stages if stage.name in ("student", branch))
    built = stage.build({})
    assert isinstance(built, UvaNet)
    assert built.config == network
    value = stage.objective(Answer(logits(0)), unknown(batch, other), {})
    teacher = batch.spatial if branch == "spatial" else batch.teacher
    expected = Loss()(logits(0), batch.density, batch.fixations, teacher, "peak")
    assert value.item() == pytest.approx(expected.item())


def test_the_fusion_starts_from_the_student() -> None:
    student, fusion = stages_of(CoupledRecipe(**SMALL))
    trained = student.build({}).eval()
    assert isinstance(trained, Student)
    started = fusion.build({"student": trained}).state_dict()
    for name, value in trained.state_dict().items():
        if "decoder" not in name:
            assert torch.equal(value, started.pop(name)), name
    assert {name.split(".")[0] for name in started} == {"decoder"}


def test_one_branch_goes_on_as_it_is() -> None:
    network = UvaNetConfig(32, branches="spatial", block="mb")
    student, fusion = stages_of(CoupledRecipe(**{**SMALL, "network": network}))
    trained = student.build({})
    started = fusion.build({"student": trained})
    assert started is not trained
    for name, value in trained.state_dict().items():
        assert torch.equal(value, started.state_dict()[name]), name


@pytest.mark.parametrize("block", ["mb", "mb_se", "ca_res"])
def test_the_block_of_the_ablation_is_that_of_all_networks(block: str) -> None:
    network = UvaNetConfig(32, block=block)  # type: ignore[arg-type]
    for recipe in (CoupledRecipe, SkdRecipe, HierarchicalRecipe):
        for stage in stages_of(recipe(**{**SMALL, "network": network})):
            attention = [name for name, _ in stage.build({}).named_modules() if name.endswith("attention")]
            assert bool(attention) == (block != "mb"), stage.name


def test_skd_learns_from_both_students(batch: Targets) -> None:
    """Their maps are the soft targets, not the teachers'; the students stay as they are."""
    recipe = SkdRecipe(**{**SMALL, "loss": Loss(mu=0.25)})
    students = {"spatial": Answer(logits(1).requires_grad_()), "temporal": Answer(logits(2).requires_grad_())}
    said = logits(0).requires_grad_()
    value = stages_of(recipe)[2].objective(Answer(said), unknown(batch, "teacher", "spatial"), students)
    soft = [recipe.loss.soft(said, distribution(logits(seed), "peak"), "peak") for seed in (1, 2)]
    hard = recipe.loss.hard(said, batch.density, batch.fixations, "peak")
    assert value.item() == pytest.approx((0.75 * hard + 0.25 * (soft[0] + soft[1]) / 2).item())
    value.backward()
    assert said.grad is not None
    assert all(student.answer[0].grad is None for student in students.values())


def test_skd_without_students_learns_from_the_teacher(batch: Targets) -> None:
    recipe = SkdRecipe(**SMALL, student_steps=0)
    (stage,) = stages_of(recipe)
    value = stage.objective(Answer(logits(0)), unknown(batch, "spatial"), {})
    expected = recipe.loss(logits(0), batch.density, batch.fixations, batch.teacher, "peak")
    assert value.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("assisted", [True, False])
def test_the_heads_and_the_output_learn_from_one_teacher(assisted: bool, batch: Targets) -> None:
    recipe = HierarchicalRecipe(**SMALL, auxiliary=0.5, assistant_steps=3)
    heads = [logits(seed)[:, :8, :8] for seed in (1, 2, 3)]
    assistant = {"assistant": Answer(logits(4), [])}
    value = stages_of(recipe)[1].objective(Answer(logits(0), heads), batch, assistant if assisted else {})
    teacher = distribution(logits(4), "peak") if assisted else batch.teacher
    output = recipe.loss(logits(0), batch.density, batch.fixations, teacher, "peak")
    coarse = [recipe.loss.soft(head, pooled(teacher, 8), "peak") for head in heads]
    assert value.item() == pytest.approx((output + 0.5 * sum(coarse) / 3).item())


def test_a_pooled_density_keeps_its_sum(batch: Targets) -> None:
    coarse = pooled(batch.density, 8)
    assert coarse.shape == (4, 8, 8)
    torch.testing.assert_close(coarse.sum((1, 2)), batch.density.sum((1, 2)))
    torch.testing.assert_close(coarse[0, 0, 0], batch.density[0, :4, :4].sum())


@pytest.mark.parametrize("branches", ["both", "spatial", "temporal"])
def test_the_heads_are_not_kept(branches: str, batch: Targets) -> None:
    network = UvaNetConfig(32, branches=branches)  # type: ignore[arg-type]
    (stage,) = stages_of(HierarchicalRecipe(**{**SMALL, "network": network}))
    built = stage.build({}).eval()
    assert isinstance(built, Hierarchy)
    kept = stage.kept(built)
    assert isinstance(kept, UvaNet)
    assert set(kept.state_dict()) == set(UvaNet(network).state_dict())
    with torch.no_grad():
        said, intermediate = built(batch.frames, batch.others)
        torch.testing.assert_close(said, kept(batch.frames, batch.others))
        torch.testing.assert_close(stage.predict(built, batch.frames, batch.others), said)
    assert [tuple(item.shape) for item in intermediate] == [(4, 8, 8)] * 3


def test_the_assistant_is_wider() -> None:
    assistant, network = stages_of(HierarchicalRecipe(**SMALL, assistant_width=3, assistant_steps=1))
    widths = [stage.kept(stage.build({})).config.width for stage in (assistant, network)]  # type: ignore[union-attr]
    assert widths == [3, 1]
    with pytest.raises(OptionError, match="width"):
        stages_of(HierarchicalRecipe(**SMALL, assistant_width=9, assistant_steps=1))


# --- an assistant from another run ----------------------------------------------------------------------


@pytest.fixture
def assisted(tmp_path: Path) -> CoupledRecipe:
    """R = 32 with an assistant that sees 64."""
    path = tmp_path / "finer.safetensors"
    torch.manual_seed(1)
    save_checkpoint(path, UvaNet(UvaNetConfig(64)), {})
    return CoupledRecipe(**SMALL, assistant=str(path), assistant_resolution=64)


@pytest.fixture
def fine(toy: Any) -> Targets:
    """A batch of views at R = 64."""
    source = BatchSource(
        toy.stills, toy.videos, Mix(2, 2), Augmentation.none(), resolution=64, pairing="causal", seed=0
    )
    return Targets.of(source.draw(0), torch.device("cpu"))


def test_the_same_views_smaller(fine: Targets) -> None:
    coarse = fine.at(32)
    assert fine.at(64) is fine
    assert coarse.frames.dtype == torch.uint8
    first = fine.frames[0, :2, :2].float().mean(dim=(0, 1)).round()
    assert torch.equal(coarse.frames[0, 0, 0].float(), first)
    for name in ("density", "fixations", "teacher", "spatial"):
        whole = getattr(fine, name).reshape(4, 32, 2, 32, 2).sum(dim=(2, 4))
        torch.testing.assert_close(getattr(coarse, name), whole)


def test_an_assistant_takes_the_teachers_part(assisted: CoupledRecipe, fine: Targets) -> None:
    """At its own resolution, by the mean of the frames and their mirror images."""
    network = load_checkpoint(Path(assisted.assistant))[0].eval()
    with torch.no_grad():
        plain = distribution(network(fine.frames, fine.others), "peak")
        mirrored = distribution(network(fine.frames.flip(2), fine.others.flip(2)), "peak").flip(2)
    taught = replace(fine, teacher=(plain + mirrored) / 2).at(32)
    value = stages_of(assisted)[1].objective(Answer(logits(0)), unknown(fine, "teacher", "spatial"), {})
    expected = Loss(mu=0.5)(logits(0), taught.density, taught.fixations, taught.teacher, "peak")
    assert value.item() == pytest.approx(expected.item())


def test_where_nothing_is_known_an_assistant_is_the_truth(assisted: CoupledRecipe, fine: Targets) -> None:
    assistant = Assistant.of(assisted)
    nothing = fine.density.clone()
    nothing[1] = 0
    taught = assistant.teach(replace(fine, density=nothing, fixations=nothing))
    assert torch.equal(taught.density[1], taught.teacher[1])
    assert torch.equal(taught.fixations[1], taught.teacher[1])
    assert torch.equal(taught.density[0], fine.density[0])
    torch.testing.assert_close(taught.teacher.sum(dim=(1, 2)), torch.ones(4))


def test_a_coarser_assistant_sees_the_views_smaller(fine: Targets, tmp_path: Path) -> None:
    """R = 64 with an assistant that sees 32: its maps are enlarged, and stay densities."""
    path = tmp_path / "coarser.safetensors"
    torch.manual_seed(1)
    network = UvaNet(UvaNetConfig(32)).eval()
    save_checkpoint(path, network, {})
    recipe = CoupledRecipe(
        **{**SMALL, "network": UvaNetConfig(64)}, assistant=str(path), assistant_resolution=32
    )
    assert recipe.view_resolution == 64
    taught = Assistant.of(recipe).teach(fine)
    small = Assistant.of(recipe)._maps(fine.at(32))
    assert taught.teacher.shape == (4, 64, 64)
    torch.testing.assert_close(taught.teacher.sum(dim=(1, 2)), torch.ones(4))
    coarse = taught.teacher.reshape(4, 32, 2, 32, 2).sum(dim=(2, 4))
    assert np.corrcoef(coarse.numpy().ravel(), small.numpy().ravel())[0, 1] > 0.95


def test_a_run_with_an_assistant_learns(
    assisted: CoupledRecipe, toy: Any, fabric: Any, tmp_path: Path
) -> None:
    recipe = replace(
        assisted, student_steps=0, steps=2, augmentation=replace(Augmentation.none(), close_up=1.0)
    )
    network = train(recipe, toy, tmp_path / "run", fabric=fabric, lineage={})
    assert cast(UvaNet, network).config.resolution == 32


@pytest.mark.parametrize(
    "changes", [{"assistant_resolution": 0}, {"network": UvaNetConfig(32, pairing="lookahead")}]
)
def test_an_assistant_of_other_views_is_refused(changes: Any, assisted: CoupledRecipe) -> None:
    with pytest.raises(OptionError, match=r"assistant: .*finer\.safetensors sees causal pairs at R = 64"):
        stages_of(replace(assisted, **changes))


def test_stages_without_steps_are_left_out() -> None:
    assert [stage.name for stage in stages_of(CoupledRecipe(**SMALL, student_steps=0))] == ["fusion"]
    assert [stage.name for stage in stages_of(HierarchicalRecipe(**SMALL))] == ["network"]


@pytest.mark.parametrize("kind", [CoupledRecipe, SkdRecipe, HierarchicalRecipe])
def test_the_last_stage_may_start_from_another_resolution(kind: type[Recipe], tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    network = UvaNet(UvaNetConfig(64))
    save_checkpoint(path, network, {})
    (stage,) = stages_of(kind(**SMALL, initial=str(path)))
    built = stage.kept(stage.build({}))
    assert isinstance(built, UvaNet)
    assert built.config.resolution == 32
    for name, value in network.state_dict().items():
        assert torch.equal(value, built.state_dict()[name]), name


def test_another_network_is_no_start(untrained: Path) -> None:
    (stage,) = stages_of(
        CoupledRecipe(**{**SMALL, "network": UvaNetConfig(32, "mb")}, initial=str(untrained))
    )
    with pytest.raises(OptionError, match=r"initial: .*checkpoint\.safetensors.*block='ca_res'.*block='mb'"):
        stage.build({})
