"""The loop where something goes wrong: what is kept, what is told, and that no thread stays behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.data.clips import FramePair  # noqa: E402
from uva_edge.data.stills import Still  # noqa: E402
from uva_edge.errors import DataError, OptionError, OutputError  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint  # noqa: E402
from uva_edge.models.uva_net import UvaNet, UvaNetConfig  # noqa: E402
from uva_edge.training import loop  # noqa: E402
from uva_edge.training.loop import Progress, train  # noqa: E402
from uva_edge.training.recipe import Recipe  # noqa: E402

RECIPE = Recipe(
    network=UvaNetConfig(resolution=32), steps=12, stills_per_batch=2, pairs_per_batch=2, ema_decay=0.5
)


def still(seed: int) -> Still:
    """A grey picture with one bright spot, which everybody looks at."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.2, 0.8, 2)
    rows, columns = np.mgrid[0:48, 0:64]
    bell = np.exp(-((rows / 48 - y) ** 2 + (columns / 64 - x) ** 2) / 0.01)
    image = np.repeat((60 + 180 * bell)[:, :, None], 3, axis=2).astype(np.uint8)
    points = (np.array([x, y]) + rng.normal(0, 0.02, (8, 2))).astype(np.float32)
    return Still(f"still {seed}", "osie", image, points, (255 * bell).astype(np.uint8))


STILLS = [still(seed) for seed in range(4)]
PAIRS = [FramePair("clip", item.image, item.image, item.teacher) for item in STILLS]


def run(output: Path, **options: Any) -> UvaNet:
    arguments: dict[str, Any] = {"lineage": {}, "evaluate_every": 2, **options}
    return train(RECIPE, STILLS, PAIRS, STILLS[:2], output, **arguments)


def assert_no_thread_is_left() -> None:
    assert "uva-edge-batches" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_nothing_that_is_not_finite_reaches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """At step 5; the checkpoint of step 4 stays."""
    calls: list[torch.Tensor] = []
    original = loop.density_loss

    def failing(logits: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(logits)
        if len(calls) < 5:
            return original(logits, *rest)
        # The root of 0 is 0, its derivative infinite.
        return logits.sum() * torch.nan if broken == "loss" else (logits * 0).sum().sqrt()

    monkeypatch.setattr(loop, "density_loss", failing)
    told: list[Progress] = []
    with pytest.raises(DataError, match=r"at step 5.*learning rate") as caught:
        run(tmp_path, report=told.append)
    assert_no_thread_is_left()
    assert "nan" in str(caught.value)
    assert [progress.step for progress in told] == [2, 4]
    network, lineage = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert lineage["step"] == 4
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_run_that_is_interrupted_leaves_no_thread(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, report=interrupt)
    assert_no_thread_is_left()
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")[1]["step"] == 2


def test_a_place_that_is_no_directory_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "prefetch", lambda *_: pytest.fail("training began"))
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="expected a directory"):
            run(place)


def test_another_seed_gives_another_network(tmp_path: Path) -> None:
    recipes = [
        Recipe(network=RECIPE.network, steps=2, stills_per_batch=1, pairs_per_batch=1, seed=s) for s in (0, 1)
    ]
    one, two = (
        train(recipe, STILLS, PAIRS, STILLS[:1], tmp_path / str(recipe.seed), lineage={})
        for recipe in recipes
    )
    assert not torch.equal(one.decoder[-1].weight, two.decoder[-1].weight)
    assert not one.training


def test_one_step_is_a_run(tmp_path: Path) -> None:
    recipe = Recipe(network=RECIPE.network, steps=1, stills_per_batch=1, pairs_per_batch=1)
    lineage = {"teacher": "nobody", "data": ["spots"]}
    train(recipe, STILLS, PAIRS, STILLS[:1], tmp_path, lineage=lineage)
    stored = load_checkpoint(tmp_path / "checkpoint.safetensors")[1]
    assert stored["teacher"] == "nobody"
    assert stored["recipe"]["network"]["resolution"] == 32
    assert set(stored["validation"]) == {"nss", "cc", "auc"}


def test_data_of_both_kinds_is_needed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="got 4 and 0"):
        train(RECIPE, STILLS, [], STILLS, tmp_path, lineage={})
