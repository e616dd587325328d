"""Readers against hostile or broken files: whatever is wrong is a DataError that names the file."""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.data import clips, stills
from uva_edge.data.clips import read_clips, read_pairs
from uva_edge.data.stills import read_arrays, read_stills, read_table
from uva_edge.errors import DataError

Damage = Callable[[Path], object]

SIZE = (64, 48)
FRAMES = 9
IMAGES = [("a", "osie", "train"), ("b", "sun500", "train"), ("c", "osie", "val"), ("d", "osie", "train")]
FIXATIONS = [("a", 0, 1), ("b", 0.5, 0.25), ("a", 0.125, 0.75), ("c", 1, 1), ("d", 0, 0), ("unlisted", 0, 0)]
MAPS = np.stack([np.full((6, 8), 60 * number, np.uint8) for number in range(4)])


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def shade(number: int) -> NDArray[np.uint8]:
    """A BGR picture whose colour tells its number."""
    return np.full((SIZE[1], SIZE[0], 3), (20 * number + 30, 200 - 20 * number, 90), np.uint8)


def video(path: Path, count: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE)
    for number in range(count):
        writer.write(shade(number))
    writer.release()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four stills and two clips."""
    root = tmp_path / "data"
    for folder in ("images", "clips", "teacher_maps/clips"):
        (root / folder).mkdir(parents=True)
    for number, (name, _, _) in enumerate(IMAGES):
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), shade(number))
    table(root / "images.csv", ("name", "dataset", "split"), IMAGES)
    table(root / "fixations.csv", ("name", "x", "y"), FIXATIONS)
    # In another order than images.csv: maps belong to names, not to rows.
    np.savez(root / "teacher_maps" / "images.npz", names=np.array(list("dcba")), maps=MAPS)
    table(root / "clips.csv", ("name", "split", "view"), [("v", "val", "aerial"), ("t", "train", "ground")])
    for name in ("v", "t"):
        video(root / "clips" / f"{name}.mp4", FRAMES)
        maps = np.arange(FRAMES, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 4), np.uint8)
        np.savez(root / "teacher_maps" / "clips" / f"{name}.npz", maps=maps)
    return root


def read_everything(root: Path) -> None:
    read_stills(root, "train")
    read_pairs(root, "train", per_clip=3)


# --- what is read ---------------------------------------------------------------------------------------


def test_stills_in_the_order_of_the_table(root: Path) -> None:
    found = read_stills(root, "train")
    assert [(still.name, still.dataset) for still in found] == [("a", "osie"), ("b", "sun500"), ("d", "osie")]
    for still, number in zip(found, (0, 1, 3), strict=True):
        assert still.image.shape == (48, 64, 3)
        assert np.abs(still.image.astype(int) - shade(number)).max() <= 6, (
            still.name
        )  # BGR, but for JPEG's loss
        assert (still.teacher == 60 * (3 - number)).all(), still.name
    assert found[0].fixations.tolist() == [[0, 1], [0.125, 0.75]]
    assert found[0].fixations.dtype == np.float32
    assert [still.name for still in read_stills(root, "train", dataset="sun500")] == ["b"]


def test_clips_of_a_split(root: Path) -> None:
    (clip,) = read_clips(root, "train")
    assert (clip.name, clip.view, len(clip.frames)) == ("t", "ground", FRAMES)
    for number, frame in enumerate(clip.frames):
        assert np.abs(frame.astype(int) - shade(number)).max() <= 12, number
    assert clip.teacher[:, 0, 0].tolist() == list(range(FRAMES))


@pytest.mark.parametrize(("count", "indices"), [(1, [1]), (3, [1, 4, 8]), (100, list(range(1, FRAMES)))])
def test_pairs_are_consecutive_and_spread(root: Path, count: int, indices: list[int]) -> None:
    (clip,) = read_clips(root, "train")
    pairs = read_pairs(root, "train", per_clip=count)
    assert [int(pair.teacher[0, 0]) for pair in pairs] == indices
    for pair, index in zip(pairs, indices, strict=True):
        assert pair.clip == "t"
        assert np.array_equal(pair.frame, clip.frames[index])
        assert np.array_equal(pair.previous, clip.frames[index - 1])


def test_further_columns_and_quoted_values_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('note,name\n"a, b",é\n', encoding="utf-8")
    assert [row["name"] for row in read_table(tmp_path / "t.csv", ("name",))] == ["é"]


# --- what is refused ------------------------------------------------------------------------------------


def put(path: str, data: bytes) -> Damage:
    return lambda root: (root / path).write_bytes(data)


def remove(path: str) -> Damage:
    return lambda root: (root / path).unlink()


def arrays(path: str, **named: NDArray[np.generic]) -> Damage:
    return lambda root: np.savez(root / path, **named)


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A few bytes that announce more pixels than OpenCV takes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def wide_image(root: Path) -> None:
    data = cv2.imencode(".png", np.zeros((1, 2**14 + 1, 3), np.uint8))[1]
    (root / "images" / "b.jpg").write_bytes(data.tobytes())


STILL_MAPS, CLIP_MAPS = "teacher_maps/images.npz", "teacher_maps/clips/t.npz"
NAMES = np.array(list("abcd"))
SHAPE_OF_A_TERABYTE = npy(MAPS).replace(b"(4, 6, 8)", b"(9999999, 9999, 9)").replace(b" " * 9 + b"\n", b"\n")

DAMAGE: dict[str, tuple[Damage, str]] = {
    # tables
    "no images.csv": (remove("images.csv"), r"images\.csv: No such file"),
    "no clips.csv": (remove("clips.csv"), r"clips\.csv: No such file"),
    "no fixations.csv": (remove("fixations.csv"), r"fixations\.csv: No such file"),
    "a folder for a table": (
        lambda root: ((root / "images.csv").unlink(), (root / "images.csv").mkdir()),
        r"images\.csv: Is a directory",
    ),
    "an empty table": (put("images.csv", b""), r"images\.csv: no column dataset, name, split"),
    "a missing column": (put("fixations.csv", b"name,x\na,0\n"), r"fixations\.csv: no column y"),
    "a short row": (
        put("fixations.csv", b"name,x,y\na,0.5,0.5\na,0.5\n"),
        r"fixations\.csv, line 3: expected 3",
    ),
    "a row of one value": (put("images.csv", b"name,dataset,split\na\n"), r"images\.csv, line 2: expected 3"),
    "another encoding": (
        put("images.csv", b"name,dataset,split\n\xff\xfe,b,train\n"),
        r"images\.csv: .*UTF-8",
    ),
    "an endless field": (
        put("images.csv", b"name,dataset,split\n" + b"a" * 200_000),
        r"images\.csv: .*limit",
    ),
    "no number": (put("fixations.csv", b"name,x,y\na,left,0\n"), r"fixations\.csv, line 2: .*'left'"),
    "no finite number": (
        put("fixations.csv", b"name,x,y\na,nan,0\n"),
        r"fixations\.csv, line 2: .*in 0\.\.1",
    ),
    "a fixation outside": (
        put("fixations.csv", b"name,x,y\na,0,1.01\n"),
        r"line 2: .*in 0\.\.1, got .*1\.01",
    ),
    "a negative fixation": (put("fixations.csv", b"name,x,y\na,-0.1,0\n"), r"line 2: .*in 0\.\.1"),
    "no fixation": (put("fixations.csv", b"name,x,y\na,0,0\n"), r"fixations\.csv: no fixation of b"),
    "no image of the split": (
        put("images.csv", b"name,dataset,split\na,o,val\n"),
        r"images\.csv: no image of",
    ),
    "no clip of the split": (
        put("clips.csv", b"name,split,view\nv,val,x\n"),
        r"clips\.csv: no clip of split",
    ),
    # images
    "no image": (remove("images/b.jpg"), r"b\.jpg: expected a readable image"),
    "no image data": (
        put("images/b.jpg", b"\xff\xd8\xff\xe0 no picture"),
        r"b\.jpg: expected a readable image",
    ),
    "too many pixels": (put("images/b.jpg", huge_png()), r"b\.jpg: expected a readable image"),
    "too wide": (wide_image, r"b\.jpg: expected sides of at most 16384"),
    # clips
    "no clip": (remove("clips/t.mp4"), r"t\.mp4: expected a clip"),
    "no video": (put("clips/t.mp4", b"ftyp" * 99), r"t\.mp4: a clip has at least two .* got 0"),
    "one frame": (lambda root: video(root / "clips/t.mp4", 1), r"t\.mp4: a clip has at least two .* got 1"),
    # teacher maps
    "no maps of stills": (remove(STILL_MAPS), r"images\.npz: .*No such file"),
    "no maps of a clip": (remove(CLIP_MAPS), r"t\.npz: .*No such file"),
    "empty maps": (put(STILL_MAPS, b""), r"images\.npz: expected an \.npz file"),
    "text for maps": (put(CLIP_MAPS, b"no archive"), r"t\.npz: expected an \.npz file"),
    "a zip magic alone": (put(CLIP_MAPS, b"PK\x03\x04"), r"t\.npz: expected an \.npz file"),
    "an .npy file": (put(CLIP_MAPS, npy(MAPS)), r"t\.npz: expected an \.npz file"),
    "no such array": (
        arrays(CLIP_MAPS, map=MAPS),
        r"t\.npz: expected the arrays maps; got none in 'maps\.npy'",
    ),
    "no names": (arrays(STILL_MAPS, maps=MAPS), r"images\.npz: expected the arrays names, maps"),
    "pickled names": (
        put(STILL_MAPS, npz(names=npy(NAMES.astype(object)), maps=npy(MAPS))),
        r"images\.npz: .*[Oo]bject arrays",
    ),
    "numbers for names": (
        arrays(STILL_MAPS, names=np.arange(4), maps=MAPS),
        r"images\.npz: names are strings",
    ),
    "names in rows": (
        arrays(STILL_MAPS, names=NAMES[:, None], maps=MAPS),
        r"names are strings \[N\]; got .*4, 1",
    ),
    "a name too few": (
        arrays(STILL_MAPS, names=NAMES[:3], maps=MAPS),
        r"images\.npz: maps are uint8 \[3, h, w\]",
    ),
    "no map of a still": (
        arrays(STILL_MAPS, names=NAMES[[0, 2, 3]], maps=MAPS[:3]),
        r"images\.npz: no map of b",
    ),
    "float maps": (
        arrays(STILL_MAPS, names=NAMES, maps=MAPS / 255),
        r"images\.npz: maps are uint8 .*float64",
    ),
    "flat maps": (
        arrays(CLIP_MAPS, maps=np.zeros((FRAMES, 12), np.uint8)),
        r"t\.npz: maps are uint8 \[9, h, w\]",
    ),
    "maps without pixels": (
        arrays(CLIP_MAPS, maps=np.zeros((FRAMES, 0, 4), np.uint8)),
        r"t\.npz: maps are uint8",
    ),
    "a map too many": (
        arrays(CLIP_MAPS, maps=np.zeros((FRAMES + 1, 3, 4), np.uint8)),
        r"t\.npz: maps are uint8 \[9, h, w\], one a decoded frame; got uint8 \(10, 3, 4\)",
    ),
    "cut maps": (put(CLIP_MAPS, npz(maps=npy(MAPS)[:-5])), r"t\.npz: expected an \.npz file"),
    "a shape of a terabyte": (
        put(CLIP_MAPS, npz(maps=SHAPE_OF_A_TERABYTE)),
        r"t\.npz: expected an \.npz file",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_a_data_error_that_names_the_file(root: Path, case: str) -> None:
    read_everything(root)
    damage, words = DAMAGE[case]
    damage(root)
    with pytest.raises(DataError, match=words):
        read_everything(root)


def test_sizes_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MAX_CLIP_BYTES", 3 * 64 * 48 * 3)
    with pytest.raises(DataError, match=r"t\.mp4: more than 27648 bytes"):
        list(read_clips(root, "train"))
    monkeypatch.setattr(stills, "MAX_ARRAY_BYTES", 300)
    with pytest.raises(DataError, match=r"images\.npz: .*maps has 320 bytes, the limit is 300"):
        read_stills(root, "train")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_arrays_are_refused_or_read(root: Path, place: float, value: int, cut: bool) -> None:
    path = root / "fuzz.npz"
    data = bytearray((root / STILL_MAPS).read_bytes())
    index = int(place * (len(data) - 1))
    data[index] = value
    path.write_bytes(bytes(data[:index] if cut else data))
    with suppress(DataError):
        names, maps = read_arrays(path, "names", "maps")
        assert len(names) == len(maps) == 4
