"""What each recipe trains: its networks in their order, what they start from, and what they learn from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from uva_edge.training.hierarchy import Hierarchy, pooled  # noqa: E402
from uva_edge.training.loop import CHECKPOINT, Progress, RunOptions, train  # noqa: E402
from uva_edge.training.losses import Loss, distribution  # noqa: E402
from uva_edge.training.recipe import (  # noqa: E402
    CoupledRecipe,
    HierarchicalRecipe,
    Optimisation,
    Recipe,
    SkdRecipe,
    TeacherRecipe,
)
from uva_edge.training.stages import Targets, stages_of  # noqa: E402

SMALL: dict[str, Any] = {
    "network": UvaNetConfig(resolution=32),
    "steps": 20,
    "mix": Mix(2, 2),
    "optimisation": Optimisation(learning_rate=5e-3, ema_decay=0.5),
    "augmentation": Augmentation.none(),
}


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
        (CoupledRecipe(**SMALL, student_steps=20), ["student", "fusion"]),
        (SkdRecipe(**SMALL, student_steps=20), ["spatial", "temporal", "spatiotemporal"]),
        (HierarchicalRecipe(**SMALL, assistant_steps=15), ["assistant", "network"]),
        (TeacherRecipe(**SMALL, teacher="salnet", width=0.1), ["salnet"]),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else "",
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
        assert np.mean(values[-4:]) < np.mean(values[:4]) - 0.05, name
    load = load_teacher if isinstance(recipe, TeacherRecipe) else load_checkpoint
    stored, lineage = load(tmp_path / CHECKPOINT)
    assert {name: value.tolist() for name, value in stored.state_dict().items()} == {
        name: value.tolist() for name, value in network.state_dict().items()
    }
    assert lineage["recipe"] == recipe.as_dict()
    assert (lineage["stage"], lineage["step"], lineage["teacher"]) == (names[-1], recipe.steps, "the truth")
