"""Data sets that are incomplete or malformed: whatever is wrong is a DataError that names the file.

Where a single file can't be decoded it is a DamagedFileError, which a run may skip.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.sources import open_footage
from uva_edge.errors import DamagedFileError, DataError

Damage = Callable[[Path], object]

MAPS = np.zeros((4, 6, 8), np.uint8)
NAMES = np.array(list("abcd"))
STILL_MAPS, CLIP_MAPS = "teacher_maps/images.npz", "teacher_maps/clips/t.npz"


def put(path: str, data: bytes) -> Damage:
    return lambda root: (root / path).write_bytes(data)


def remove(path: str) -> Damage:
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def move(path: str, other: str) -> Damage:
    return lambda root: (root / path).rename(root / other)


def copy(path: str, other: str) -> Damage:
    return lambda root: shutil.copy(root / path, root / other)


def cut(path: str) -> Damage:
    return lambda root: (root / path).write_bytes(
        (root / path).read_bytes()[: (root / path).stat().st_size // 2]
    )


def arrays(path: str, **named: NDArray[Any]) -> Damage:
    return lambda root: np.savez(root / path, **named)


def longer_video(path: str) -> Damage:
    """The same name, with 12 frames."""

    def damage(root: Path) -> None:
        writer = cv2.VideoWriter(str(root / path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for _ in range(12):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()

    return damage


def read_everything(kind: str, root: Path) -> None:
    spec = str(root) if kind == "annotated" else f"{kind}:{root}"
    for item in open_footage(spec, "train"):
        for _ in item.read():
            pass


def refuse(request: pytest.FixtureRequest, kind: str, damage: Damage, words: str) -> DataError:
    root = request.getfixturevalue(kind)
    read_everything(kind, root)
    damage(root)
    with pytest.raises(DataError, match=words) as raised:
        read_everything(kind, root)
    return raised.value


# --- what a run may not skip ----------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, Damage, str]] = {
    # stills and clips: tables
    "no fixations.csv": ("annotated", remove("fixations.csv"), r"fixations\.csv: No such file"),
    "a folder for a table": (
        "annotated",
        lambda root: ((root / "images.csv").unlink(), (root / "images.csv").mkdir()),
        r"images\.csv: Is a directory",
    ),
    "an empty table": ("annotated", put("images.csv", b""), r"images\.csv: no column dataset, name, split"),
    "a missing column": ("annotated", put("fixations.csv", b"name,x\na,0\n"), r"fixations\.csv: no column y"),
    "a short row": (
        "annotated",
        put("fixations.csv", b"name,x,y\na,0.5,0.5\na,0.5\n"),
        r"fixations\.csv, line 3: expected 3",
    ),
    "another encoding": (
        "annotated",
        put("images.csv", b"name,dataset,split\n\xff\xfe,b,train\n"),
        r"images\.csv: .*UTF-8",
    ),
    "an endless field": (
        "annotated",
        put("images.csv", b"name,dataset,split\n" + b"a" * 200_000),
        r"images\.csv: .*limit",
    ),
    "no number": (
        "annotated",
        put("fixations.csv", b"name,x,y\na,left,0\n"),
        r"fixations\.csv, line 2: .*'left'",
    ),
    "no finite number": (
        "annotated",
        put("fixations.csv", b"name,x,y\na,nan,0\n"),
        r"fixations\.csv, line 2: .*in 0\.\.1",
    ),
    "a fixation outside": (
        "annotated",
        put("fixations.csv", b"name,x,y\na,0,1.01\n"),
        r"fixations\.csv, line 2: .*1\.01",
    ),
    "no fixation": (
        "annotated",
        put("fixations.csv", b"name,x,y\na,0,0\n"),
        r"fixations\.csv: no fixation of b",
    ),
    "no image of the split": (
        "annotated",
        put("images.csv", b"name,dataset,split\na,o,val\n"),
        r"images\.csv: no image of split 'train'",
    ),
    "no clip of the split": (
        "annotated",
        put("clips.csv", b"name,split\nv,val\n"),
        r"clips\.csv: no clip of split 'train'",
    ),
    "an image twice": (
        "annotated",
        put("images.csv", b"name,dataset,split\na,o,train\na,o,train\n"),
        r"images\.csv: a is there twice",
    ),
    "a clip twice": (
        "annotated",
        put("clips.csv", b"name,split\nt,train\nt,train\n"),
        r"clips\.csv: t is there twice",
    ),
    "a name that leaves the folder": (
        "annotated",
        put("images.csv", b"name,dataset,split\n../images/a,o,train\n"),
        r"images\.csv: '\.\./images/a' is to name a file",
    ),
    "a name that leaves by another way": (
        "annotated",
        put("clips.csv", b"name,split\n/etc/t,train\n"),
        r"clips\.csv: '/etc/t' is to name a file",
    ),
    # stills and clips: files
    "no image": ("annotated", remove("images/b.jpg"), r"b\.jpg: No such file, but images\.csv names it"),
    "too wide": (
        "annotated",
        lambda root: cv2.imwrite(str(root / "images/b.jpg"), np.zeros((1, 2**14 + 1, 3), np.uint8)),
        r"b\.jpg: expected sides of at most 16384",
    ),
    "no clip": ("annotated", remove("clips/t.mp4"), r"t\.mp4: No such file, but clips\.csv names it"),
    # teacher maps
    "no maps of a clip": ("annotated", remove(CLIP_MAPS), r"t\.npz: .*No such file"),
    "no map of a still": (
        "annotated",
        arrays(STILL_MAPS, names=np.array(["a", "c", "d", "e"]), maps=MAPS),
        r"images\.npz: no map of b",
    ),
    "empty maps": ("annotated", put(STILL_MAPS, b""), r"images\.npz: expected an \.npz file"),
    "text for maps": ("annotated", put(CLIP_MAPS, b"no archive"), r"t\.npz: expected an \.npz file"),
    "a zip magic alone": ("annotated", put(CLIP_MAPS, b"PK\x03\x04"), r"t\.npz: expected an \.npz file"),
    "no such array": (
        "annotated",
        arrays(CLIP_MAPS, map=MAPS),
        r"t\.npz: expected the arrays maps; got none in 'maps\.npy'",
    ),
    "no names": ("annotated", arrays(STILL_MAPS, maps=MAPS), r"images\.npz: expected the arrays names, maps"),
    "pickled names": (
        "annotated",
        arrays(STILL_MAPS, names=NAMES.astype(object), maps=MAPS),
        r"images\.npz: .*[Oo]bject arrays",
    ),
    "names that are numbers": (
        "annotated",
        arrays(STILL_MAPS, names=np.arange(4), maps=MAPS),
        r"images\.npz: names are strings",
    ),
    "names in rows": (
        "annotated",
        arrays(STILL_MAPS, names=NAMES[:, None], maps=MAPS),
        r"images\.npz: names are strings \[N\]; got .*\(4, 1\)",
    ),
    "another count of still maps": (
        "annotated",
        arrays(STILL_MAPS, names=NAMES, maps=MAPS[:3]),
        r"images\.npz: maps are uint8 \[4, h, w\], one a name; got uint8 \(3, 6, 8\)",
    ),
    "still maps of another type": (
        "annotated",
        arrays(STILL_MAPS, names=NAMES, maps=MAPS.astype(np.float32)),
        r"images\.npz: maps are uint8 .* got float32",
    ),
    "another shape of clip maps": (
        "annotated",
        arrays(CLIP_MAPS, maps=MAPS[0]),
        r"t\.npz: maps are uint8 \[frames, h, w\]; got \(6, 8\)",
    ),
    "clip maps without pixels": (
        "annotated",
        arrays(CLIP_MAPS, maps=np.zeros((9, 0, 4), np.uint8)),
        r"t\.npz: maps are uint8 \[frames, h, w\]; got \(9, 0, 4\)",
    ),
    "clip maps of another type": (
        "annotated",
        arrays(CLIP_MAPS, maps=np.zeros((9, 6, 8))),
        r"t\.npz: maps are uint8 .* got float64",
    ),
    "too few clip maps": (
        "annotated",
        arrays(CLIP_MAPS, maps=np.zeros((8, 6, 8), np.uint8)),
        r"t\.npz: labels of 8 frames, but the video has more",
    ),
    "too many clip maps": (
        "annotated",
        arrays(CLIP_MAPS, maps=np.zeros((10, 6, 8), np.uint8)),
        r"t\.npz: labels of 10 frames, but the video has 9",
    ),
    # AVS1K
    "no ground truth": ("avs1k", remove("trainSet/Ground"), r"trainSet/Ground: expected images in it"),
    "no ground truth of a video": (
        "avs1k",
        remove("trainSet/Ground/car_02"),
        r"trainSet/Frame/car_02: no such video in .*trainSet/Ground",
    ),
    "no frames of a video": (
        "avs1k",
        remove("trainSet/Frame/car_02"),
        r"trainSet/Ground/car_02: no such video in .*trainSet/Frame",
    ),
    "no ground truth of a frame": (
        "avs1k",
        remove("trainSet/Ground/car_02/car_02_00003.bmp"),
        r"Frame/car_02/car_02_00003\.jpg: nothing of frame 3 in .*Ground/car_02; 3 frames, 2 labels",
    ),
    "a frame left out": (
        "avs1k",
        remove("trainSet/Frame/car_02/car_02_00002.jpg"),
        r"Frame/car_02/car_02_00001\.jpg: the file of the frame after it is missing",
    ),
    "a frame without number": (
        "avs1k",
        move("trainSet/Frame/car_02/car_02_00003.jpg", "trainSet/Frame/car_02/cover.jpg"),
        r"cover\.jpg: expected a name that ends in the number",
    ),
    "frames and ground truth swapped": (
        "avs1k",
        lambda root: (
            (root / "trainSet/Frame").rename(root / "trainSet/other"),
            (root / "trainSet/Ground").rename(root / "trainSet/Frame"),
            (root / "trainSet/other").rename(root / "trainSet/Ground"),
        ),
        r"Ground/boat_1/boat_1_00001\.jpg: expected a density in grey, got a picture in colour",
    ),
    # DHF1K
    "no annotation": ("dhf1k", remove("annotation/0001"), r"annotation/0001/maps: No such folder"),
    "no video": ("dhf1k", remove("video/0001.AVI"), r"annotation/0001: no video 0001 in .*video"),
    "no fixations": ("dhf1k", remove("annotation/0600/fixation"), r"0600/fixation: No such folder"),
    "a video twice": (
        "dhf1k",
        copy("video/0001.AVI", "video/0001.mp4"),
        r"0001\.mp4: 0001\.AVI is the same video",
    ),
    "a density too few": (
        "dhf1k",
        remove("annotation/0001/maps/0004.png"),
        r"0004\.mat: nothing of frame 4 in .*0001/maps",
    ),
    "labels of another count": (
        "dhf1k",
        longer_video("video/0001.AVI"),
        r"annotation/0001: labels of 4 frames, but the video has more",
    ),
    "frames of another count": (
        "dhf1k",
        remove("video/0600/0004.png"),
        r"annotation/0600/maps/0004\.png: nothing of frame 4 in .*video/0600; 3 frames, 4 labels",
    ),
    "numbers from 2": (
        "dhf1k",
        lambda root: [
            (root / "annotation/0001" / name).unlink() for name in ("maps/0001.png", "fixation/maps/0001.mat")
        ],
        r"0002\.png: expected 1 for the first frame of 0001\.AVI",
    ),
    "no fixation map in a file": (
        "dhf1k",
        put("annotation/0001/fixation/maps/0002.mat", b"MATLAB".ljust(124) + b"\x00\x01IM"),
        r"0002\.mat: expected a matrix I in it; there is none",
    ),
    "an empty split": (
        "dhf1k",
        lambda root: [shutil.rmtree(root / place) for place in ("annotation", "video/0600")]
        + [(root / "video/0001.AVI").unlink()],
        r"video: no video of the split 'train'",
    ),
    # UCF-Sports
    "no images": ("ucf", remove("training/Run-1/images"), r"Run-1/images: No such folder"),
    "no fixation map": (
        "ucf",
        remove("training/Run-1/fixation/Run-1_003.png"),
        r"maps/Run-1_003\.png: nothing of frame 3 in .*Run-1/fixation",
    ),
    # any videos
    "maps of some": (
        "videos",
        lambda root: (
            (root / "teacher_maps/clips").mkdir(parents=True),
            np.savez(root / "teacher_maps/clips/b.npz", maps=np.zeros((3, 2, 2), np.uint8)),
        ),
        r"teacher_maps/clips/a/c\.npz: .*No such file",
    ),
    "one name twice": ("videos", copy("b.mp4", "b.mov"), r"b\.mp4: b\.mov has the same name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(request: pytest.FixtureRequest, case: str) -> None:
    error = refuse(request, *REFUSED[case])
    assert not isinstance(error, DamagedFileError)


# --- what a run may skip --------------------------------------------------------------------------------

DAMAGED: dict[str, tuple[str, Damage, str]] = {
    "a cut still": ("annotated", cut("images/b.jpg"), r"b\.jpg: expected an image"),
    "no image data": (
        "annotated",
        put("images/b.jpg", b"\xff\xd8\xff\xe0 none"),
        r"b\.jpg: expected an image",
    ),
    "no data": ("annotated", put("images/b.jpg", b""), r"b\.jpg: expected an image, got 0 bytes"),
    "no video data": ("annotated", put("clips/t.mp4", b"ftyp" * 99), r"t\.mp4: expected a video"),
    "a cut clip": ("annotated", cut("clips/t.mp4"), r"t\.mp4: expected a video"),
    "a cut frame": (
        "avs1k",
        cut("trainSet/Frame/car_02/car_02_00002.jpg"),
        r"car_02_00002\.jpg: expected an image",
    ),
    "a cut density": (
        "avs1k",
        cut("trainSet/Ground/car_02/car_02_00002.bmp"),
        r"car_02_00002\.bmp: expected an image",
    ),
    "a cut matrix": (
        "dhf1k",
        cut("annotation/0001/fixation/maps/0002.mat"),
        r"0002\.mat: expected a MATLAB file",
    ),
    "no matrix": (
        "dhf1k",
        put("annotation/0001/fixation/maps/0002.mat", b"x" * 300),
        r"0002\.mat: expected a MATLAB file",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(request: pytest.FixtureRequest, case: str) -> None:
    error = refuse(request, *DAMAGED[case])
    assert isinstance(error, DamagedFileError)


def test_a_video_that_ends_early_is_damaged_and_not_mislabelled(dhf1k: Path) -> None:
    video = dhf1k / "video" / "0001.AVI"
    data = video.read_bytes()
    video.write_bytes(data[: data.rindex(b"00dc", 0, data.index(b"idx1"))])  # without the last frame
    with pytest.raises(DamagedFileError, match=r"0001\.AVI: expected a video of 4 frames, could decode 3"):
        read_everything("dhf1k", dhf1k)
