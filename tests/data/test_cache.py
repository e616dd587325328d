"""The packed cache: what a pack holds, when it is built anew, and that it is whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.data import cache
from uva_edge.data.cache import MAP_SIDE, Pack, PackOptions, open_pack, pack
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.sources import open_footage
from uva_edge.errors import DamagedFileError, DataError, OptionError, OutputError

SMALL = PackOptions(side=8)
Label = Callable[[int], dict[str, Any]]


def picture(number: int, size: tuple[int, int] = (12, 9)) -> NDArray[np.uint8]:
    """A picture of one colour that tells a number below 65,536."""
    return np.full((size[1], size[0], 3), (number % 256, number // 256, 7), np.uint8)


def spot(column: int) -> NDArray[np.uint8]:
    """A map that is bright in one of six columns."""
    density = np.zeros((4, 6), np.uint8)
    density[:, column] = 200
    return density


class Film:
    """Footage of so many numbered frames; it counts how often it is read."""

    def __init__(
        self,
        count: int,
        name: str = "film",
        *,
        files: tuple[Path, ...] = (),
        label: Label = lambda number: {},
        error: BaseException | None = None,
        dataset: str = "set",
    ) -> None:
        self.count, self.label, self.error, self.reads = count, label, error, 0
        kind = "video" if count > 1 else "still"
        self.footage = Footage(name, dataset, kind, files, self.read)  # type: ignore[arg-type]

    def read(self) -> Iterator[LabelledFrame]:
        self.reads += 1
        for number in range(self.count):
            yield LabelledFrame(picture(number), **self.label(number))
        if self.error is not None:
            raise self.error


def packed(directory: Path, *films: Film, options: PackOptions = SMALL, **others: Any) -> Pack:
    return pack([film.footage for film in films], directory, options, **others)


def places(directory: Path) -> list[str]:
    """All that stands in a cache, hidden or not."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def numbers(rows: Pack) -> list[int]:
    return [int(blue) + 256 * int(green) for blue, green, _ in rows.frames[:, 0, 0]]


# --- what a pack holds ----------------------------------------------------------------------------------


def test_frames_in_the_order_of_the_footage_and_of_time(tmp_path: Path) -> None:
    found = packed(tmp_path, Film(3, "b", dataset="x"), Film(1, "c"), Film(2, "a"))
    assert found.names == ("b", "c", "a")
    assert found.datasets == ("x", "set", "set")
    assert found.footage.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.number.tolist() == numbers(found) == [0, 1, 2, 0, 0, 1]
    assert found.frames.shape == (6, 8, 8, 3)
    assert (found.frames[4] == (0, 0, 7)).all()
    assert len(found) == 6
    assert not any(values.flags.writeable for values in (found.frames, found.density, found.starts))


def test_a_frame_is_stretched_to_the_square(tmp_path: Path) -> None:
    image = np.zeros((30, 80, 3), np.uint8)
    image[:15, 40:] = 255
    film = Film(1)
    still = replace(film.footage, read=lambda: iter([LabelledFrame(image)]))
    (frame,) = pack([still], tmp_path, PackOptions(side=10)).frames
    expected = np.zeros((10, 10, 3), np.uint8)
    expected[:5, 5:] = 255
    assert np.array_equal(frame, expected)


def test_no_frame_is_larger_than_the_cap(tmp_path: Path) -> None:
    film = Film(1)
    assert packed(tmp_path, film, options=PackOptions(512, cap=16)).frames.shape == (1, 16, 16, 3)
    packed(tmp_path, film, options=PackOptions(400, cap=16))
    assert film.reads == 1, "the same pixels are packed twice"


@pytest.mark.parametrize("human", [True, False])
@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("spatial", [True, False])
def test_what_is_not_known_is_stood_in_for(tmp_path: Path, human: bool, teacher: bool, spatial: bool) -> None:
    known = {"density": human, "teacher": teacher, "spatial": spatial}
    columns = {"density": 0, "teacher": 2, "spatial": 4}
    label = {part: spot(columns[part]) for part, given_ in known.items() if given_}
    found = packed(tmp_path, Film(2, label=lambda number: label if number == 1 else {}))
    assert (found.labelled(1), found.taught(1), found.has_spatial(1)) == (human, teacher, spatial)
    assert not any((found.labelled(0), found.taught(0), found.has_spatial(0)))
    order = ("density", "teacher"), ("teacher", "density"), ("spatial", "teacher", "density")
    for choices, seen in zip(
        order, (found.density_of(1), found.teacher_of(1), found.spatial_of(1)), strict=True
    ):
        part = next((choice for choice in choices if known[choice]), None)
        assert seen.shape == (MAP_SIDE, MAP_SIDE)
        if part is None:
            assert not seen.any(), choices
        else:
            assert (seen.argmax(axis=1) // (MAP_SIDE // 6) == columns[part]).all(), choices
            assert seen.max() == 255, "a relative density has its peak at 255"
    assert not found.density_of(0).any()


def test_fixations_belong_to_their_frames(tmp_path: Path) -> None:
    points = [np.random.default_rng(number).random((number, 2), dtype=np.float32) for number in range(4)]

    def label(number: int) -> dict[str, Any]:
        return {"fixations": points[number]}

    found = packed(tmp_path, Film(4, "a", label=label), Film(2, "b"), Film(4, "c", label=label))
    for row, number in enumerate([0, 1, 2, 3, 0, 0, 0, 1, 2, 3]):
        assert np.array_equal(found.fixations(row), points[number]), row
        assert found.labelled(row) == bool(number), "nobody looked, so nothing is known"


@pytest.mark.parametrize("size", [(400, 100), (200, 200), (120, 240)])
def test_the_density_of_fixations_is_round_in_the_frames_pixels(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    middle = LabelledFrame(picture(0, size), fixations=np.array([[0.5, 0.5]], np.float32))
    still = Footage("still", "set", "still", (), lambda: iter([middle]))
    density = pack([still], tmp_path, SMALL).density_of(0).astype(np.float64)
    cells = np.arange(MAP_SIDE) + 0.5 - MAP_SIDE / 2
    spread = [np.sqrt((density.sum(axis=axis) * cells**2).sum() / density.sum()) for axis in (0, 1)]
    in_pixels = np.array(spread) * size / MAP_SIDE
    assert in_pixels == pytest.approx([0.035 * size[0]] * 2, rel=0.05)


def test_a_density_stands_before_that_of_fixations(tmp_path: Path) -> None:
    label = {"fixations": np.array([[0.1, 0.5]], np.float32), "density": spot(5)}
    found = packed(tmp_path, Film(1, label=lambda number: label))
    assert found.density_of(0).sum(axis=0).argmax() > MAP_SIDE // 2
    assert found.fixations(0).tolist() == [[np.float32(0.1), 0.5]]


def test_a_density_of_any_scale_has_its_peak_at_255(tmp_path: Path) -> None:
    small = (spot(1) / 1e9).astype(np.float32)
    assert packed(tmp_path, Film(1, label=lambda number: {"density": small})).density_of(0).max() == 255


def test_stills_and_clips_of_a_data_set(tmp_path: Path, annotated: Path) -> None:
    found = pack(open_footage(str(annotated), "train"), tmp_path / "cache", SMALL)
    assert found.names == ("a", "b", "d", "t")
    assert found.datasets == ("osie", "sun500", "osie", "clips")
    assert found.number.tolist() == [0, 0, 0, *range(9)]
    assert [len(found.fixations(row)) for row in range(4)] == [2, 1, 1, 0]
    assert [found.labelled(row) for row in range(12)] == [True] * 3 + [False] * 9
    assert all(found.taught(row) for row in range(12))


# --- pairs ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 400), most=st.integers(2, 24))
def test_of_a_long_video_evenly_spread_pairs_are_kept(
    tmp_path_factory: pytest.TempPathFactory, count: int, most: int
) -> None:
    found = packed(tmp_path_factory.mktemp("cache"), Film(count), options=PackOptions(8, 8, most))
    kept = found.number.tolist()
    assert kept == numbers(found), "a frame has the number of another"
    if count <= most:
        assert kept == list(range(count))
        return
    assert kept == sorted(set(kept))
    assert most // 2 < len(kept) <= most
    assert all(number - 1 in kept or number + 1 in kept for number in kept), "a frame without a partner"
    step = count / (most // 2)
    assert kept[0] == 0
    if most > 3:
        assert max(after - before for before, after in pairwise([*kept, count])) <= 2 * step + 4


def test_a_video_may_be_longer_than_memory(tmp_path: Path) -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def read() -> Iterator[LabelledFrame]:
        nonlocal most
        for number in range(600):
            image = picture(number)
            alive.append(weakref.ref(image))
            most = max(most, sum(frame() is not None for frame in alive))
            yield LabelledFrame(image)

    found = pack([Footage("long", "set", "video", (), read)], tmp_path, PackOptions(8, 8, 10))
    assert len(found) == 10
    assert most <= 3


@settings(max_examples=200)
@given(st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=4), st.sampled_from((-1, 1)))
def test_partners_are_neighbours_of_the_same_footage(videos: list[set[int]], offset: int) -> None:
    rows = [(footage, number) for footage, kept in enumerate(videos) for number in sorted(kept)]
    footage, number = np.array(rows, np.int32).reshape(-1, 2).T
    empty = np.zeros((len(rows), 0), np.uint8)
    names = tuple(map(str, range(len(videos))))
    points, starts = np.zeros((0, 2), np.float32), np.zeros(len(rows) + 1, np.int64)
    rowed = Pack(names, names, footage, number, empty, empty, empty, empty, empty, points, starts)
    expected = [rows.index((f, n + offset)) if (f, n + offset) in rows else -1 for f, n in rows]
    assert rowed.partners(offset).tolist() == expected


# --- when a pack is built -------------------------------------------------------------------------------


def test_a_pack_is_opened_without_decoding(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    film, other = Film(3), Film(1, "still")
    first = packed(tmp_path, film, other, report=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]
    again = packed(tmp_path, film, other, report=lambda *_: pytest.fail("it is built anew"))
    assert (film.reads, other.reads) == (1, 1)
    for item in fields(Pack):
        assert np.array_equal(getattr(first, item.name), getattr(again, item.name)), item.name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "film.avi"
    path.parent.mkdir()
    path.write_bytes(bytes(3_000_000))
    return path


def test_a_pack_belongs_to_the_content_not_to_the_place(tmp_path: Path, source: Path) -> None:
    film = Film(2, files=(source,))
    packed(tmp_path / "cache", film)
    elsewhere = tmp_path / "elsewhere.avi"
    shutil.copy(source, elsewhere)
    os.utime(elsewhere, (1, 1))
    film.footage = replace(film.footage, files=(elsewhere,))
    packed(tmp_path / "cache", film)
    assert film.reads == 1


@pytest.mark.parametrize("place", [0, 1_500_000, 2_999_999])
def test_one_other_byte_makes_another_pack(tmp_path: Path, source: Path, place: int) -> None:
    film = Film(2, files=(source,))
    packed(tmp_path / "cache", film)
    data = bytearray(source.read_bytes())
    data[place] = 1
    source.write_bytes(bytes(data))
    packed(tmp_path / "cache", film)
    assert film.reads == 2
    assert len(places(tmp_path / "cache")) == 2


def test_everything_that_decides_the_content_is_in_the_key(tmp_path: Path, source: Path) -> None:
    """Each of these is another pack; no two share one."""
    other = tmp_path / "data" / "other.npz"
    other.write_bytes(b"maps")
    film = Film(2).footage
    variants = [
        ([film], SMALL),
        ([film], PackOptions(side=9)),
        ([film], PackOptions(side=9, cap=8, frames_per_video=2)),
        ([film, replace(film, name="b")], SMALL),
        ([replace(film, name="b"), film], SMALL),
        ([replace(film, name="b")], SMALL),
        ([replace(film, dataset="b")], SMALL),
        ([replace(film, kind="still")], SMALL),
        ([replace(film, facts=("teacher",))], SMALL),
        ([replace(film, files=(source,))], SMALL),
        ([replace(film, files=(source, source))], SMALL),
        ([replace(film, files=(source, other))], SMALL),
        ([replace(film, files=(other, source))], SMALL),
        ([replace(film, files=(source,)), replace(film, files=(other,))], SMALL),
    ]
    for footage, options in variants:
        pack(footage, tmp_path / "cache", options)
    assert len(places(tmp_path / "cache")) == len(variants)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.avi: No such file"):
        packed(tmp_path, Film(2, files=(tmp_path / "gone.avi",)))


# --- whole or not there ---------------------------------------------------------------------------------


def build(directory: Path) -> Path:
    label = {"fixations": np.array([[0.5, 0.5], [0.2, 0.2]], np.float32)}
    packed(directory, Film(3, label=lambda number: label), Film(3, "b"))
    (name,) = places(directory)
    return directory / name


def overwrite(name: str, dtype: type, values: list[int]) -> Callable[[Path], object]:
    return lambda place: np.array(values, dtype).tofile(place / name)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"cut {item.name}": (
            lambda place, name=item.name: os.truncate(
                place / f"{name}.bin", max(0, (place / f"{name}.bin").stat().st_size - 1)
            ),
            rf"{item.name}\.bin has \d+ bytes, expected \d+",
        )
        for item in fields(Pack)
        if item.name not in ("names", "datasets", "damaged")
    },
    "no frames": (lambda place: (place / "frames.bin").unlink(), "No such file"),
    "no index": (lambda place: (place / "pack.json").unlink(), "No such file"),
    "an empty index": (lambda place: (place / "pack.json").write_bytes(b""), "Expecting value"),
    "an index in no text": (lambda place: (place / "pack.json").write_bytes(b"\xff\xfe\xff"), "codec"),
    "another index": (lambda place: (place / "pack.json").write_text("[1, 2]"), "list indices"),
    "an index without names": (
        lambda place: (place / "pack.json").write_text(json.dumps({"frames": 6, "side": 8, "points": 6})),
        "names",
    ),
    "starts that are zeros": (overwrite("starts.bin", np.int64, [0] * 7), r"starts\.bin is not in order"),
    "starts that go back": (
        overwrite("starts.bin", np.int64, [0, 2, 1, 6, 6, 6, 6]),
        r"starts\.bin is not in order from 0 to 6",
    ),
    "rows of footage that is not there": (
        overwrite("footage.bin", np.int32, [0, 0, 0, 1, 1, 2]),
        r"footage\.bin is not in order from 0 to 1",
    ),
    "rows in disorder": (
        overwrite("footage.bin", np.int32, [0, 1, 0, 1, 1, 1]),
        r"footage\.bin is not in order",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_pack_is_named(tmp_path: Path, case: str) -> None:
    place = build(tmp_path)
    assert len(open_pack(place)) == 6
    damage, words = DAMAGE[case]
    damage(place)
    with pytest.raises(DataError, match=f"{place}: expected a whole pack.*{words}.*delete the directory"):
        build(tmp_path)
    shutil.rmtree(place)
    assert build(tmp_path) == place


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("of a reader"), DataError("wrong labels")]
)
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        packed(tmp_path, Film(3), Film(3, "b", error=error))
    assert not places(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from uva_edge.data.cache import PackOptions, pack
from uva_edge.data.footage import Footage, LabelledFrame

def read():
    yield LabelledFrame(np.zeros((9, 12, 3), np.uint8))

def killed():
    yield from read()
    os.kill(os.getpid(), signal.SIGKILL)

films = [Footage(name, "set", "still", (), reader) for name, reader in (("a", read), ("b", killed))]
pack(films, Path(sys.argv[1]), PackOptions(side=8))
"""


def test_a_build_that_is_killed_leaves_no_pack(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False, timeout=120)
    assert result.returncode == -signal.SIGKILL
    (left,) = places(tmp_path)
    assert left.startswith(".packing-")
    found = packed(tmp_path, Film(1, "a"), Film(1, "b"))
    assert found.names == ("a", "b")


def test_two_builders_at_once_make_one_pack(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=60)

    class Met(Film):
        def read(self) -> Iterator[LabelledFrame]:
            both.wait()  # each of them found no pack
            return super().read()

    film = Met(4)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: packed(tmp_path, film), range(2))
    assert film.reads == 2
    assert np.array_equal(one.frames, other.frames)
    assert numbers(one) == [0, 1, 2, 3]
    (name,) = places(tmp_path)
    assert not name.startswith(".")


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file.*the cache can't be written"):
        packed(tmp_path / "file" / "cache", Film(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "rename", full)
    with pytest.raises(OutputError, match="No space left on device"):
        packed(tmp_path / "cache", Film(1))
    assert not places(tmp_path / "cache")


# --- damaged footage ------------------------------------------------------------------------------------


def test_damaged_footage_is_left_out_and_told_each_time(tmp_path: Path) -> None:
    films = [Film(2, f"f{number}") for number in range(200)]
    films[1].error = DamagedFileError("f1.avi is cut")
    films[199].error = DamagedFileError("f199.avi is cut")
    lines = ["skipped set/f1: f1.avi is cut", "skipped set/f199: f199.avi is cut"]
    done: list[tuple[int, int]] = []
    for _ in range(2):
        told: list[str] = []
        found = packed(tmp_path, *films, skipped=told.append, report=lambda *now: done.append(now))
        assert told == lines
        assert found.damaged == tuple(lines)
        assert len(found.names) == 198
        assert "f1" not in found.names
        assert found.footage.tolist() == [row for row in range(198) for _ in range(2)]
    assert done[:2] == [(1, 200), (3, 200)]
    assert films[1].reads == 1


def test_much_damage_is_an_error_and_no_pack(tmp_path: Path) -> None:
    films = [Film(1, f"f{number}") for number in range(50)]
    films[30].error = DamagedFileError("f30.jpg is cut")
    with pytest.raises(DataError, match=r"1 of 50 .* more than 1%(?s:.*)f30\.jpg is cut"):
        packed(tmp_path, *films)
    assert not places(tmp_path)


def test_nothing_to_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got none"):
        packed(tmp_path)


@pytest.mark.parametrize(
    "options", [{"side": 7}, {"side": 64, "cap": 4}, {"side": 64, "frames_per_video": 1}]
)
def test_sizes_have_a_least(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="at least 8 and two frames"):
        PackOptions(**options)
