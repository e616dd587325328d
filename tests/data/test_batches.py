"""Batches: what is in them, in what order, and the thread that draws them ahead."""

from __future__ import annotations

import threading
import time
from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.augment import Augmentation, identity, see, see_density, see_points
from uva_edge.data.batches import Batch, BatchSource, prefetch, whole_frame
from uva_edge.data.clips import FramePair
from uva_edge.data.stills import Still
from uva_edge.errors import DataError, OptionError
from uva_edge.metrics import fixation_density

SIDE = 32
PLAIN = Augmentation(crop=(1, 1), aspect=0, brightness=0, contrast=0, still=1)
MOVING = Augmentation(crop=(1, 1), aspect=0, brightness=0, contrast=0, pan=0.2, zoom=0.1, still=0)


def picture(seed: int) -> NDArray[np.uint8]:
    """Coarse noise, which ego-motion changes everywhere."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)


def teacher(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 64), dtype=np.uint8)


def still(seed: int) -> Still:
    points = np.random.default_rng(seed).random((5, 2), dtype=np.float32)
    return Still(f"still {seed}", "osie", picture(seed), points, teacher(seed))


STILLS = [still(seed) for seed in range(3)]
PAIRS = [FramePair("clip", picture(seed), picture(seed + 50), teacher(seed)) for seed in range(10, 12)]


def source(augmentation: Augmentation = PLAIN, seed: int = 0, stills: int = 6, pairs: int = 4) -> BatchSource:
    return BatchSource(
        STILLS,
        PAIRS,
        resolution=SIDE,
        stills_per_batch=stills,
        pairs_per_batch=pairs,
        augmentation=augmentation,
        seed=seed,
    )


def as_dict(batch: Batch) -> dict[str, NDArray[np.generic]]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def drawing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "uva-edge-batches"]


# --- contents -------------------------------------------------------------------------------------------


def test_shapes_and_types() -> None:
    batch = source(Augmentation()).draw()
    found = {name: (value.dtype.name, value.shape) for name, value in as_dict(batch).items()}
    maps = ("float32", (10, SIDE, SIDE))
    assert found == {
        "frames": ("uint8", (10, SIDE, SIDE, 3)),
        "others": ("uint8", (10, SIDE, SIDE, 3)),
        "density": maps,
        "teacher": maps,
        "fixations": maps,
    }


def test_stills_come_first_and_hold_what_is_known_of_them() -> None:
    batch = source().draw()
    # Without augmentation a view is the whole frame or its mirror image.
    known = {}
    for item in STILLS:
        seen = see(item.image, identity(), SIDE)
        maps = (
            see_density(fixation_density(item.fixations, (128, 96)), identity(), SIDE),
            see_density(item.teacher.astype(np.float32), identity(), SIDE),
            see_points(item.fixations, identity(), SIDE),
        )
        known[seen.tobytes()] = maps
        known[seen[:, ::-1].tobytes()] = tuple(values[:, ::-1] for values in maps)
    for index in range(6):
        density, taught, fixations = known[batch.frames[index].tobytes()]
        assert np.allclose(batch.density[index], density, atol=1e-6), index
        assert np.allclose(batch.teacher[index], taught, atol=1e-6), index
        assert np.array_equal(batch.fixations[index], fixations), index
        assert np.array_equal(batch.others[index], batch.frames[index]), index
    assert len({frame.tobytes() for frame in batch.frames[:6]}) > 1


def test_pairs_keep_their_frames_together_and_the_teacher_stands_in() -> None:
    batch = source().draw()
    known = {}
    for pair in PAIRS:
        now, before = whole_frame(pair.frame, SIDE), whole_frame(pair.previous, SIDE)
        known[now.tobytes()] = before
        known[now[:, ::-1].tobytes()] = before[:, ::-1]
    for index in range(6, 10):
        assert np.array_equal(batch.others[index], known[batch.frames[index].tobytes()]), index
        for other in (batch.density, batch.fixations):
            assert np.array_equal(batch.teacher[index], other[index]), index
        assert batch.teacher[index].sum() == pytest.approx(1, abs=1e-4)


def test_ego_motion_moves_the_frame_before_and_not_the_truth() -> None:
    batch = source(MOVING).draw()
    densities = [
        see_density(fixation_density(item.fixations, (128, 96)), identity(), SIDE) for item in STILLS
    ]
    for index in range(6):
        difference = batch.frames[index].astype(int) - batch.others[index]
        assert np.abs(difference).mean() > 5, f"still {index} does not move"
        expected = [form for density in densities for form in (density, density[:, ::-1])]
        assert min(np.abs(batch.density[index] - form).max() for form in expected) < 1e-6, index


def test_light_is_the_same_for_both_frames() -> None:
    dark = Augmentation(crop=(1, 1), aspect=0, still=1)
    batch = source(dark).draw()
    plain = source().draw()
    assert np.array_equal(batch.frames[:6], batch.others[:6])
    assert not np.array_equal(batch.frames, plain.frames)


def test_the_same_seed_draws_the_same_batches() -> None:
    one, same, other = (source(Augmentation(), seed) for seed in (1, 1, 2))
    for _ in range(3):
        for (name, a), b, c in zip(
            as_dict(one.draw()).items(),
            as_dict(same.draw()).values(),
            as_dict(other.draw()).values(),
            strict=True,
        ):
            assert np.array_equal(a, b), name
            assert not np.array_equal(a, c), name


@pytest.mark.parametrize(("stills", "pairs"), [([], PAIRS), (STILLS, [])])
def test_both_kinds_are_needed(stills: list[Still], pairs: list[FramePair]) -> None:
    with pytest.raises(OptionError, match=f"got {len(stills)} and {len(pairs)}"):
        BatchSource(
            stills,
            pairs,
            resolution=SIDE,
            stills_per_batch=1,
            pairs_per_batch=1,
            augmentation=PLAIN,
            seed=0,
        )


# --- drawn ahead ----------------------------------------------------------------------------------------


def test_prefetch_gives_what_draw_gives() -> None:
    direct = source(Augmentation(), seed=3)
    batches = list(prefetch(source(Augmentation(), seed=3), 5, depth=2))
    assert len(batches) == 5
    for batch in batches:
        for (name, a), b in zip(as_dict(batch).items(), as_dict(direct.draw()).values(), strict=True):
            assert np.array_equal(a, b), name
    assert not drawing_threads()


class Counting:
    """A source of numbered batches, which fails at one of them."""

    def __init__(self, failure: int = -1) -> None:
        self.drawn = 0
        self.failure = failure

    def draw(self) -> int:
        if self.drawn == self.failure:
            raise DataError(f"batch {self.drawn} is torn")
        self.drawn += 1
        return self.drawn


def test_no_more_than_depth_is_drawn_ahead() -> None:
    numbers = Counting()
    batches = prefetch(numbers, 100, depth=2)  # type: ignore[arg-type]
    assert next(batches) == 1  # type: ignore[comparison-overlap]
    deadline = time.monotonic() + 5
    while numbers.drawn < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # time enough to draw far more
    assert numbers.drawn == 4  # one taken, two ready, one in hand
    batches.close()


def test_what_goes_wrong_is_raised_where_the_batch_was_due() -> None:
    batches = prefetch(Counting(failure=2), 9)  # type: ignore[arg-type]
    assert [next(batches), next(batches)] == [1, 2]  # type: ignore[comparison-overlap]
    with pytest.raises(DataError, match="batch 2 is torn"):
        next(batches)
    assert not drawing_threads()


def test_the_thread_ends_when_the_consumer_stops_early() -> None:
    batches = prefetch(Counting(), 10**9, depth=1)  # type: ignore[arg-type]
    next(batches)
    assert len(drawing_threads()) == 1
    batches.close()
    assert not drawing_threads()
