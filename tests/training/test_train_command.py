"""`uva-edge train` and `uva-edge teach` from end to end on a tiny data set."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.cli import main  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint  # noqa: E402
from uva_edge.models.teachers.checkpoint import load_teacher  # noqa: E402
from uva_edge.training.recipe import CoupledRecipe, recipe_from  # noqa: E402

pytestmark = pytest.mark.usefixtures("restored_threads")

SMALL = "steps = 2\n[network]\nresolution = 32\n[mix]\nstills = 1\nvideos = 1\n"


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Any:
    """The command with a recipe in TOML, into tmp_path / "run"."""

    def _train(*words: Any, recipe: str | None = SMALL, specs: tuple[Any, ...] = (data,)) -> Result:
        if recipe is not None:
            (tmp_path / "recipe.toml").write_text(recipe)
            words = ("--recipe", tmp_path / "recipe.toml", *words)
        sources = [word for spec in specs for word in ("--data", spec)]
        fixed = ("train", *sources, "-o", tmp_path / "run", "--eager", "--accelerator", "cpu")
        return CliRunner().invoke(main, [*map(str, fixed), *map(str, words)])

    return _train


def teach(*words: Any) -> Result:
    return CliRunner().invoke(main, ["teach", *map(str, words)])


def refused(result: Result) -> str:
    """One line in our words, and no traceback."""
    assert result.exit_code == 1, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("uva-edge: ")
    assert result.stdout == ""
    return last


@pytest.mark.parametrize(
    ("recipe", "last"),
    [
        ("student_steps = 1\n", "fusion"),
        ('name = "skd"\nstudent_steps = 1\n', "spatiotemporal"),
        ('name = "hierarchical"\nassistant_steps = 1\n', "network"),
    ],
    ids=["coupled", "skd", "hierarchical"],
)
def test_each_recipe(recipe: str, last: str, train: Any, tmp_path: Path) -> None:
    result = train("--maps-by", "nobody", recipe=recipe + SMALL)
    assert result.exit_code == 0, result.output
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert result.stdout == f"{checkpoint}\n"
    for told in (f"{last} 2/2", "osie: nss", "clips: cc"):
        assert told in result.stderr
    network, lineage = load_checkpoint(checkpoint)
    assert network.config.resolution == 32
    assert (lineage["stage"], lineage["teacher"]) == (last, "nobody")
    assert recipe_from(lineage["recipe"]).steps == 2
    assert lineage["data"] == [
        "clips: 1 videos, train split",
        "osie: 2 stills, train split",
        "sun500: 2 stills, train split",
    ]
    assert json.loads(json.dumps(lineage)) == lineage
    assert len(list((tmp_path / "cache").iterdir())) == 2
    again = train("--resume", recipe=recipe + SMALL)
    assert again.exit_code == 0, again.output
    assert f"{last} 2/2" not in again.stderr


def test_options_change_the_recipe(train: Any, untrained: Path, tmp_path: Path) -> None:
    words = (
        "--steps",
        1,
        "--seed",
        7,
        "--resolution",
        64,
        "--initial",
        untrained,
        "--precision",
        "bf16-mixed",
    )
    result = train(*words)
    assert result.exit_code == 0, result.output
    _, lineage = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    recipe = recipe_from(lineage["recipe"])
    assert (recipe.steps, recipe.seed, recipe.network.resolution) == (1, 7, 64)
    assert recipe.initial == untrained.name
    assert lineage["data"][-1].startswith("started from the weights of checkpoint.safetensors, sha256 ")


def test_an_assistant_is_told_in_the_lineage(train: Any, untrained: Path, tmp_path: Path) -> None:
    network, _ = load_checkpoint(untrained)
    side = network.config.resolution
    result = train(recipe=f'assistant = "{untrained}"\nassistant_resolution = {side}\n' + SMALL)
    assert result.exit_code == 0, result.output
    _, lineage = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert lineage["recipe"]["assistant"] == untrained.name
    assert lineage["data"][-1].startswith("assisted by the weights of checkpoint.safetensors, sha256 ")


def test_the_paper_s_choices(train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from uva_edge.training import command

    seen: list[Any] = []
    monkeypatch.setattr(command, "train", lambda recipe, *_, **__: seen.append(recipe))
    result = train("--paper", "--resolution", 32, recipe=None)
    assert result.exit_code == 0, result.output
    assert seen == [CoupledRecipe.paper(32)]


def test_a_teacher_is_trained_and_teaches(train: Any, data: Path, tmp_path: Path) -> None:
    """Its maps in place of the data's, and as those of a spatial teacher."""
    result = train(recipe='name = "teacher"\nteacher = "dva"\nwidth = 0.03\n' + SMALL.replace("2", "1", 1))
    assert result.exit_code == 0, result.output
    assert "dva starts from scratch: no ImageNet weights were named" in result.stderr
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    teacher, lineage = load_teacher(checkpoint)
    assert (teacher.name, teacher.width, lineage["stage"]) == ("dva", 0.03, "dva")
    root = tmp_path / "taught"
    for count in (5, 0):  # what is there is not made again
        told = teach(checkpoint, "--data", data, "-o", root)
        assert told.exit_code == 0, told.output
        assert told.stdout == f"{root / 'teacher_maps'}: maps of {count} more stills and videos\n"
    with np.load(root / "teacher_maps" / "images.npz") as maps:
        assert len(maps["names"]) == 4
    for words in (("--maps", root), ("--spatial-maps", root)):
        result = train(*words, "--steps", 1, recipe="student_steps = 1\n" + SMALL)
        assert result.exit_code == 0, result.output
    # Other maps are other data: stills and videos are packed anew for each.
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_maps_that_are_missing_are_told_by_their_file(train: Any, tmp_path: Path) -> None:
    assert "images.npz" in refused(train("--maps", tmp_path / "nowhere"))
    assert "images.npz" in refused(train("--spatial-maps", tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("words", "recipe", "named"),
    [
        (("--recipe", "cuopled"), None, "cuopled: expected a recipe"),
        ((), "stepz = 2", r"recipe.toml: recipe coupled: .*stepz"),
        (("--steps", 0), SMALL, "steps must be at least 1"),
        (("--seed", -1), SMALL, "seed"),
        (("--resolution", 48), SMALL, "resolution must be one of"),
        (("--threads", 0), SMALL, "threads must be at least 1"),
        (("--precision", "16-mixed"), SMALL, "precision must be one of"),
        (("--evaluate-every", 0), SMALL, "evaluate_every"),
        (("--accelerator", "abacus"), SMALL, "accelerator abacus"),
        (("--devices", "0"), SMALL, "devices 0"),
        (("--devices", "many"), SMALL, "devices many"),
        (("--paper",), SMALL, "--paper"),
        (("--teacher", "dva"), SMALL, "--teacher"),
        (("--imagenet", "vgg.pth"), SMALL, "--imagenet is for a teacher"),
        (("--teacher", "dva", "--initial", "x"), None, "initial"),
        (("--initial", "nowhere.safetensors"), SMALL, "nowhere.safetensors"),
    ],
)
def test_mistakes_are_told_in_one_line(words: Any, recipe: str | None, named: str, train: Any) -> None:
    assert re.search(named, refused(train(*words, recipe=recipe)))


def test_data_need_a_val_split(train: Any, data: Path) -> None:
    line = refused(train(specs=(f"videos:{data / 'clips'}",)))
    assert "val split" in line
    assert str(data / "clips") in line


def test_one_damaged_still_is_too_much_of_a_few(train: Any, data: Path) -> None:
    (data / "images" / "still_1.jpg").write_bytes(b"no picture")
    result = train()
    assert result.exit_code == 1
    assert "1 of 4 stills and videos are damaged, more than 1%" in result.stderr
    assert "still_1.jpg" in result.stderr


def test_one_damaged_still_of_many_is_skipped_by_its_name(train: Any, data: Path) -> None:
    """Links, for the pictures of many stills take long to write."""
    with (data / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = [row["name"] for row in rows if row["split"] == "train"][1:]
    more = [f"more_{number}" for number in range(110)]
    for number, name in enumerate(more):
        (data / "images" / f"{name}.jpg").hardlink_to(data / "images" / f"{good[number % len(good)]}.jpg")
    with (data / "images.csv").open("a", newline="") as file:
        csv.writer(file).writerows((name, "osie", "train") for name in more)
    with (data / "fixations.csv").open("a", newline="") as file:
        csv.writer(file).writerows((name, 0.5, 0.5) for name in more)
    (data / "teacher_maps" / "images.npz").unlink()
    (data / "images" / f"{rows[0]['name']}.jpg").write_bytes(b"no picture")
    result = train("--steps", 1, recipe="student_steps = 0\n" + SMALL)
    assert result.exit_code == 0, result.output
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 1
    assert rows[0]["name"] in skipped[0]
