"""Batches, losses, the loop and its scores, on a tiny data set."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from uva_edge.cli import main
from uva_edge.data.augment import Augmentation
from uva_edge.data.batches import BatchSource, prefetch
from uva_edge.data.clips import read_clips, read_pairs
from uva_edge.data.stills import read_stills
from uva_edge.errors import DataError, OptionError
from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.uva_net import UvaNet, UvaNetConfig
from uva_edge.training.evaluation import score_clips, score_stills
from uva_edge.training.loop import Progress, train
from uva_edge.training.losses import DensityWeights, density_loss
from uva_edge.training.recipe import Recipe


def source(data: Path, seed: int = 0) -> BatchSource:
    return BatchSource(
        read_stills(data, "train"),
        read_pairs(data, "train", per_clip=5),
        resolution=32,
        stills_per_batch=3,
        pairs_per_batch=2,
        augmentation=Augmentation(),
        seed=seed,
    )


def test_batches_repeat_by_seed_and_put_stills_first(data: Path) -> None:
    one, two, other = source(data).draw(), source(data).draw(), source(data, seed=1).draw()
    assert one.frames.shape == one.others.shape == (5, 32, 32, 3)
    assert one.frames.dtype == np.uint8
    for name in ("frames", "others", "density", "teacher", "fixations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert (one.frames != other.frames).any()
    assert all(np.isclose(total, 1, atol=1e-4) or total == 0 for total in one.density.sum((1, 2)))
    np.testing.assert_array_equal(one.density[3:], one.teacher[3:])
    assert (one.density[:3] != one.teacher[:3]).any()
    assert (one.frames != one.others).any()


def test_prefetch_gives_the_same_batches_and_ends(data: Path) -> None:
    drawn = source(data)
    expected = [drawn.draw().frames for _ in range(4)]
    for ours, batch in zip(expected, prefetch(source(data), 4), strict=True):
        np.testing.assert_array_equal(ours, batch.frames)
    early = prefetch(source(data), 1000)
    next(early)
    early.close()  # type: ignore[attr-defined]
    assert "uva-edge-batches" not in {thread.name for thread in threading.enumerate()}


def test_prefetch_hands_on_what_went_wrong(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = source(data)
    monkeypatch.setattr(broken, "draw", lambda: (_ for _ in ()).throw(DataError("torn")))
    with pytest.raises(DataError, match="torn"):
        list(prefetch(broken, 3))


def targets(seed: int = 0) -> torch.Tensor:
    values = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4
    return values / values.sum((1, 2), keepdim=True)


def test_loss_of_the_truth_is_the_least() -> None:
    truth = targets()
    kl = DensityWeights(hard=0.5, soft=0.5, nss=0, cc=0)
    exact = density_loss(truth.log(), truth, truth, truth, kl)
    assert abs(exact.item()) < 1e-5
    for seed in range(1, 6):
        assert density_loss(targets(seed).log(), truth, truth, truth, kl) > exact + 0.1
        everything = DensityWeights()
        better = density_loss(truth.log(), truth, truth, truth, everything)
        assert density_loss(targets(seed).log(), truth, truth, truth, everything) > better


def test_loss_has_the_gradient_of_its_differences() -> None:
    logits = torch.randn(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    logits.requires_grad_()
    truth = targets()[:, :4, :4]
    assert torch.autograd.gradcheck(
        lambda x: density_loss(x, truth, truth, truth, DensityWeights()), (logits,), atol=1e-6
    )


def test_what_is_not_in_view_takes_part_in_nothing() -> None:
    logits, empty = torch.randn(2, 8, 8, dtype=torch.float64), torch.zeros(2, 8, 8, dtype=torch.float64)
    assert density_loss(logits, empty, empty, empty, DensityWeights()).item() == 0


TINY = Recipe(network=UvaNetConfig(resolution=32), steps=12, stills_per_batch=4, pairs_per_batch=2, ema_decay=0.5)


def run(data: Path, output: Path, recipe: Recipe = TINY) -> tuple[UvaNet, list[Progress]]:
    told: list[Progress] = []
    network = train(
        recipe,
        read_stills(data, "train"),
        read_pairs(data, "train", per_clip=5),
        read_stills(data, "val"),
        output,
        lineage={"data": ["tiny"]},
        evaluate_every=4,
        report=told.append,
    )
    return network, told


def test_a_run_learns_keeps_its_results_and_repeats(data: Path, tmp_path: Path) -> None:
    network, told = run(data, tmp_path / "one")
    assert [progress.step for progress in told] == [4, 8, 12]
    assert told[-1].loss < told[0].loss
    loaded, lineage = load_checkpoint(tmp_path / "one" / "checkpoint.safetensors")
    assert lineage["step"] == 12
    assert lineage["recipe"]["steps"] == 12
    assert lineage["validation"] == told[-1].scores
    with (tmp_path / "one" / "log.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [4, 8, 12]
    again, _ = run(data, tmp_path / "one")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert torch.equal(value, loaded.state_dict()[name]), name
    with (tmp_path / "one" / "log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3, "a new run starts its log anew"


def test_a_diverging_run_stops(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="loss is"):
        run(data, tmp_path / "run", replace(TINY, learning_rate=1e30, gradient_clip=1e30))


def test_recipes_refuse_what_they_do_not_train() -> None:
    with pytest.raises(OptionError, match="lookahead"):
        Recipe(network=UvaNetConfig(pairing="lookahead"))
    with pytest.raises(OptionError, match="steps"):
        Recipe(steps=0)


def test_scores_know_a_good_map_from_a_bad_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uva_edge.training import evaluation

    stills, clips = read_stills(data, "val"), list(read_clips(data, "val"))
    network = UvaNet(UvaNetConfig(resolution=32)).train()

    def maps_of(pictures: list[Any]) -> Any:
        queue = iter(pictures)
        return lambda _, frames, others: np.stack([next(queue) for _ in frames])

    small = [np.asarray(still.teacher, np.float32)[::3, ::4] / 255 for still in stills]
    monkeypatch.setattr(evaluation, "predict_pairs", maps_of(small))
    good = score_stills(network, stills)
    monkeypatch.setattr(evaluation, "predict_pairs", maps_of([1 - picture for picture in small]))
    bad = score_stills(network, stills)
    assert good["nss"] > 0.5 > -0.5 > bad["nss"]
    assert good["auc"] > 0.7 > 0.3 > bad["auc"]

    exact = [np.asarray(teacher, np.float32) / 255 for clip in clips for teacher in clip.teacher]
    monkeypatch.setattr(evaluation, "predict_pairs", maps_of(exact))
    assert score_clips(network, clips)["cc"] == pytest.approx(1, abs=1e-5)
    monkeypatch.undo()
    assert score_stills(network, stills)["nss"] != good["nss"]
    assert network.training, "the mode is put back"


def test_train_and_evaluate_commands(data: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        words = ["train", "--data", data, "-o", tmp_path / "run", "--resolution", "32", "--steps", "2", "--eager"]
        result = CliRunner().invoke(main, list(map(str, words)))
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.stderr
    assert "step 2/2" in result.stderr
    checkpoint = result.stdout.strip()
    scores = CliRunner().invoke(main, ["evaluate", checkpoint, "--data", str(data)])
    assert scores.exit_code == 0, scores.stderr
    assert "osie" in scores.stdout
    missing = CliRunner().invoke(main, ["evaluate", checkpoint, "--data", str(tmp_path)])
    assert missing.exit_code == 1
    assert "fixations.csv" in missing.stderr
