"""Batches: what is in them, in what order, what they depend on, and the thread that draws them ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.data.augment import Augmentation, identity, see, see_density, see_points
from uva_edge.data.batches import Batch, BatchSource, Mix, prefetch
from uva_edge.data.cache import MAP_SIDE, Pack
from uva_edge.errors import DataError, OptionError
from uva_edge.metrics import fixation_density

SIDE = 32
NONE = Augmentation.none()
HUMAN, TEACHER, SPATIAL = 1, 2, 4


def spotted(x: float, y: float) -> NDArray[np.uint8]:
    """[64, 64], one bright spot there, in parts of the side."""
    rows, columns = np.mgrid[0:64, 0:64] + 0.5
    bell = np.exp(-((rows / 64 - y) ** 2 + (columns / 64 - x) ** 2) / 0.0015)
    return np.rint(255 * bell).astype(np.uint8)


def pack_of(videos: Sequence[Sequence[int]], known: int = HUMAN | TEACHER, seed: int = 0) -> Pack:
    """Frames of these numbers; in each one spot, which people and teachers see in turns of their own.

    What is not known of a frame is zero, as `uva_edge.data.cache` packs it.
    """
    rng = np.random.default_rng(seed)
    rows = [(footage, number) for footage, numbers in enumerate(videos) for number in numbers]
    footage, number = np.array(rows, np.int32).reshape(-1, 2).T
    count = len(rows)
    spots = rng.uniform(0.25, 0.75, (count, 2)).astype(np.float32)
    frames = np.stack([np.repeat(spotted(x, y)[:, :, None], 3, axis=2) for x, y in spots])
    frames[:, ::8, ::8, 0] = rng.integers(0, 100, (count, 8, 8))  # each its own blue
    maps = rng.integers(1, 256, (2, count, MAP_SIDE, MAP_SIDE), dtype=np.uint8)
    density = np.stack([fixation_density(spot[None], (MAP_SIDE, MAP_SIDE)) for spot in spots])
    density = np.rint(density * (255 / density.max(axis=(1, 2), keepdims=True))).astype(np.uint8)
    return Pack(
        names=tuple(map(str, range(len(videos)))),
        datasets=("set",) * len(videos),
        footage=footage,
        number=number,
        known=np.full(count, known, np.uint8),
        frames=frames,
        density=density * bool(known & HUMAN),
        teacher=maps[0] * bool(known & TEACHER),
        spatial=maps[1] * bool(known & SPATIAL),
        points=spots[: count * bool(known & HUMAN)],
        starts=np.arange(count + 1) * bool(known & HUMAN),
    )


STILLS = pack_of([[0]] * 3)
VIDEOS = pack_of([range(4), range(3)], known=TEACHER, seed=1)


def source(
    augmentation: Augmentation = NONE,
    *,
    stills: Pack | None = STILLS,
    videos: Pack | None = VIDEOS,
    mix: Mix | None = None,
    seed: int = 0,
    **others: Any,
) -> BatchSource:
    options = {"resolution": SIDE, "pairing": "causal", "seed": seed, **others}
    return BatchSource(stills, videos, mix or Mix(6, 6), augmentation, **options)


def as_dict(batch: Batch) -> dict[str, NDArray[np.generic]]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def assert_same(one: Batch, other: Batch) -> None:
    for name, values in as_dict(one).items():
        assert np.array_equal(values, getattr(other, name)), name


def seen(pack: Pack, row: int) -> NDArray[np.uint8]:
    return see(pack.frames[row], identity(), SIDE)


def row_of(pack: Pack, frame: NDArray[np.uint8]) -> int:
    """The row that a batch shows whole."""
    (row,) = (row for row in range(len(pack)) if np.array_equal(seen(pack, row), frame))
    return row


def cell(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(values), values.shape))


# --- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairing", "gap", "backward", "offsets"),
    [
        ("causal", 1, 0.0, {-1}),
        ("lookahead", 1, 0.0, {1}),
        ("causal", 1, 1.0, {-1, 1}),
        ("causal", 3, 0.0, {-1, -2, -3}),
        ("causal", 2, 0.5, {-2, -1, 1, 2}),
    ],
)
def test_partners_are_as_far_away_as_the_gap_allows(
    pairing: str, gap: int, backward: float, offsets: set[int]
) -> None:
    """A partner that is not there, as turned round at the end of a video, is replaced by the neighbour."""
    ranges = replace(NONE, gap=gap, backward=backward)
    long = pack_of([range(9)], known=TEACHER)
    batches = source(ranges, stills=None, videos=long, mix=Mix(0, 32), pairing=pairing)
    batch = batches.draw(0)
    pairs = [
        (row_of(long, other), row_of(long, frame))
        for other, frame in zip(batch.others, batch.frames, strict=True)
    ]
    assert {other - frame for other, frame in pairs} == offsets
    last = {other - frame for other, frame in pairs if frame == 8}
    assert not last & {1, 2}


# --- contents -------------------------------------------------------------------------------------------


def test_shapes_and_types() -> None:
    found = {
        name: (values.dtype.name, values.shape)
        for name, values in as_dict(source(Augmentation(), mix=Mix(2, 3)).draw(0)).items()
    }
    frames, maps = ("uint8", (5, SIDE, SIDE, 3)), ("float32", (5, SIDE, SIDE))
    assert found == {
        "frames": frames,
        "others": frames,
        "density": maps,
        "fixations": maps,
        "teacher": maps,
        "spatial": maps,
    }


@pytest.mark.parametrize("known", range(8))
def test_what_is_known_of_a_still_and_what_stands_in(known: int) -> None:
    stills = pack_of([[0]] * 3, known)
    batch = source(stills=stills, mix=Mix(8, 0)).draw(0)
    rows = [row_of(stills, frame) for frame in batch.frames]
    assert len(set(rows)) > 1
    for index, row in enumerate(rows):
        human, teacher, spatial = (
            see_density(values[row], identity(), SIDE)
            for values in (stills.density, stills.teacher, stills.spatial)
        )
        density = human if known & HUMAN else teacher
        taught = teacher if known & TEACHER else human
        assert np.array_equal(batch.density[index], density)
        assert np.array_equal(batch.teacher[index], taught)
        assert np.array_equal(batch.spatial[index], spatial if known & SPATIAL else taught)
        points = see_points(stills.fixations(row), identity(), SIDE)
        assert np.array_equal(batch.fixations[index], points if known & HUMAN else density)
        assert np.array_equal(batch.others[index], batch.frames[index]), "it stands still"


@pytest.mark.parametrize(("pairing", "offset"), [("causal", -1), ("lookahead", 1)])
def test_a_videos_frame_comes_with_its_neighbour(pairing: str, offset: int) -> None:
    batch = source(pairing=pairing, mix=Mix(2, 40)).draw(0)
    rows = [row_of(VIDEOS, frame) for frame in batch.frames[2:]]
    for row, other, teacher in zip(rows, batch.others[2:], batch.teacher[2:], strict=True):
        assert np.array_equal(other, seen(VIDEOS, row + offset))
        assert VIDEOS.footage[row] == VIDEOS.footage[row + offset], "across a cut"
        assert np.array_equal(teacher, see_density(VIDEOS.teacher[row], identity(), SIDE))
    assert set(rows) == ({1, 2, 3, 5, 6} if offset < 0 else {0, 1, 2, 4, 5})


def test_of_spread_pairs_the_second_frames_are_drawn() -> None:
    videos = pack_of([[0, 1, 7, 8, 20, 21], [5], [3, 4]])
    batch = source(videos=videos, mix=Mix(0, 40)).draw(0)
    assert {row_of(videos, frame) for frame in batch.frames} == {1, 3, 5, 8}


def test_a_long_video_is_drawn_as_often_as_a_short_one() -> None:
    videos = pack_of([range(30), range(2)])
    batch = source(videos=videos, mix=Mix(0, 200)).draw(0)
    short = sum(np.array_equal(frame, seen(videos, 31)) for frame in batch.frames)
    assert 70 < short < 130


def test_stills_come_first() -> None:
    batch = source(mix=Mix(3, 5)).draw(0)
    for frame in batch.frames[:3]:
        row_of(STILLS, frame)
    for frame in batch.frames[3:]:
        row_of(VIDEOS, frame)


# --- views and looks ------------------------------------------------------------------------------------

MOVING = replace(Augmentation(), pan=0.2, still=0, blur=0, noise=0, compression=0, brightness=0, contrast=0)


def test_ego_motion_moves_the_frame_before_and_the_truth_stays_with_the_frame_in_hand() -> None:
    batch = source(MOVING, mix=Mix(60, 0)).draw(0)
    moved = 0
    for frame, other, density, points in zip(
        batch.frames, batch.others, batch.density, batch.fixations, strict=True
    ):
        if points.sum() != 1:  # cropped away
            continue
        here, there = cell(frame[:, :, 0]), cell(other[:, :, 0])
        distance = np.abs(np.array([cell(density), cell(points)]) - here).max()
        assert distance <= 1, "the truth lies elsewhere than what it is about"
        moved += np.hypot(*np.subtract(here, there)) > 2
    assert moved > 20


def test_ego_motion_starts_from_the_view_of_the_frame_in_hand() -> None:
    """A little of it moves what is seen by a little, in a crop and its mirror image too."""
    batch = source(replace(MOVING, pan=0.03), mix=Mix(60, 0)).draw(0)
    shown = batch.fixations.sum(axis=(1, 2)) == 1
    cells = np.array(
        [[cell(frame[:, :, 0]) for frame in frames[shown]] for frames in (batch.frames, batch.others)]
    )
    assert shown.sum() > 40
    assert np.abs(cells[0] - cells[1]).max() <= 4
    assert np.ptp(cells[0], axis=0).min() > 10


def test_both_frames_of_a_video_are_seen_through_one_view() -> None:
    cropped = replace(NONE, video_crop=(0.7, 1.0), flip=0.5)
    videos = pack_of([range(2)])
    same = replace(videos, frames=np.repeat(videos.frames[:1], 2, axis=0))
    batch = source(cropped, videos=same, mix=Mix(0, 12)).draw(0)
    assert np.array_equal(batch.frames, batch.others)
    assert len({frame.tobytes() for frame in batch.frames}) == 12, "all views are one"


def test_crops_of_stills_and_of_videos_have_ranges_of_their_own() -> None:
    stills = source(replace(NONE, crop=(0.5, 0.6))).draw(0)
    videos = source(replace(NONE, video_crop=(0.5, 0.6))).draw(0)
    whole = source().draw(0)
    assert np.array_equal(stills.frames[6:], whole.frames[6:])
    assert np.array_equal(videos.frames[:6], whole.frames[:6])
    for index in range(6):
        assert not np.array_equal(stills.frames[index], whole.frames[index])
        assert not np.array_equal(videos.frames[6 + index], whole.frames[6 + index])


def test_of_close_ups_of_video_nothing_is_known() -> None:
    """Their frames fit each other, as those of any view."""
    close = source(replace(NONE, close_up=1.0, close_crop=(0.5, 0.6))).draw(0)
    cropped = source(replace(NONE, video_crop=(0.5, 0.6))).draw(0)
    for name, values in as_dict(close).items():
        expected = getattr(cropped, name)
        assert np.array_equal(values[:6], expected[:6]), name
        if name in ("frames", "others"):
            assert np.array_equal(values[6:], expected[6:]), name
        else:
            assert not values[6:].any(), name


@pytest.mark.parametrize("part", ["brightness", "contrast", "blur", "compression", "noise"])
def test_of_a_pairs_look_noise_alone_differs(part: str) -> None:
    batch, plain = source(replace(NONE, **{part: 1.0})).draw(0), source().draw(0)
    for index in range(6):
        assert not np.array_equal(batch.frames[index], plain.frames[index]), part
        assert np.array_equal(batch.frames[index], batch.others[index]) == (part != "noise")
    for name in ("density", "teacher", "fixations"):
        assert np.array_equal(getattr(batch, name), getattr(plain, name)), "the truth has no look"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 10**6))
def test_maps_are_densities_or_empty(seed: int, step: int) -> None:
    batch = source(Augmentation(), seed=seed, mix=Mix(2, 2)).draw(step)
    for maps in (batch.density, batch.teacher, batch.spatial):
        assert maps.min() >= 0
        sums = maps.sum(axis=(1, 2), dtype=np.float64)
        assert np.allclose(sums[sums > 0], 1, atol=1e-5)
    assert (batch.teacher.sum(axis=(1, 2)) > 0).all(), "a teacher's map is bright everywhere here"


# --- what a batch depends on ----------------------------------------------------------------------------


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    one, other = source(Augmentation(), seed=1), source(Augmentation(), seed=1)
    first = [one.draw(step) for step in range(4)]
    for step in (3, 0, 3):
        assert_same(other.draw(step), first[step])
    for later in (first[1], source(Augmentation(), seed=2).draw(0)):
        for name, values in as_dict(later).items():
            assert not np.array_equal(values, getattr(first[0], name)), name


def test_the_pairs_of_a_batch_differ() -> None:
    batch = source(Augmentation(), mix=Mix(20, 20)).draw(0)
    assert len({frame.tobytes() for frame in batch.frames}) == 40


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_shares_interleave_to_the_batch_of_one(processes: int) -> None:
    whole = source(Augmentation()).draw(7)
    shares = [source(Augmentation(), share=(rank, processes)).draw(7) for rank in range(processes)]
    for name, values in as_dict(whole).items():
        together = np.stack([getattr(share, name) for share in shares], axis=1).reshape(values.shape)
        assert np.array_equal(together, values), name


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", [Mix(6, 5), Mix(5, 6), Mix(5, 5)])
def test_a_batch_is_shared_evenly(mix: Mix) -> None:
    with pytest.raises(
        OptionError, match=rf"{mix.stills} stills and {mix.videos} video pairs are no multiples of 2"
    ):
        source(mix=mix, share=(0, 2))


def test_a_kind_that_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match="a batch holds 6 stills, but the data have none"):
        source(stills=None)
    with pytest.raises(OptionError, match="a batch holds 6 videos, but the data have none"):
        source(videos=None)
    with pytest.raises(OptionError, match="a batch holds 6 videos, but the data have none"):
        source(videos=pack_of([[0], [4]]))  # no frame has a partner
    assert len(source(stills=None, mix=Mix(0, 2)).draw(0).frames) == 2
    assert len(source(videos=None, mix=Mix(2, 0)).draw(0).frames) == 2


@pytest.mark.parametrize(("stills", "videos"), [(-1, 4), (4, -1), (0, 0), (1, 0)])
def test_a_batch_has_two_pairs_at_least(stills: int, videos: int) -> None:
    with pytest.raises(OptionError, match="at least two pairs"):
        Mix(stills, videos)


# --- drawn ahead ----------------------------------------------------------------------------------------


def drawing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "uva-edge-batches"]


def test_prefetch_gives_what_draw_gives() -> None:
    """Also from the middle, as a resumed run asks for it."""
    direct = source(Augmentation(), seed=3)
    steps = range(4, 9)
    batches = list(prefetch(source(Augmentation(), seed=3), steps, depth=2))
    for step, batch in zip(steps, batches, strict=True):
        assert_same(batch, direct.draw(step))
    assert not drawing_threads()
    assert not list(prefetch(direct, range(0)))


class Counting:
    """A source of numbered batches, which fails at one of them."""

    def __init__(self, failure: int = -1) -> None:
        self.drawn = 0
        self.failure = failure

    def draw(self, step: int) -> int:
        if step == self.failure:
            raise DataError(f"batch {step} is torn")
        self.drawn += 1
        return step


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_no_more_than_depth_is_drawn_ahead() -> None:
    numbers = Counting()
    batches = prefetch(numbers, range(100), depth=2)  # type: ignore[arg-type]
    assert next(batches) == 0  # type: ignore[comparison-overlap]
    wait_until(lambda: numbers.drawn >= 4)
    time.sleep(0.3)  # time enough to draw far more
    assert numbers.drawn == 4  # one taken, two ready, one in hand
    batches.close()


def test_what_goes_wrong_is_raised_where_the_batch_was_due() -> None:
    batches = prefetch(Counting(failure=2), range(9))  # type: ignore[arg-type]
    assert [next(batches), next(batches)] == [0, 1]  # type: ignore[comparison-overlap]
    with pytest.raises(DataError, match="batch 2 is torn"):
        next(batches)
    assert not drawing_threads()


def test_the_thread_ends_when_the_consumer_stops_early() -> None:
    numbers = Counting()
    batches = prefetch(numbers, range(10**9), depth=1)  # type: ignore[arg-type]
    next(batches)
    assert len(drawing_threads()) == 1
    wait_until(lambda: numbers.drawn >= 3)  # it waits for a place in the queue
    batches.close()
    assert not drawing_threads()


def test_a_consumer_that_fails_ends_the_thread() -> None:
    batches = prefetch(Counting(), range(10**9))  # type: ignore[arg-type]
    next(batches)
    with pytest.raises(ZeroDivisionError):
        batches.throw(ZeroDivisionError())
    assert not drawing_threads()
