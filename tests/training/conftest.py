"""What training learns from in tests: a tiny data set on disk, and spots in memory that a few steps learn."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.synthetic import AerialScene


@pytest.fixture
def data(tmp_path: Path, scene: AerialScene) -> Path:
    """Six stills of both sets and splits, one clip each for train and val."""
    root = tmp_path / "data"
    for folder in ("images", "clips", "teacher_maps/clips"):
        (root / folder).mkdir(parents=True)
    names, maps, rows, points = [], [], [], []
    for number in range(6):
        picture = scene.frame(number * 50)
        name, height, width = f"still_{number}", *picture.mask.shape
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), picture.image)
        names.append(name)
        teacher = cv2.GaussianBlur(picture.mask.astype(np.float32), (0, 0), 12)
        maps.append(np.rint(cv2.resize(teacher, (128, 96)) / teacher.max() * 255).astype(np.uint8))
        rows.append((name, ("osie", "sun500")[number % 2], ("train", "val")[number // 4]))
        for box in picture.boxes[:9]:
            points.append((name, (box.x + box.width / 2) / width, (box.y + box.height / 2) / height))
    np.savez(root / "teacher_maps" / "images.npz", names=np.array(names), maps=np.stack(maps))
    _table(root / "images.csv", ("name", "dataset", "split"), rows)
    _table(root / "fixations.csv", ("name", "x", "y"), points)
    for split, start in (("train", 300), ("val", 400)):
        frames = list(scene.frames(6, start=start))
        writer = cv2.VideoWriter(
            str(root / "clips" / f"{split}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 180)
        )
        for frame in frames:
            writer.write(frame.image)
        writer.release()
        teacher = np.stack([cv2.resize(frame.mask.astype(np.uint8) * 255, (64, 48)) for frame in frames])
        np.savez(root / "teacher_maps" / "clips" / f"{split}.npz", maps=teacher)
    _table(root / "clips.csv", ("name", "split", "view"), [(s, s, "aerial") for s in ("train", "val")])
    return root


@pytest.fixture(scope="session")
def toy() -> Any:
    """`TrainingData` at R = 32 of four stills and two videos of four frames: a bright spot that everybody looks at."""
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from uva_edge.data.footage import Footage, LabelledFrame
    from uva_edge.training.loop import TrainingData
    from uva_edge.training.validation import Validation

    rng = np.random.default_rng(0)
    places = rng.uniform(0.25, 0.75, (4, 1, 2))
    paths = places[:2] + np.linspace(0, 0.1, 4)[None, :, None]
    stills, videos = _spots(places), _spots(paths)
    shown = [
        Footage(
            name,
            "toy",
            "still",
            (),
            lambda row=row: iter([LabelledFrame(stills.frames[row], stills.fixations(row))]),  # type: ignore[misc]
        )
        for row, name in enumerate(stills.names[:2])
    ]
    return TrainingData(stills, videos, Validation(shown, resolution=32, pairing="causal"))


def _spots(places: NDArray[np.float64]) -> Any:
    """A `Pack` of [footage, frame, (x, y)]; the maps of both teachers are the truth, but wider."""
    from uva_edge.data.cache import MAP_SIDE, Pack

    footage, number = (grid.ravel() for grid in np.indices(places.shape[:2]))
    flat = places.reshape(-1, 2)
    narrow, wide = (np.stack([_bell(MAP_SIDE, place, width) for place in flat]) for width in (0.005, 0.015))
    grey = np.stack([60 + _bell(64, place, 0.01) * (180 / 255) for place in flat]).astype(np.uint8)
    jitter = np.random.default_rng(1).normal(0, 0.03, (len(flat), 8, 2))
    names = tuple(f"spot {index}" for index in range(len(places)))
    return Pack(
        names,
        ("toy",) * len(names),
        footage=footage.astype(np.int32),
        number=number.astype(np.int32),
        known=np.full(len(flat), 7, np.uint8),
        frames=np.repeat(grey[..., None], 3, axis=3),
        density=narrow,
        teacher=wide,
        spatial=wide,
        points=(flat[:, None] + jitter).reshape(-1, 2).clip(0, 1).astype(np.float32),
        starts=np.arange(len(flat) + 1, dtype=np.int64) * 8,
    )


def _bell(side: int, place: NDArray[np.float64], width: float) -> NDArray[np.uint8]:
    axis = (np.arange(side) + 0.5) / side
    squares = (axis - place[0])[None, :] ** 2 + (axis - place[1])[:, None] ** 2
    return np.rint(255 * np.exp(-squares / width)).astype(np.uint8)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Commands set how many threads torch and OpenCV have; the next test has what it had."""
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


@pytest.fixture
def fabric(restored_threads: None) -> Any:
    """One process on one thread of the CPU."""
    from uva_edge.training.command import Machine

    return Machine("cpu").fabric()


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:  # type: ignore[type-arg]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
