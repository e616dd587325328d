"""A run that was killed goes on to the same numbers, and what is no state of a run is refused unread."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.cli import main  # noqa: E402
from uva_edge.data.batches import Mix  # noqa: E402
from uva_edge.errors import DataError  # noqa: E402
from uva_edge.models.uva_net import UvaNetConfig  # noqa: E402
from uva_edge.training import loop, resume  # noqa: E402
from uva_edge.training.loop import CHECKPOINT, RESUME, Progress, RunOptions, train  # noqa: E402
from uva_edge.training.recipe import CoupledRecipe, HierarchicalRecipe, Recipe, SkdRecipe  # noqa: E402
from uva_edge.training.resume import load_resume, save_resume  # noqa: E402

SMALL: dict[str, Any] = {"network": UvaNetConfig(32), "mix": Mix(1, 1), "steps": 6}


class Killed(BaseException):
    """What no one catches."""


@pytest.fixture
def run(toy: Any, fabric: Any) -> Any:
    """Trains into a directory and returns what it told; dies after a step of a stage."""

    def _run(
        recipe: Recipe,
        output: Path,
        *,
        dies: tuple[str, int] | None = None,
        resume: bool = False,
        every: int = 3,
    ) -> list[Progress]:
        told: list[Progress] = []

        def report(now: Progress) -> None:
            told.append(now)
            if (now.stage, now.step) == dies:
                raise Killed

        choices = RunOptions(evaluate_every=every, checkpoint_every=2, resume=resume)
        train(recipe, toy, output, fabric=fabric, lineage={}, options=choices, report=report)
        return told

    return _run


def assert_same(one: Path, two: Path) -> None:
    for name in (CHECKPOINT, "log.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.usefixtures("restored_threads")
def test_a_process_that_is_killed_goes_on_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """SIGKILL, somewhere after the first state was written; then the same command with --resume."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "steps = 24\nstudent_steps = 3\n[network]\nresolution = 32\n[mix]\nstills = 1\nvideos = 1\n"
    )
    words = ["train", "--data", data, "--recipe", recipe, "--eager", "--accelerator", "cpu"]
    words += ["--evaluate-every", 20, "--checkpoint-every", 2, "--cache", tmp_path / "cache", "-o"]
    command = [sys.executable, "-m", "uva_edge", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 300
        while not (tmp_path / "killed" / RESUME).exists():
            assert killed.poll() is None, "it ended before it wrote a state"
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert load_resume(tmp_path / "killed" / RESUME)["state"]["step"] < 24
    for ending in (["killed", "--resume"], ["whole"]):
        result = CliRunner().invoke(main, [*command[3:], str(tmp_path / ending[0]), *ending[1:]])
        assert result.exit_code == 0, result.output
    assert_same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize(
    ("recipe", "deaths"),
    [
        (
            CoupledRecipe(**SMALL, student_steps=4),
            [("student", 3), ("student", 4), ("fusion", 1), ("fusion", 5)],
        ),
        (SkdRecipe(**SMALL, student_steps=2), [("temporal", 1), ("spatiotemporal", 5)]),
        (HierarchicalRecipe(**SMALL, assistant_steps=2), [("network", 5)]),
        (CoupledRecipe(**SMALL, student_steps=0, patience=9), [("fusion", 5)]),
    ],
    ids=["coupled", "skd", "hierarchical", "patient"],
)
def test_a_run_that_dies_often_ends_as_one_that_does_not(
    recipe: Recipe, deaths: list[tuple[str, int]], run: Any, tmp_path: Path
) -> None:
    """In its first stage, at the end of one, before the first state of the next, and in the last."""
    whole = run(recipe, tmp_path / "whole")
    for number, dies in enumerate(deaths):
        with pytest.raises(Killed):
            run(recipe, tmp_path / "dying", dies=dies, resume=number > 0)
    rest = run(recipe, tmp_path / "dying", resume=True)
    assert_same(tmp_path / "dying", tmp_path / "whole")
    # Only the steps since the last state, which is of every second step.
    assert rest == whole[-len(rest) :]
    assert len(rest) == 2


def assert_nothing_is_trained(run: Any, recipe: Recipe, output: Path) -> None:
    before = {name: (output / name).read_bytes() for name in (CHECKPOINT, "log.csv")}
    assert run(recipe, output, every=1, resume=True) == []
    assert {name: (output / name).read_bytes() for name in before} == before


def test_nothing_is_trained_after_the_end(run: Any, tmp_path: Path) -> None:
    recipe = CoupledRecipe(**SMALL, student_steps=0)
    assert len(run(recipe, tmp_path, every=1)) == 6
    assert_nothing_is_trained(run, recipe, tmp_path)


def test_nothing_is_trained_after_an_early_end(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the next step would have found better scores."""
    scores = iter([0.5, 0.4, 0.9])
    monkeypatch.setattr(loop, "headline", lambda _: next(scores))
    recipe = CoupledRecipe(**SMALL, student_steps=0, patience=1)
    assert len(run(recipe, tmp_path, every=1)) == 2
    assert_nothing_is_trained(run, recipe, tmp_path)


def test_without_a_state_it_begins(run: Any, tmp_path: Path) -> None:
    assert len(run(CoupledRecipe(**{**SMALL, "steps": 1}, student_steps=0), tmp_path, resume=True)) == 1


def test_a_state_of_another_recipe_is_refused(run: Any, tmp_path: Path) -> None:
    recipe = CoupledRecipe(**{**SMALL, "steps": 1}, student_steps=0)
    run(recipe, tmp_path)
    for other in (replace(recipe, seed=1), SkdRecipe(**{**SMALL, "steps": 1}, student_steps=0)):
        with pytest.raises(DataError, match=r"resume\.pt: it is of another recipe.*--resume"):
            run(other, tmp_path, resume=True)


STATE = {"recipe": {}, "finished": {}, "stage": "fusion", "state": {"x": torch.arange(300.0)}, "journal": []}


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / RESUME
    save_resume(path, STATE)
    found = load_resume(path)
    assert torch.equal(found["state"].pop("x"), STATE["state"]["x"])  # type: ignore[index]
    assert found == {**STATE, "state": {}}


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_nothing_in_a_state_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**STATE, "journal": [Bomb()]}, "zipped.pt")
    Path("plain.pt").write_bytes(pickle.dumps({**STATE, "state": Bomb()}))
    torch.save({**STATE, "journal": [Bomb()]}, "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("zipped.pt", "plain.pt", "legacy.pt"):
        with pytest.raises(DataError, match=f"{name}: expected the state of a training run"):
            load_resume(Path(name))
    assert not Path("exploded").exists()


def test_more_than_a_state_can_be_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a long file nor a short one that unpacks to a long one."""
    monkeypatch.setattr(resume, "MAX_BYTES", 100_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    torch.save({**STATE, "state": torch.zeros(30_000)}, tmp_path / "long.pt")
    with (
        zipfile.ZipFile(tmp_path / "long.pt") as archive,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    assert (tmp_path / "packed.pt").stat().st_size < 10_000
    for name in ("long.pt", "packed.pt"):
        with pytest.raises(DataError, match=f"{name}: .*more than 100000 bytes"):
            load_resume(tmp_path / name)


@pytest.mark.parametrize("values", [[], {}, {**STATE, "more": 1}, {"recipe": {}}], ids=str)
def test_other_values_are_no_state(values: Any, tmp_path: Path) -> None:
    torch.save(values, tmp_path / RESUME)
    with pytest.raises(DataError, match="expected finished, journal, recipe, stage, state"):
        load_resume(tmp_path / RESUME)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"resume\.pt: .*No such file"):
        load_resume(tmp_path / RESUME)


@given(place=st.floats(0, 1, exclude_max=True), cut=st.booleans(), change=st.integers(1, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_told_or_harmless(place: float, cut: bool, change: int, tmp_path: Path) -> None:
    path = tmp_path / RESUME
    save_resume(path, STATE)
    data = bytearray(path.read_bytes())
    index = int(place * len(data))
    if cut:
        del data[index:]
    else:
        data[index] ^= change
    path.write_bytes(data)
    try:
        found = load_resume(path)
    except DataError:
        return
    assert not cut
    assert set(found) == set(STATE)


def test_a_state_that_does_not_fit_the_networks_is_told(run: Any, tmp_path: Path) -> None:
    """As of another version of them."""
    recipe = CoupledRecipe(**{**SMALL, "steps": 2}, student_steps=2)
    run(recipe, tmp_path)
    values = load_resume(tmp_path / RESUME)
    for part in (values["finished"]["student"], values["state"]["module"], values["state"]):
        name = next(iter(part))
        value = part.pop(name)
        save_resume(tmp_path / RESUME, values)
        with pytest.raises(DataError, match=r"resume\.pt: .*does not fit"):
            run(recipe, tmp_path, resume=True)
        part[name] = value
