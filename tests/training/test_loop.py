"""The loop: what it keeps and tells, when it stops, and that nothing broken reaches the weights or the disk."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from tensorboardX.proto.event_pb2 import Event  # noqa: E402
from torch import Tensor  # noqa: E402

from uva_edge.data.augment import Augmentation  # noqa: E402
from uva_edge.data.batches import BatchSource, Mix  # noqa: E402
from uva_edge.errors import DataError, OptionError, OutputError  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint  # noqa: E402
from uva_edge.models.uva_net import UvaNetConfig, normalize  # noqa: E402
from uva_edge.training import loop  # noqa: E402
from uva_edge.training.loop import CHECKPOINT, Progress, RunOptions, train  # noqa: E402
from uva_edge.training.losses import Loss  # noqa: E402
from uva_edge.training.recipe import CoupledRecipe, Optimisation, Statistics  # noqa: E402

RECIPE = CoupledRecipe(
    network=UvaNetConfig(resolution=32),
    student_steps=0,
    steps=6,
    mix=Mix(1, 1),
    augmentation=Augmentation.none(),
    optimisation=Optimisation(schedule="constant", learning_rate=1e-3),
)


@pytest.fixture
def run(toy: Any, fabric: Any, tmp_path: Path) -> Any:
    """Trains into tmp_path / "run"; keywords are those of `train`."""

    def _run(recipe: CoupledRecipe = RECIPE, output: Path = tmp_path / "run", **options: Any) -> Any:
        arguments = {"lineage": {}, "options": RunOptions(evaluate_every=2), **options}
        return train(recipe, toy, output, fabric=fabric, **arguments)

    return _run


def assert_no_thread_is_left() -> None:
    names = {thread.name for thread in threading.enumerate()}
    assert "uva-edge-batches" not in names
    assert not any("EventLoggerThread" in type(thread).__name__ for thread in threading.enumerate())


def test_progress_log_events_and_checkpoint_tell_the_same(run: Any, tmp_path: Path) -> None:
    told: list[Progress] = []
    recipe = replace(RECIPE, student_steps=3)
    network = run(recipe, report=told.append, lineage={"teacher": "nobody", "data": ["spots"]})
    assert [(now.stage, now.step, now.steps) for now in told] == [
        *(("student", step, 3) for step in (1, 2, 3)),
        *(("fusion", step, 6) for step in range(1, 7)),
    ]
    scored = [now for now in told if now.scores is not None]
    assert [(now.stage, now.step) for now in scored] == [
        ("student", 2), ("student", 3), ("fusion", 2), ("fusion", 4), ("fusion", 6),
    ]  # fmt: skip
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["stage", "step", "loss", "toy/nss", "toy/cc", "toy/auc"]
    for now, row in zip(scored, rows, strict=True):
        assert (now.stage, now.step) == (row["stage"], int(row["step"]))
        assert now.scores is not None
        assert now.scores["toy"]["nss"] == float(row["toy/nss"])
    # A row has the mean loss since the one before.
    assert float(rows[1]["loss"]) == told[2].loss
    assert float(rows[2]["loss"]) == pytest.approx((told[3].loss + told[4].loss) / 2)
    scalars = read_events(tmp_path / "run" / "tensorboard")
    for row in rows:
        for name in ("loss", "toy/nss", "toy/cc", "toy/auc"):
            assert scalars[f"{row['stage']}/{name}", int(row["step"])] == pytest.approx(float(row[name]))
    assert len(scalars) == 4 * len(rows)
    stored, lineage = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert lineage == {
        "teacher": "nobody",
        "data": ["spots"],
        "recipe": recipe.as_dict(),
        "stage": "fusion",
        "step": 6,
        "validation": scored[-1].scores,
    }
    assert not network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, value in stored.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    assert_no_thread_is_left()


def read_events(directory: Path) -> dict[tuple[str, int], float]:
    """The scalars of TensorBoard's event files: records of length, checksum, message, checksum."""
    found = {}
    for path in directory.iterdir():
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def test_the_average_is_kept_and_scored(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decay grows to that of the recipe, or the random start would linger; 0 keeps the last weights."""
    decays: list[float] = []
    original = loop.average_into

    def noted(target: Any, source: Any, decay: float) -> None:
        decays.append(decay)
        original(target, source, decay)

    monkeypatch.setattr(loop, "average_into", noted)
    run(replace(RECIPE, steps=4, optimisation=replace(RECIPE.optimisation, ema_decay=0.2)))
    assert decays == pytest.approx([1 / 10, 2 / 11, 0.2, 0.2])
    decays.clear()
    run(replace(RECIPE, steps=1, optimisation=replace(RECIPE.optimisation, ema_decay=0.0)))
    assert decays == [0.0]


def test_an_average_is_one() -> None:
    one, two = (torch.nn.BatchNorm1d(2) for _ in range(2))
    torch.nn.init.constant_(two.weight, 3.0)
    two.num_batches_tracked.fill_(7)
    loop.average_into(one, two, 0.75)
    assert one.weight.tolist() == [1.5, 1.5]
    assert one.num_batches_tracked == 7


def test_statistics_are_estimated_anew_and_the_weights_stay(run: Any, toy: Any, tmp_path: Path) -> None:
    """Those of the batches of a mix of its own, whose mean they are."""
    plain = run()
    choice = Statistics(batches=2, mix=Mix(0, 3))
    told: list[Progress] = []
    found = run(replace(RECIPE, statistics=choice), tmp_path / "anew", report=told.append)
    for name, value in plain.named_parameters():
        assert torch.equal(value, found.get_parameter(name)), name
    norm = found.low_level[0][1]
    assert not torch.equal(norm.running_mean, plain.low_level[0][1].running_mean)
    source = BatchSource(
        toy.stills, toy.videos, choice.mix, RECIPE.augmentation, resolution=32, pairing="causal", seed=0
    )
    frames = [
        torch.from_numpy(getattr(source.draw(step), name)) for step in (6, 7) for name in ("frames", "others")
    ]
    with torch.no_grad():
        means = [found.low_level[0][0](normalize(item)).mean(dim=(0, 2, 3)) for item in frames]
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(dim=0), rtol=1e-4, atol=1e-5)
    stored, lineage = load_checkpoint(tmp_path / "anew" / CHECKPOINT)
    assert torch.equal(stored.low_level[0][1].running_mean, norm.running_mean)
    assert told[-1].step == told[-2].step == RECIPE.steps
    assert lineage["validation"] == told[-1].scores != told[-2].scores


def test_a_run_that_has_ended_resumes_to_the_same_statistics(run: Any, tmp_path: Path) -> None:
    recipe = replace(RECIPE, statistics=Statistics(batches=2, mix=Mix(2, 1)))
    first = run(recipe).state_dict()
    again = run(recipe, options=RunOptions(evaluate_every=2, resume=True)).state_dict()
    for name, value in first.items():
        assert torch.equal(value, again[name]), name


def test_early_stop_keeps_the_best(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.4, 0.6])
    monkeypatch.setattr(loop, "headline", lambda _: next(scores))
    states: list[dict[str, Tensor]] = []
    saved = loop.save_resume

    def noted(path: Path, values: Any) -> None:
        states.append({name: value.clone() for name, value in values["state"]["average"].items()})
        saved(path, values)

    monkeypatch.setattr(loop, "save_resume", noted)
    told: list[Progress] = []
    recipe = replace(RECIPE, steps=20, patience=2)
    network = run(recipe, report=told.append, options=RunOptions(evaluate_every=1))
    assert told[-1].step == 4
    stored, lineage = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert lineage["step"] == 2
    for found in (network, stored):
        for name, value in found.state_dict().items():
            assert torch.equal(value, states[1][name]), name
    assert not torch.equal(states[1]["decoder.6.weight"], states[3]["decoder.6.weight"])


@pytest.mark.parametrize("broken", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_nothing_that_is_not_finite_reaches_the_weights(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, clip: float
) -> None:
    """At step 5; the checkpoint of step 4 stays."""
    calls: list[Tensor] = []
    original = Loss.__call__

    def failing(self: Loss, logits: Tensor, *rest: Any) -> Tensor:
        calls.append(logits)
        if len(calls) < 5:
            return original(self, logits, *rest)
        # The root of 0 is 0, its derivative infinite.
        return logits.sum() * torch.nan if broken == "loss" else (logits * 0).sum().sqrt()

    monkeypatch.setattr(Loss, "__call__", failing)
    told: list[Progress] = []
    recipe = replace(RECIPE, optimisation=replace(RECIPE.optimisation, gradient_clip=clip))
    with pytest.raises(DataError, match=r"at step 5 of stage fusion.*learning rate") as caught:
        run(recipe, report=told.append)
    assert_no_thread_is_left()
    assert "nan" in str(caught.value)
    assert [now.step for now in told] == [1, 2, 3, 4]
    network, lineage = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert lineage["step"] == 4
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_gradients_are_clipped_to_their_norm(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    original = torch.optim.Adam.step

    def noted(self: Any, *rest: Any, **options: Any) -> Any:
        gradients = [parameter.grad.norm() for group in self.param_groups for parameter in group["params"]]
        norms.append(torch.stack(gradients).norm().item())
        return original(self, *rest, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    for clip in (0.0, 0.01):
        choice = replace(RECIPE.optimisation, optimizer="adam", gradient_clip=clip)
        run(replace(RECIPE, steps=2, optimisation=choice))
    assert min(norms[:2]) > 0.02
    assert norms[2:] == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_run_that_is_interrupted_leaves_no_thread_and_a_whole_checkpoint(run: Any, tmp_path: Path) -> None:
    def interrupt(now: Progress) -> None:
        if now.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(report=interrupt)
    assert_no_thread_is_left()
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)[1]["step"] == 2


@pytest.mark.parametrize("broken", [CHECKPOINT, "resume.pt", "log.csv"])
def test_a_file_that_can_not_be_written_leaves_the_one_before(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """As on a full disk: a part of it, and then an error."""
    run(replace(RECIPE, steps=2))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert set(before) == {CHECKPOINT, "resume.pt", "log.csv"}
    original = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if broken not in self.name:
            return original(self, data)
        original(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=f"{broken}.*No space left"):
        run(replace(RECIPE, steps=2, seed=1))
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert set(after) == set(before)
    assert after[broken] == before[broken]
    assert_no_thread_is_left()


def test_a_place_that_is_no_directory_is_told_at_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "prefetch", lambda *_: pytest.fail("training began"))
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="expected a directory"):
            run(output=place)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    with pytest.raises(OutputError, match="tensorboard"):
        run()


def test_the_seed_decides_the_weights(run: Any, tmp_path: Path) -> None:
    networks = [
        run(replace(RECIPE, steps=1, seed=seed), output=tmp_path / str(number)).decoder[-1].weight
        for number, seed in enumerate((0, 0, 1))
    ]
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


@pytest.mark.parametrize("options", [{"evaluate_every": 0}, {"checkpoint_every": -1}], ids=str)
def test_a_run_validates_and_saves_at_whole_steps(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="at least 1 step"):
        RunOptions(**options)


def test_data_of_the_kinds_of_the_mix_are_needed(toy: Any, fabric: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds 1 videos, but the data have none"):
        train(RECIPE, replace(toy, videos=None), tmp_path, fabric=fabric, lineage={})
    assert not (tmp_path / CHECKPOINT).exists()
