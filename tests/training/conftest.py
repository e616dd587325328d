"""A tiny data set in the layout that training reads: stills with fixations, clips with a teacher's maps."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

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


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:  # type: ignore[type-arg]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
