"""Maps of another teacher in place of those beside the data, or as those of the spatial teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from uva_edge.data.cache import PackOptions, pack
from uva_edge.data.footage import Footage
from uva_edge.data.sources import open_footage
from uva_edge.data.teacher_maps import taught_by
from uva_edge.errors import DamagedFileError, DataError

NAMES = np.array(["d", "b", "a", "other"])


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Maps of the train split of `annotated`: 101 to 103 for its stills a, b and d, 200 + t for its clip."""
    root = tmp_path / "elsewhere"
    clips = root / "teacher_maps" / "clips"
    clips.mkdir(parents=True)
    values = np.array([103, 102, 101, 0], np.uint8)
    np.savez(
        clips.parent / "images.npz", names=NAMES, maps=values[:, None, None] + np.zeros((1, 2, 3), np.uint8)
    )
    rows = np.arange(200, 209, dtype=np.uint8)
    np.savez(clips / "t.npz", maps=rows[:, None, None] + np.zeros((1, 2, 3), np.uint8))
    return root


def first_values(footage: list[Footage], part: str) -> list[int]:
    return [int(getattr(frame, part)[0, 0]) for item in footage for frame in item.read()]


OWN = [180, 120, 0, *range(9)]
OTHERS = [101, 102, 103, *range(200, 209)]


def test_maps_replace_those_beside_the_data(annotated: Path, elsewhere: Path) -> None:
    footage = open_footage(str(annotated), "train")
    taught = taught_by(footage, elsewhere, "teacher")
    assert first_values(footage, "teacher") == OWN
    assert first_values(taught, "teacher") == OTHERS
    assert [item.name for item in taught] == [item.name for item in footage]
    assert all(frame.spatial is None for item in taught for frame in item.read())
    (still,) = taught[0].read()
    assert still.fixations is not None, "what people saw is lost"


def test_maps_of_a_spatial_teacher_stand_beside_the_others(annotated: Path, elsewhere: Path) -> None:
    taught = taught_by(open_footage(str(annotated), "train"), elsewhere, "spatial")
    assert first_values(taught, "teacher") == OWN
    assert first_values(taught, "spatial") == OTHERS
    both = taught_by(taught, elsewhere, "teacher")
    assert first_values(both, "teacher") == first_values(both, "spatial") == OTHERS


def test_the_part_that_maps_play_makes_another_pack(annotated: Path, elsewhere: Path, tmp_path: Path) -> None:
    """The files are the same ones."""
    footage = open_footage(str(annotated), "train")
    as_teacher, as_spatial = (
        pack(taught_by(footage, elsewhere, part), tmp_path / "cache", PackOptions(side=8))
        for part in ("teacher", "spatial")
    )
    assert not any(as_teacher.has_spatial(row) for row in range(12))
    assert all(as_spatial.has_spatial(row) for row in range(12))
    (elsewhere / "teacher_maps" / "clips" / "t.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"t\.npz"):
        pack(taught_by(footage, elsewhere, "teacher"), tmp_path / "cache", PackOptions(side=8))


def rewrite(name: str, **arrays: np.ndarray) -> Callable[[Path], object]:  # type: ignore[type-arg]
    return lambda root: np.savez(root / "teacher_maps" / name, **arrays)


def remove(name: str) -> Callable[[Path], object]:
    return lambda root: (root / "teacher_maps" / name).unlink()


MAPS = np.ones((4, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove("images.npz"), r"images\.npz: .*No such file"),
        (remove("clips/t.npz"), r"t\.npz: No such file; expected the teacher's maps of t"),
        (rewrite("images.npz", names=NAMES[1:], maps=MAPS[1:]), r"images\.npz: no map of d"),
        (rewrite("images.npz", names=np.arange(4), maps=MAPS), r"images\.npz: names are strings"),
        (rewrite("images.npz", names=np.array("a"), maps=MAPS), r"images\.npz: names are strings \[N\]"),
        (rewrite("images.npz", names=NAMES, maps=MAPS[1:]), r"images\.npz: maps are uint8 \[4, h, w\]"),
        (rewrite("clips/t.npz", maps=MAPS), r"t\.npz: labels of 4 frames, but the video has more"),
        (rewrite("clips/t.npz", maps=np.ones((9, 2, 3))), r"t\.npz: maps are uint8 .*float64"),
    ],
)
def test_what_is_wrong_is_named(
    annotated: Path, elsewhere: Path, damage: Callable[[Path], object], words: str
) -> None:
    footage = open_footage(str(annotated), "train")
    damage(elsewhere)
    with pytest.raises(DataError, match=words) as raised:
        first_values(taught_by(footage, elsewhere, "teacher"), "teacher")
    assert not isinstance(raised.value, DamagedFileError)


def test_videos_alone_need_no_maps_of_stills(annotated: Path, elsewhere: Path) -> None:
    remove("images.npz")(elsewhere)
    taught = taught_by(open_footage(f"clips:{annotated}", "train"), elsewhere, "teacher")
    assert first_values(taught, "teacher") == OTHERS[3:]
