"""Recipes: what a TOML file may hold, what it may not, and the paper's own choices."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.data.augment import Augmentation
from uva_edge.data.batches import Mix
from uva_edge.errors import DataError, OptionError, UvaEdgeError
from uva_edge.models.uva_net import UvaNetConfig
from uva_edge.toml_files import MAX_TOML_BYTES
from uva_edge.training.losses import Loss
from uva_edge.training.recipe import (
    RECIPES,
    CoupledRecipe,
    HierarchicalRecipe,
    Optimisation,
    Recipe,
    SkdRecipe,
    Statistics,
    TeacherRecipe,
    read_recipe,
    recipe_from,
)

SHARED: dict[str, Any] = {
    "network": UvaNetConfig(32, "mb_se", 3, "lookahead", "sigmoid", "temporal", 2),
    "steps": 7,
    "loss": Loss("l2", 0.25, 0.5, 0.75),
    "mix": Mix(3, 5),
    "augmentation": Augmentation(crop=(0.5, 0.75), noise=0.125),
    "optimisation": Optimisation("adam", "constant", 1e-5, 0.0, 1.0, 0.5),
    "statistics": Statistics(3, Mix(1, 2)),
    "patience": 2,
    "seed": 11,
}
CHANGED: list[Recipe] = [
    CoupledRecipe(**SHARED, initial='a "quoted" path', student_steps=0, distilled=False, fusion_mu=0.125),
    CoupledRecipe(**SHARED, assistant="finer.safetensors", assistant_resolution=96),
    SkdRecipe(**SHARED, student_steps=9),
    HierarchicalRecipe(**SHARED, auxiliary=1.5, assistant_width=3, assistant_steps=4),
    TeacherRecipe(**SHARED, teacher="ssnet", width=0.25, imagenet="vgg.pth"),
]
DEFAULTS: list[Recipe] = [kind() for kind in RECIPES.values()]


def toml(values: dict[str, Any], inside: str = "") -> str:
    """What a user would write: plain values first, then a table for each record."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if not isinstance(value, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{inside}{name}]", toml(table, f"{inside}{name}.")]
    return "\n".join(lines)


@pytest.mark.parametrize("recipe", [*CHANGED, *DEFAULTS], ids=lambda recipe: recipe.name)
def test_a_recipe_comes_back_from_toml_and_from_a_lineage(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(toml(recipe.as_dict()))
    assert read_recipe(path) == recipe
    assert recipe_from(json.loads(json.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize("kind", RECIPES.values(), ids=RECIPES)
def test_the_changed_recipes_leave_nothing_at_its_default(kind: type[Recipe]) -> None:
    """Or the round trip would not show that a field is read."""
    changed, default = [recipe for recipe in CHANGED if type(recipe) is kind], kind()
    for item in dataclasses.fields(kind):
        # No field that all recipes share is left out but this: the other stages go with it.
        if item.name != "initial" or kind is CoupledRecipe:
            assert any(getattr(one, item.name) != getattr(default, item.name) for one in changed), item.name


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "skd"\n[network]\nresolution = 32\n[optimisation]\nlearning_rate = 1\n')
    expected = SkdRecipe(network=UvaNetConfig(32), optimisation=Optimisation(learning_rate=1.0))
    assert read_recipe(path) == expected
    assert type(read_recipe(path).optimisation.learning_rate) is float
    assert recipe_from({}) == CoupledRecipe()


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("recipes/*.toml")), ids=lambda p: p.stem
)
def test_the_recipes_of_the_repository_are_recipes(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.stem.endswith(f"-{recipe.network.resolution}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stepz = 3", "stepz"),
        ("[network]\nresolutoin = 32", r"network.*resolutoin"),
        ('steps = "many"', "steps: expected an integer"),
        ("steps = 2.0", "steps: expected an integer"),
        ("steps = true", "steps: expected an integer"),
        ("steps = 0", "steps must be at least 1"),
        ("student_steps = -1", "student_steps"),
        ("seed = -1", "seed"),
        ("patience = -1", "patience"),
        ("fusion_mu = 1.5", "fusion_mu"),
        ("assistant_resolution = 96", "assistant_resolution"),
        ('assistant = "a"\ndistilled = false', "assistant must be empty"),
        ("[statistics]\nbatches = -1", "batches"),
        ("[augmentation]\nclose_up = 0.5", "close_up must be 0"),
        ('name = "skd"\n[augmentation]\nclose_up = 0.5', "close_up must be 0"),
        ("distilled = 1", "distilled: expected true or false"),
        ("network = 64", "network: expected an object"),
        ("[network]\nresolution = 48", "resolution"),
        ("[network]\nwidth = 9", "width"),
        ('[network]\nblock = "resnet"', "block"),
        ("[loss]\nmu = 2", "mu"),
        ('[loss]\nkind = "l3"', "kind"),
        ("[mix]\nstills = 1\nvideos = 0", "stills=1"),
        ("[augmentation]\ncrop = [0.8, 0.2]", "crop"),
        ("[augmentation]\ncrop = [0.8]", "crop"),
        ("[augmentation]\ncrop = [0.8, 0.9, 1.0]", "crop"),
        ("[augmentation]\nflip = 1.5", "flip"),
        ("[optimisation]\nlearning_rate = 0", "learning_rate"),
        ("[optimisation]\nlearning_rate = nan", "learning_rate: expected a finite number"),
        ("[optimisation]\nema_decay = 1.0", "ema_decay"),
        ('[optimisation]\noptimizer = "sgd"', "optimizer"),
        ('[optimisation]\nschedule = "cosine"', "schedule"),
        ('name = "kd"', "name"),
        ("name = 3", "name"),
        ("steps = 2026-01-01", "steps: expected an integer"),
        ('name = "hierarchical"\nauxiliary = -1', "auxiliary"),
        ('name = "hierarchical"\nassistant_width = 0', "assistant_width"),
        ('name = "teacher"\nteacher = "vit"', "teacher"),
        ('name = "teacher"\nwidth = 0', "width"),
        ('name = "teacher"\ninitial = "x"', "initial"),
        ('name = "skd"\nfusion_mu = 0.5', "fusion_mu"),
    ],
)
def test_what_is_no_recipe_is_refused_by_the_name_of_the_field(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=named) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"steps = ", b"steps = 1\nsteps = 2", b"\xff\xfe", b"#" * (MAX_TOML_BYTES + 1), None],
    ids=range(5),
)
def test_a_file_that_is_no_toml_is_told_by_its_name(data: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=r"recipe\.toml: expected a recipe in TOML"):
        read_recipe(path)


def test_a_file_nested_beyond_reason_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("mix = " + "[" * 100_000)
    with pytest.raises(UvaEdgeError):
        read_recipe(path)


@pytest.mark.parametrize("resolution", [32, 64])
def test_the_paper(resolution: int) -> None:
    """[UVA] section 4 and the authors' code: L2, mu 0.5 then 0, Adam 5e-4, batch 96, pairs with the next frame."""
    paper = CoupledRecipe.paper(resolution)
    assert paper.network == UvaNetConfig(resolution, "ca_res", 2, "lookahead", "clamp", "both", 1)
    assert (paper.loss.kind, paper.loss.mu, paper.fusion_mu, paper.distilled) == ("l2", 0.5, 0.0, True)
    assert (paper.student_steps, paper.steps, paper.mix.size) == (3000, 3000, 96)
    choice = paper.optimisation
    assert (choice.optimizer, choice.learning_rate, choice.schedule) == ("adam", 5e-4, "constant")
    assert (choice.weight_decay, choice.gradient_clip, choice.ema_decay) == (0, 0, 0)
    assert paper.augmentation == Augmentation.none()


def test_a_lineage_names_files_without_their_folders() -> None:
    one = CoupledRecipe(initial="/home/somebody/runs/first.safetensors")
    assert one.lineage() == {**one.as_dict(), "initial": "first.safetensors"}
    assisted = CoupledRecipe(assistant="/home/somebody/runs/finer.safetensors")
    assert assisted.lineage() == {**assisted.as_dict(), "assistant": "finer.safetensors"}
    other = TeacherRecipe(imagenet="/data/vgg16.pth")
    assert other.lineage() == {**other.as_dict(), "imagenet": "vgg16.pth"}
    assert CoupledRecipe().lineage() == CoupledRecipe().as_dict()
