"""Tiny trees of every data set's layout. Frame n is a picture of one colour that tells n (`tell`)."""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

SIZE = (64, 48)
CLIP_FRAMES = 9

MakeVideo = Callable[[Path, int], None]
Matlab = Callable[..., bytes]
Tell = Callable[[NDArray[np.uint8]], int]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _shade(number: int) -> NDArray[np.uint8]:
    return np.full((SIZE[1], SIZE[0], 3), (20 * number + 30, 230 - 20 * number, 90), np.uint8)


def _tell(image: NDArray[np.uint8]) -> int:
    blue, green, red = image.reshape(-1, 3).mean(axis=0)
    number = round((blue - 30) / 20)
    assert abs(blue - 20 * number - 30) + abs(green - 230 + 20 * number) + abs(red - 90) < 24, (
        "no frame at all"
    )
    return number


def _video(path: Path, count: int) -> None:
    """Every frame by itself in an .avi, so that a cut file loses frames and not the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "MJPG" if path.suffix.lower() == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, SIZE)
    for number in range(count):
        writer.write(_shade(number))
    writer.release()


def _image(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def _density(number: int) -> NDArray[np.uint8]:
    """Bright in column `number`."""
    density = np.zeros((6, 8), np.uint8)
    density[:, number] = 200
    return density


def _fixated(number: int) -> NDArray[np.uint8]:
    """Two fixations in column `number`."""
    fixated = np.zeros((6, 8), np.uint8)
    fixated[[1, 4], number] = 1
    return fixated


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _matlab(*, compressed: bool = True, **matrices: NDArray[np.uint8]) -> bytes:
    """A MATLAB file of version 5, or 7 if compressed: matrices of class uint8."""
    data = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    for name, values in matrices.items():
        parts = (6, struct.pack("<II", 9, 0)), (5, struct.pack(f"<{values.ndim}i", *values.shape))
        parts += (1, name.encode()), (2, values.tobytes("F"))
        matrix = _element(14, b"".join(_element(*part) for part in parts))
        packed = zlib.compress(matrix)
        data += struct.pack("<II", 15, len(packed)) + packed if compressed else matrix
    return data


@pytest.fixture(scope="session")
def matlab() -> Matlab:
    """The bytes of a MATLAB file of matrices of uint8."""
    return _matlab


@pytest.fixture(scope="session")
def tell() -> Tell:
    """The number of a frame of these trees; it fails for other pictures."""
    return _tell


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Writes a video of so many frames, .avi or .mp4."""
    return _video


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Stills a (osie), b (sun500) and d (osie) of train and c of val; clips t of train and v of val."""
    root = tmp_path / "annotated"
    images = [("a", "osie", "train"), ("b", "sun500", "train"), ("c", "osie", "val"), ("d", "osie", "train")]
    points = [("a", 0, 1), ("b", 0.5, 0.25), ("a", 0.125, 0.75), ("c", 1, 1), ("d", 0, 0), ("other", 0, 0)]
    for number, (name, _, _) in enumerate(images):
        _image(root / "images" / f"{name}.jpg", _shade(number))
    _table(root / "images.csv", ("name", "dataset", "split"), images)
    _table(root / "fixations.csv", ("name", "x", "y"), points)
    _table(root / "clips.csv", ("name", "split", "view"), [("v", "val", "aerial"), ("t", "train", "ground")])
    maps = root / "teacher_maps"
    (maps / "clips").mkdir(parents=True)
    # In another order than images.csv: maps belong to names, not to rows.
    rows = np.stack([np.full((6, 8), 60 * number, np.uint8) for number in range(4)])
    np.savez(maps / "images.npz", names=np.array(list("dcba")), maps=rows)
    for name in ("v", "t"):
        _video(root / "clips" / f"{name}.mp4", CLIP_FRAMES)
        rows = np.arange(CLIP_FRAMES, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 4), np.uint8)
        np.savez(maps / "clips" / f"{name}.npz", maps=rows)
    return root


@pytest.fixture
def avs1k(tmp_path: Path) -> Path:
    """Two videos of three frames in trainSet, one of two in validSet and in testSet."""
    root = tmp_path / "avs1k"
    for folder, videos, count in (
        ("trainSet", ("car_02", "boat_1"), 3),
        ("validSet", ("car_03",), 2),
        ("testSet", ("car_04",), 2),
    ):
        for video in videos:
            for number in range(1, count + 1):
                name = f"{video}/{video}_{number:05d}"
                _image(root / folder / "Frame" / f"{name}.jpg", _shade(number))
                _image(root / folder / "Ground" / f"{name}.bmp", _density(number))
    return root


@pytest.fixture
def dhf1k(tmp_path: Path) -> Path:
    """0001.AVI and the folder of frames 0600 in train, 0601 in val, four frames each."""
    root = tmp_path / "dhf1k"
    for name in ("0001", "0600", "0601"):
        for number in range(1, 5):
            annotation = root / "annotation" / name
            _image(annotation / "maps" / f"{number:04d}.png", _density(number))
            mat = annotation / "fixation" / "maps" / f"{number:04d}.mat"
            mat.parent.mkdir(parents=True, exist_ok=True)
            mat.write_bytes(_matlab(I=_fixated(number)))
            if name == "0600":
                _image(root / "video" / name / f"{number:04d}.png", _shade(number))
    for name in ("0001.AVI", "0601.mp4"):
        _video(root / "video" / name, 4)
    return root


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """UCF-Sports: Run-1 and Dive-1 in training, Dive-2 in testing, of three frames each."""
    root = tmp_path / "ucf"
    for video in ("training/Run-1", "training/Dive-1", "testing/Dive-2"):
        for number in range(1, 4):
            name = f"{Path(video).name}_{number:03d}.png"
            _image(root / video / "images" / name, _shade(number))
            _image(root / video / "maps" / name, _density(number))
            _image(root / video / "fixation" / name, 255 * _fixated(number))
    return root


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """b.mp4, a/c.avi and what is none; no teacher."""
    root = tmp_path / "videos"
    _video(root / "b.mp4", 3)
    _video(root / "a" / "c.AVI", 4)
    _video(root / ".trash" / "d.mp4", 2)
    (root / "a" / "._c.AVI").write_bytes(b"of macOS")
    (root / "notes.txt").write_text("no video")
    return root
