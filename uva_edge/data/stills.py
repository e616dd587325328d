"""Still images with human fixations, laid out as images.csv, fixations.csv, images/ and teacher_maps/.

``images.csv``: name, dataset, split, width, height, ... . ``fixations.csv``: one row a fixation, x and y in
0..1 of width and height. ``teacher_maps/images.npz``: ``names`` and ``maps`` uint8 (N, h, w), peak 255.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import DataError


@dataclass(frozen=True, eq=False)
class Still:
    """One image with the fixations of all its observers."""

    name: str
    dataset: str
    image: NDArray[np.uint8]
    """[H, W, 3] BGR."""
    fixations: NDArray[np.float32]
    """[N, 2], x and y in 0..1 of width and height."""
    teacher: NDArray[np.uint8]
    """[h, w], a relative density with peak 255."""


def read_stills(root: Path, split: str, *, dataset: str | None = None) -> list[Still]:
    """All stills of a split, in the order of images.csv; `dataset` narrows to one, e.g. ``osie``.

    Raises:
        DataError: a file, a fixation list or a teacher map is missing or malformed, or the split is empty.
    """
    fixations = _read_fixations(root / "fixations.csv")
    teachers = _read_teacher_maps(root / "teacher_maps" / "images.npz")
    stills = []
    for row in read_table(root / "images.csv", ("name", "dataset", "split")):
        if row["split"] != split or dataset not in (None, row["dataset"]):
            continue
        name = row["name"]
        path = root / "images" / f"{name}.jpg"
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{path}: not a readable image, but images.csv names it")
        if name not in fixations:
            raise DataError(f"{root / 'fixations.csv'}: no fixation of {name}, which images.csv names")
        if name not in teachers:
            raise DataError(f"{root / 'teacher_maps' / 'images.npz'}: no map of {name}")
        stills.append(
            Still(name, row["dataset"], np.asarray(image, np.uint8), fixations[name], teachers[name])
        )
    if not stills:
        raise DataError(f"{root / 'images.csv'}: no image of split {split!r} and dataset {dataset or 'any'}")
    return stills


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that has at least these columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: no column {', '.join(sorted(missing))}; it has {reader.fieldnames}")
            yield from reader
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is {path.parent} the root of the data?") from None


def _read_fixations(path: Path) -> dict[str, NDArray[np.float32]]:
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, row in enumerate(read_table(path, ("name", "x", "y")), start=2):
        try:
            point = (float(row["x"]), float(row["y"]))
        except ValueError:
            raise DataError(
                f"{path}, line {number}: x and y are numbers, got {row['x']!r}, {row['y']!r}"
            ) from None
        if not (0 <= point[0] <= 1 and 0 <= point[1] <= 1):
            raise DataError(f"{path}, line {number}: x and y lie in 0..1, got {point}")
        points[row["name"]].append(point)
    return {name: np.asarray(values, np.float32) for name, values in points.items()}


def _read_teacher_maps(path: Path) -> dict[str, NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names, maps = file["names"], file["maps"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: expected arrays names and maps; {error}") from None
    if maps.dtype != np.uint8 or maps.ndim != 3 or len(maps) != len(names):
        raise DataError(f"{path}: maps are uint8 [{len(names)}, h, w]; got {maps.dtype} {maps.shape}")
    return dict(zip(names.tolist(), maps, strict=True))
