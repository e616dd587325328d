"""Teacher maps on disk: the layout, what readers find, and what a stopped run leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.files import read_arrays
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DamagedFileError, DataError, OptionError, OutputError
from uva_edge.models.teachers import stored
from uva_edge.models.teachers.stored import (
    StoredMaps,
    maps_of,
    quantized,
    write_teacher_maps,
)
from uva_edge.models.teachers.teacher import Size

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


class Redness:
    """A teacher whose maps are the red channel: it shows that frames come whole, in order and as RGB."""

    name = "redness"
    resolution: Size = (24, 32)

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(frames.shape)
        red = [cv2.resize(frame[..., 0], (32, 24)) for frame in frames]
        return np.asarray(np.asarray(red) / 255, np.float32)


def footage(name: str, frames: int = 1, teacher: bool = False) -> Footage:
    """A white-red patch that moves right, on blue; BGR."""

    def read() -> Iterator[LabelledFrame]:
        for index in range(frames):
            image = np.zeros((48, 64, 3), np.uint8)
            image[..., 0] = 255
            image[16:32, 8 + 8 * index : 16 + 8 * index, 2] = 200
            yield LabelledFrame(image, teacher=image[..., 2] if teacher else None)

    return Footage(name, "test", "still" if frames == 1 else "video", (), read)


def centre(map_: NDArray[np.uint8]) -> tuple[float, float]:
    """The middle of the peak, in 0..1 of width and height."""
    y, x = np.nonzero(map_ == 255)
    return (x.mean() + 0.5) / map_.shape[1], (y.mean() + 0.5) / map_.shape[0]


SET = (footage("b"), footage("a"), footage("clip", 3), footage("deep/er", 2))


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_layout(tmp_path: Path) -> None:
    told = []
    count = write_teacher_maps(
        Redness(),
        SET,
        tmp_path,
        lineage={"sha256": "12"},
        report=lambda done, total: told.append((done, total)),
    )
    assert count == 4
    assert told == [(done, 4) for done in range(5)]
    assert set(everything(tmp_path)) == {
        f"teacher_maps/{name}"
        for name in ("images.npz", "clips/clip.npz", "clips/deep/er.npz", "teacher.json")
    }
    record = json.loads((tmp_path / "teacher_maps" / "teacher.json").read_text())
    assert record == {"teacher": "redness", "sha256": "12"}
    names, maps = read_arrays(tmp_path / "teacher_maps" / "images.npz", "names", "maps")
    assert sorted(names.tolist()) == ["a", "b"]
    assert maps.dtype == np.uint8
    assert maps.shape == (2, 96, 128)
    (clip,) = read_arrays(tmp_path / "teacher_maps" / "clips" / "clip.npz", "maps")
    assert clip.dtype == np.uint8
    assert clip.shape == (3, 48, 64)
    for index, map_ in enumerate(clip):
        assert map_.max() == 255
        assert centre(map_) == pytest.approx(((12 + 8 * index) / 64, 0.5), abs=0.02)


def test_a_video_is_seen_as_a_whole_and_a_still_alone(tmp_path: Path) -> None:
    teacher = Redness()
    write_teacher_maps(teacher, SET, tmp_path)
    assert sorted(teacher.seen) == [(1, 48, 64, 3), (1, 48, 64, 3), (2, 48, 64, 3), (3, 48, 64, 3)]


def test_the_readers_find_them(tmp_path: Path) -> None:
    """Pseudo-labels: an unlabelled folder of videos comes back with the teacher's maps."""
    from uva_edge.data.videos import list_videos

    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for labelled in footage("walk", 4).read():
        writer.write(labelled.image)
    writer.release()
    before = list_videos(tmp_path)
    with pytest.raises(DataError, match=r"walk in videos: 0 of 4"):
        StoredMaps().of(before[0])
    write_teacher_maps(Redness(), before, tmp_path)
    (video,) = list_videos(tmp_path)
    maps = maps_of(StoredMaps(), video)
    assert maps.shape == (4, 48, 64)
    np.testing.assert_allclose(maps, quantized(maps_of(Redness(), video), (48, 64)) / 255, atol=1e-6)


def test_a_stopped_run_leaves_no_maps_and_goes_on(tmp_path: Path) -> None:
    def stopping(items: Sequence[Footage]) -> Iterator[tuple[Footage, Iterator[LabelledFrame]]]:
        for item in items[:2]:
            yield item, item.read()
        raise KeyboardInterrupt

    first = Redness()
    with pytest.raises(KeyboardInterrupt):
        write_teacher_maps(first, SET, tmp_path, frames=stopping)
    assert len(first.seen) == 2
    assert not (tmp_path / "teacher_maps").exists()
    second = Redness()
    assert write_teacher_maps(second, SET, tmp_path) == 2
    assert len(second.seen) == 2
    write_teacher_maps(Redness(), SET, tmp_path / "other")
    assert everything(tmp_path / "teacher_maps") == everything(tmp_path / "other" / "teacher_maps")


def test_a_second_split_joins_the_first(tmp_path: Path) -> None:
    write_teacher_maps(Redness(), SET[:1] + SET[2:3], tmp_path)
    before = everything(tmp_path)["teacher_maps/clips/clip.npz"]
    teacher = Redness()
    assert write_teacher_maps(teacher, SET, tmp_path) == 2
    assert len(teacher.seen) == 2
    assert write_teacher_maps(teacher, SET, tmp_path) == 0
    write_teacher_maps(Redness(), SET, tmp_path / "other")
    found, whole = everything(tmp_path / "teacher_maps"), everything(tmp_path / "other" / "teacher_maps")
    assert found["clips/clip.npz"] == before
    assert set(found) == set(whole)
    names, maps = read_arrays(tmp_path / "teacher_maps" / "images.npz", "names", "maps")
    assert names.tolist() == ["b", "a"]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not (tmp_path / ".teacher_maps.partial").exists()


def test_maps_of_another_teacher_are_never_touched(tmp_path: Path) -> None:
    write_teacher_maps(Redness(), SET, tmp_path, lineage={"sha256": "1"})
    before = everything(tmp_path)
    with pytest.raises(OptionError, match=r"teacher_maps: holds maps of another teacher .*'2'"):
        write_teacher_maps(Redness(), SET, tmp_path, lineage={"sha256": "2"})
    assert everything(tmp_path) == before
    (tmp_path / "unknown" / "teacher_maps").mkdir(parents=True)
    with pytest.raises(OptionError, match="another teacher"):
        write_teacher_maps(Redness(), SET, tmp_path / "unknown")


def test_damaged_footage(tmp_path: Path) -> None:
    def damaged() -> Iterator[LabelledFrame]:
        yield from footage("x", 2).read()
        raise DamagedFileError("x.mp4: expected a video of 9 frames, could decode 2")

    bad = Footage("x", "test", "video", (), damaged)
    with pytest.raises(DamagedFileError, match=r"x\.mp4"):
        write_teacher_maps(Redness(), (*SET, bad), tmp_path)
    assert not (tmp_path / "teacher_maps").exists()

    def readable(items: Sequence[Footage]) -> Iterator[tuple[Footage, Iterator[LabelledFrame]]]:
        return ((item, item.read()) for item in items if item.name != "x")

    assert write_teacher_maps(Redness(), (*SET, bad), tmp_path, frames=readable) == 0
    assert not (tmp_path / "teacher_maps" / "clips" / "x.npz").exists()


class Broken(Redness):
    """Gives what it was told to."""

    def __init__(self, maps: NDArray[np.float32]) -> None:
        super().__init__()
        self.maps = maps

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.maps


@pytest.mark.parametrize(
    "maps",
    [
        np.full((3, 4, 4), np.nan, np.float32),
        np.full((3, 4, 4), np.inf, np.float32),
        np.full((3, 4, 4), -0.1, np.float32),
        np.ones((2, 4, 4), np.float32),
        np.ones((3, 4, 4, 1), np.float32),
        np.ones((3, 0, 4), np.float32),
    ],
)
def test_a_teacher_that_fails(tmp_path: Path, maps: NDArray[Any]) -> None:
    with pytest.raises(DataError, match=r"clip in test: expected (3 )?maps"):
        write_teacher_maps(Broken(maps), [footage("clip", 3)], tmp_path)
    assert not (tmp_path / "teacher_maps").exists()


def test_maps_of_zeros_stay_zeros() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1, 2, 2] = 1e-6
    found = quantized(maps, (4, 4))
    assert not found[0].any()
    assert found[1].max() == 255


@pytest.mark.parametrize(
    "name", ["../out", "/etc/x", "a//b", ".hidden", "a/../../b", "a\\b", "C:x", "", "a\0"]
)
def test_names_stay_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="is to name a file"):
        write_teacher_maps(Redness(), [footage(name, 2)], tmp_path / "root")
    assert not list(tmp_path.iterdir())


def test_names_occur_once(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="another of this name"):
        write_teacher_maps(Redness(), [footage("a", 2), footage("a", 2)], tmp_path)


def test_footage_that_cannot_be_seen_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changing() -> Iterator[LabelledFrame]:
        for side in (16, 24):
            yield LabelledFrame(np.zeros((side, 16, 3), np.uint8))

    with pytest.raises(DataError, match=r"odd in test: frame 1 .*24"):
        maps_of(Redness(), Footage("odd", "test", "video", (), changing))
    with pytest.raises(DataError, match="no frames"):
        maps_of(Redness(), Footage("none", "test", "video", (), lambda: iter(())))
    monkeypatch.setattr(stored, "MAX_DECODED_BYTES", 2 * 48 * 64 * 3)
    with pytest.raises(DataError, match=r"clip in test: more than"):
        maps_of(Redness(), footage("clip", 3))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"):
        write_teacher_maps(Redness(), SET, tmp_path / "file")


def test_a_damaged_record(tmp_path: Path) -> None:
    place = tmp_path / "teacher_maps"
    place.mkdir()
    (place / "teacher.json").write_bytes(b"{")
    with pytest.raises(DataError, match=r"teacher\.json: expected JSON"):
        write_teacher_maps(Redness(), SET, tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_maps_that_were_given() -> None:
    from uva_edge.data.still_images import list_stills

    still = list_stills(SHARED, "val")[0]
    maps = StoredMaps().of(still)
    assert maps.shape == (1, 96, 128)
    assert maps.max() == 1
