"""A directory that has what the pages' commands take for granted: videos, photos, a data set, checkpoints, bundles."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from made_reports import run_on_a_small_machine
from numpy.typing import NDArray

from uva_edge.data.synthetic import AerialScene, SceneFrame

SIZE = (320, 180)

# A recipe under the name of those that ship: the same command, minutes of training less.
TINY_RECIPE = "student_steps = 1\nsteps = 1\n[network]\nresolution = 32\n[mix]\nstills = 1\nvideos = 1\n"


def furnish(root: Path, scene: AerialScene) -> None:
    """What needs no torch: footage in all the forms that pages name, a data set, reports."""
    frames = list(scene.frames(12, start=40))
    images = [frame.image for frame in frames]
    for name in ("flight.mp4", "clip.mp4", "flights/a/b.mp4", "flights/c.mp4", "footage/one.mp4"):
        write_video(root / name, images)
    cv2.imwrite(str(root / "photo.jpg"), images[0])
    for folder in ("photos", "frames"):
        (root / folder).mkdir()
        for number, image in enumerate(images[:3]):
            cv2.imwrite(str(root / folder / f"{number:05d}.png"), image)
    write_data_set(root / "DATA", scene)
    write_maps(root / "other" / "maps")
    for number, name in enumerate(("before.json", "after.json")):
        (root / name).write_text(run_on_a_small_machine(number).to_json())


def write_video(path: Path, images: Iterable[NDArray[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, SIZE)
    for image in images:
        writer.write(image)
    writer.release()


def write_data_set(root: Path, scene: AerialScene) -> None:
    """`DATA`, as docs/data.md lays it out: two stills and a clip for train and as much for val."""
    (root / "images").mkdir(parents=True)
    (root / "teacher_maps" / "clips").mkdir(parents=True)
    stills = {f"{split}_{number}": split for split in ("train", "val") for number in range(2)}
    points, maps = [], []
    for number, name in enumerate(stills):
        frame = scene.frame(number * 50)
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), frame.image)
        maps.append(_teacher_map(frame))
        for box in frame.boxes[:9]:
            points.append((name, (box.x + box.width / 2) / SIZE[0], (box.y + box.height / 2) / SIZE[1]))
    _table(root / "images.csv", ("name", "dataset", "split"), [(n, "osie", s) for n, s in stills.items()])
    _table(root / "fixations.csv", ("name", "x", "y"), points)
    np.savez(root / "teacher_maps" / "images.npz", names=np.array(list(stills)), maps=np.stack(maps))
    for split, start in (("train", 300), ("val", 400)):
        frames = list(scene.frames(6, start=start))
        write_video(root / "clips" / f"{split}.mp4", [frame.image for frame in frames])
        taught = np.stack([_teacher_map(frame) for frame in frames])
        np.savez(root / "teacher_maps" / "clips" / f"{split}.npz", maps=taught)
    _table(root / "clips.csv", ("name", "split"), [(split, split) for split in ("train", "val")])


def write_maps(root: Path) -> None:
    """Somebody's maps of the val split of `DATA`."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("val_0", (24, 32)), ("val_1", (24, 32)), ("val", (6, 24, 32))):
        np.save(root / f"{name}.npy", rng.random(shape, dtype=np.float32))


def _teacher_map(frame: SceneFrame) -> NDArray[np.uint8]:
    blurred = cv2.GaussianBlur(frame.mask.astype(np.float32), (0, 0), 12)
    return np.rint(cv2.resize(blurred, (128, 96)) / blurred.max() * 255).astype(np.uint8)


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def furnish_checkpoints(root: Path, recipes: Iterable[Path], network: Path) -> None:
    """What needs torch: runs that were trained before, a teacher, and recipes that take a moment."""
    from uva_edge.models.teachers.checkpoint import save_teacher
    from uva_edge.models.teachers.registry import build_teacher

    for name in ("uva-32", "uva-64"):
        (root / "runs" / name).mkdir(parents=True)
        shutil.copyfile(network, root / "runs" / name / "checkpoint.safetensors")
    teacher = build_teacher("dva", width=1 / 32, resolution=(32, 48), output="sigmoid")
    save_teacher(root / "runs" / "dva" / "checkpoint.safetensors", teacher, {})
    (root / "recipes").mkdir()
    for recipe in recipes:
        (root / "recipes" / recipe.name).write_text(TINY_RECIPE)
