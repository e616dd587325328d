"""Damaged footage is skipped with its name, and too much of it is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.intake import Intake
from uva_edge.data.sources import open_footage
from uva_edge.errors import DamagedFileError, DataError

PICTURE = np.zeros((2, 2, 3), np.uint8)


def read(error: DataError | None) -> Iterator[LabelledFrame]:
    yield LabelledFrame(PICTURE)
    yield LabelledFrame(PICTURE)
    if error is not None:
        raise error


def footage(count: int, damaged: set[int]) -> list[Footage]:
    errors = [
        DamagedFileError(f"file {index} is cut") if index in damaged else None for index in range(count)
    ]
    return [
        Footage(f"v{index}", "set", "video", (), partial(read, error)) for index, error in enumerate(errors)
    ]


def test_damaged_footage_is_skipped_as_a_whole() -> None:
    reports: list[str] = []
    intake = Intake(footage(200, {0, 150}), reports.append)
    found = {item.name: len(frames) for item, frames in intake}
    assert len(found) == 198
    assert set(found.values()) == {2}
    assert not {"v0", "v150"} & found.keys()
    assert intake.damaged == {"set/v0": "file 0 is cut", "set/v150": "file 150 is cut"}
    assert reports == ["skipped set/v0: file 0 is cut", "skipped set/v150: file 150 is cut"]


def test_a_second_pass_counts_nothing_twice() -> None:
    intake = Intake(footage(100, {7}))
    assert len(list(intake)) == len(list(intake)) == 99
    assert list(intake.damaged) == ["set/v7"]


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 400), data=st.data())
def test_more_than_one_in_a_hundred_is_an_error(count: int, data: st.DataObject) -> None:
    damaged = data.draw(st.sets(st.integers(0, count - 1), max_size=8))
    intake = Intake(footage(count, damaged))
    if 100 * len(damaged) <= count:
        assert len(list(intake)) == count - len(damaged)
        return
    sure = sorted(damaged)[count // 100]
    seen = []
    with pytest.raises(DataError, match=f"of {count} stills and videos are damaged, more than 1%") as raised:
        seen.extend(item.name for item, _ in intake)
    assert f"file {sure} is cut" in str(raised.value)
    assert not isinstance(raised.value, DamagedFileError)
    assert len(seen) == sure - count // 100, "it goes on after it is sure"


def test_a_long_list_is_shortened() -> None:
    with pytest.raises(DataError, match="11 of 1000") as raised:
        list(Intake(footage(1000, set(range(20)))))
    assert str(raised.value).count("is cut") == 10
    assert str(raised.value).endswith("and 1 more")


def test_other_errors_pass_through() -> None:
    wrong = Footage("w", "set", "video", (), partial(read, DataError("labels of 3 frames")))
    with pytest.raises(DataError, match="labels of 3 frames"):
        list(Intake([*footage(500, set()), wrong]))


def test_an_error_of_the_consumer_is_its_own() -> None:
    intake = Intake(footage(500, set()))

    def consume() -> None:
        for _ in intake:
            raise DamagedFileError("mine")

    with pytest.raises(DamagedFileError, match="mine"):
        consume()
    assert not intake.damaged


def test_what_is_prepared_may_be_less_than_everything() -> None:
    intake = Intake(footage(100, {3}))
    firsts = [result for _, result in intake.map(lambda item: next(item.read()).image.shape)]
    assert firsts == [(2, 2, 3)] * 100, "the damage lies behind what was read"


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(DataError, match="got none"):
        Intake([])


def test_a_cut_image_and_a_cut_video(
    annotated: Path, videos: Path, make_video: Callable[[Path, int], None]
) -> None:
    image, video = annotated / "images" / "a.jpg", videos / "cut.avi"
    make_video(video, 12)
    for path in (image, video):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sound = footage(300, set())
    everything = [
        *open_footage(f"stills:{annotated}", "train"),
        *open_footage(f"videos:{videos}", "train"),
        *sound,
    ]
    intake = Intake(everything)
    assert len(list(intake)) == len(everything) - 2
    assert list(intake.damaged) == ["osie/a", "videos/cut"]
    assert str(image) in intake.damaged["osie/a"]
    assert str(video) in intake.damaged["videos/cut"]
