"""Scores of footage: against values by hand, in which order they are averaged, and what is scored against what."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge import metrics
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DamagedFileError, DataError, OptionError, OutputError
from uva_edge.training import scoring
from uva_edge.training.score_files import write_scores
from uva_edge.training.scoring import Estimate, Predictor, estimate_mean, score

SIZE = (40, 30)
"""Width and height of the frames."""


def frame(level: int = 0, **known: Any) -> LabelledFrame:
    return LabelledFrame(np.full((SIZE[1], SIZE[0], 3), level, np.uint8), **known)


def points(*places: tuple[float, float]) -> NDArray[np.float32]:
    return np.array(places, np.float32).reshape(-1, 2)


def footage(
    name: str, *frames: LabelledFrame, dataset: str = "set", broken_after: int | None = None
) -> Footage:
    def read() -> Iterator[LabelledFrame]:
        for number, item in enumerate(frames):
            if number == broken_after:
                raise DamagedFileError(f"{name}.mp4: damaged")
            yield item

    return Footage(name, dataset, "still" if len(frames) == 1 else "video", (), read)


def ramp(level: int) -> NDArray[np.float32]:
    """A map of 4x3 that rises to the right, steeper for a higher level."""
    return np.tile(np.linspace(0, 1, 4, dtype=np.float32) ** (1 + level), (3, 1))


def ramps(_: Footage, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
    return (ramp(int(image[0, 0, 0])) for image in frames)


def even(_: Footage, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
    return (np.ones((2, 2), np.float32) for _ in frames)


RAMPS = Predictor("ramps", ramps)


def scores_of(item: Footage, *others: Footage) -> dict[str, float]:
    return score([RAMPS], [item, *others]).rows[0].scores


# --- what is scored against what ------------------------------------------------------------------------


def test_fixations_are_scored_at_the_size_of_the_frame() -> None:
    known, elsewhere = points((0.9, 0.5), (0.1, 0.2)), points((0.5, 0.5), (0.3, 0.9))
    item = footage("a", frame(1, fixations=known))
    found = scores_of(item, footage("b", frame(fixations=elsewhere)))
    resized = metrics.resize_map(ramp(1), SIZE)
    pixels, others = (metrics.fixation_pixels(places, SIZE) for places in (known, elsewhere))
    density = metrics.fixation_density(known, SIZE)
    assert found == {
        "auc": metrics.auc_judd(resized, pixels),
        "sauc": metrics.auc_shuffled(resized, pixels, others),
        "nss": metrics.nss(resized, pixels),
        "cc": metrics.cc(resized, density),
        "sim": metrics.sim(resized, density),
        "kld": metrics.kld(resized, density),
    }


def test_a_density_of_the_data_set_comes_before_that_of_the_fixations() -> None:
    density = np.zeros((6, 8), np.uint8)
    density[:, 6:] = 200
    found = scores_of(footage("a", frame(fixations=points((0.1, 0.1)), density=density)))
    assert found["cc"] == metrics.cc(metrics.resize_map(ramp(0), (8, 6)), density)
    assert found["nss"] < 0 < found["cc"]


def test_a_density_alone_gives_no_score_of_fixations() -> None:
    found = scores_of(footage("a", frame(density=np.eye(5, dtype=np.float32))))
    assert set(found) == {"cc", "sim", "kld"}


def test_a_teacher_is_asked_where_nothing_human_is_known() -> None:
    teacher = np.arange(12, dtype=np.uint8).reshape(3, 4)
    alone = scores_of(footage("a", frame(teacher=teacher)))
    assert alone == {
        "teacher_cc": metrics.cc(ramp(0), teacher),
        "teacher_sim": metrics.sim(ramp(0), teacher),
        "teacher_kld": metrics.kld(ramp(0), teacher),
    }
    human = scores_of(footage("a", frame(teacher=teacher, fixations=points((0.5, 0.5)))))
    assert not any(name.startswith("teacher") for name in human)


def test_a_frame_that_nobody_fixated_and_a_black_map_tell_nothing() -> None:
    black = np.zeros((3, 4), np.uint8)
    item = footage(
        "a",
        frame(fixations=points((0.9, 0.5))),
        frame(fixations=points(), density=black),
        frame(teacher=black),
        frame(),
    )
    assert scores_of(item) == scores_of(footage("a", frame(fixations=points((0.9, 0.5)))))
    assert score([RAMPS], [item]).rows[0].frames == 4


# --- negatives ------------------------------------------------------------------------------------------


def test_negatives_come_from_the_others_of_the_same_data_set() -> None:
    right, left = points((0.95, 0.5)), points((0.05, 0.5))
    item = footage("a", frame(fixations=right), frame(fixations=right))
    assert "sauc" not in scores_of(item)
    assert "sauc" not in scores_of(item, footage("b", frame(fixations=left), dataset="another"))
    assert scores_of(item, footage("b", frame(fixations=left)))["sauc"] == 1
    same = footage("b", frame(fixations=right), dataset="set")
    assert scores_of(item, same)["sauc"] == 0.5


def test_each_of_the_others_gives_at_most_a_sample_spread_over_its_list() -> None:
    places = np.stack([np.linspace(0, 1, 1001), np.full(1001, 0.5)], axis=1).astype(np.float32)
    long = footage("b", *(frame(fixations=part) for part in np.array_split(places, 7)))
    kept = scoring._Negatives([long]).of(footage("a", frame()))
    assert len(kept) == scoring.NEGATIVES_PER_FOOTAGE
    np.testing.assert_allclose(kept[:, 0], np.linspace(0, 1, len(kept)), atol=1e-3)


# --- means ----------------------------------------------------------------------------------------------


def test_means_are_per_frame_then_per_video() -> None:
    one, two = (frame(level, fixations=points((0.9, 0.4))) for level in (0, 3))
    long, short = footage("long", one, one, one, two), footage("short", two)
    first, second = (scores_of(footage("x", item))["nss"] for item in (one, two))
    scores = score([RAMPS], [long, short])
    of_long, of_short = (row.scores["nss"] for row in scores.rows)
    assert of_long == pytest.approx((3 * first + second) / 4)
    assert of_short == pytest.approx(second)
    means = scores.means("ramps")["set"]
    assert means["nss"] == pytest.approx((of_long + of_short) / 2)
    assert set(means) == {"auc", "sauc", "nss", "cc", "sim", "kld"}


def test_data_sets_and_predictors_are_kept_apart() -> None:
    known = frame(fixations=points((0.9, 0.4)))
    items = [footage("a", known, dataset="one"), footage("a", known, dataset="two")]
    scores = score([RAMPS, Predictor("even", even)], items)
    assert [(row.predictor, row.dataset) for row in scores.rows] == [
        ("ramps", "one"), ("even", "one"), ("ramps", "two"), ("even", "two"),
    ]  # fmt: skip
    summary = {(item.predictor, item.dataset): item.scores["nss"] for item in scores.summary()}
    assert summary["even", "one"] == Estimate(0, None, 1)
    assert summary["ramps", "two"].mean > 0.5
    assert set(scores.means("ramps")) == {"one", "two"}


def test_an_interval_is_that_of_the_normal_law_for_many_values() -> None:
    values = np.random.default_rng(8).normal(5, 2, 400)
    estimate = estimate_mean(values.tolist())
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.interval is not None
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose(
        estimate.interval, (values.mean() - half, values.mean() + half), atol=0.1 * half
    )


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_an_interval_lies_within_the_values_and_moves_with_them(values: list[float]) -> None:
    estimate = estimate_mean(values, resamples=200)
    assert estimate == estimate_mean(values, resamples=200)
    assert estimate.interval is not None
    low, high = estimate.interval
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    moved = estimate_mean([value + 7 for value in values], resamples=200).interval
    np.testing.assert_allclose(moved, (low + 7, high + 7), atol=1e-9)


def test_no_value_has_no_mean() -> None:
    with pytest.raises(OptionError, match="at least one value"):
        estimate_mean([])


# --- reading --------------------------------------------------------------------------------------------


def test_footage_is_decoded_side_by_side() -> None:
    """Once for all predictors (and once before, for the negatives), and no frame is kept for later."""
    alive: list[int] = []

    def read() -> Iterator[LabelledFrame]:
        for number in range(50):
            alive.append(number)
            yield frame(fixations=points((0.9, 0.4)))

    seen: dict[str, int] = {}

    def watch(name: str) -> Predictor:
        def predict(_: Footage, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
            for image in frames:
                seen[name] = seen.get(name, 0) + 1
                assert max(seen.values()) - min(seen.values()) <= 1
                yield ramp(int(image[0, 0, 0]))

        return Predictor(name, predict)

    score([watch("a"), watch("b"), watch("c")], [Footage("v", "set", "video", (), read)])
    assert seen == {"a": 50, "b": 50, "c": 50}
    assert len(alive) == 100


def test_damaged_footage_is_skipped_whole_and_named() -> None:
    known = frame(fixations=points((0.9, 0.4)))
    sound = [footage(f"v{number}", known, known) for number in range(100)]
    told: list[str] = []
    done: list[str] = []
    scores = score(
        [RAMPS],
        [*sound, footage("bad", known, known, broken_after=1)],
        progress=lambda item: done.append(item.name),
        report=told.append,
    )
    assert list(scores.damaged) == ["set/bad"]
    assert done == [row.name for row in scores.rows] == [item.name for item in sound]
    assert len(told) == 1
    assert "bad.mp4: damaged" in told[0]


def test_much_damage_is_an_error() -> None:
    with pytest.raises(DataError, match=r"bad\.mp4"):
        score([RAMPS], [footage("bad", frame(), broken_after=0), footage("good", frame())])


def test_a_predictor_that_loses_a_map_is_not_scored() -> None:
    def lazy(_: Footage, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return (ramp(0) for image in frames if image[0, 0, 0])

    with pytest.raises(ValueError, match="shorter"):
        score([Predictor("lazy", lazy)], [footage("a", frame(0), frame(1))])


@pytest.mark.parametrize(
    ("predictors", "items", "error", "match"),
    [
        ([], [footage("a", frame())], OptionError, "at least one predictor"),
        ([RAMPS, RAMPS], [footage("a", frame())], OptionError, "two predictors are called 'ramps'"),
        ([RAMPS], [], DataError, "got none"),
        ([RAMPS], [footage("a", frame()), footage("b", frame())], DataError, "nothing is known"),
    ],
)
def test_what_can_t_be_scored(
    predictors: Sequence[Predictor], items: Sequence[Footage], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        score(predictors, items)


def test_a_map_of_nan_is_an_error() -> None:
    broken = Predictor("nan", lambda _, frames: (np.full((2, 2), np.nan, np.float32) for _ in frames))
    with pytest.raises(OptionError, match="finite"):
        score([broken], [footage("a", frame(fixations=points((0.5, 0.5))))])


# --- files ----------------------------------------------------------------------------------------------


def test_written_scores_hold_what_was_found(tmp_path: Path) -> None:
    known = frame(fixations=points((0.9, 0.4)))
    teacher = frame(teacher=np.eye(4, dtype=np.uint8))
    items = [
        footage("a", known),
        footage("b", frame(2, fixations=points((0.1, 0.9)))),
        footage("c", teacher, dataset="clips"),
    ]
    scores = score([RAMPS], items)
    paths = write_scores(tmp_path / "new", scores, {"split": "val"})
    assert [path.name for path in paths] == ["scores.csv", "summary.csv", "scores.json"]
    assert all(path.exists() for path in paths)
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["kind"], row["frames"]) for row in rows] == [
        (name, "still", "1") for name in "abc"
    ]
    assert float(rows[1]["nss"]) == scores.rows[1].scores["nss"]
    assert rows[2]["nss"] == ""
    assert float(rows[2]["teacher_cc"]) == scores.rows[2].scores["teacher_cc"]
    document = json.loads(paths[2].read_text())
    assert document["settings"] == {"split": "val"}
    assert document["rows"][0]["scores"] == scores.rows[0].scores
    summary = {(item["dataset"], item["metric"]): item for item in document["summary"]}
    assert summary["set", "nss"]["mean"] == scores.means("ramps")["set"]["nss"]
    assert summary["set", "nss"]["low"] < summary["set", "nss"]["mean"] < summary["set", "nss"]["high"]
    assert summary["clips", "teacher_cc"]["low"] is None
    with paths[1].open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(document["summary"]) == 9


def test_scores_that_can_t_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    scores = score([RAMPS], [footage("a", frame(fixations=points((0.9, 0.4))))])
    with pytest.raises(OutputError, match="file"):
        write_scores(tmp_path / "file", scores, {})
