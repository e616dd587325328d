"""Still images with human fixations, laid out as images.csv, fixations.csv, images/ and teacher_maps/.

``images.csv``: name, dataset, split, ... ; the image is ``images/NAME.jpg``. ``fixations.csv``: one row a
fixation, x and y in 0..1 of width and height. ``teacher_maps/images.npz``, which may be absent: ``names`` and
``maps`` uint8 [N, h, w], peak 255.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import checked_name, read_image, read_named_maps, read_table
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DataError


def list_stills(root: Path, split: str, dataset: str | None = None) -> list[Footage]:
    """All stills of a split, in the order of images.csv; `dataset` narrows to one, e.g. ``osie``.

    Raises:
        DataError: a file, a fixation list or a teacher's map is missing or malformed, a name occurs twice, or
            the split is empty.
    """
    table, fixation_table = root / "images.csv", root / "fixations.csv"
    teacher_file = root / "teacher_maps" / "images.npz"
    fixations = _read_fixations(fixation_table)
    teachers = read_named_maps(teacher_file) if teacher_file.exists() else None
    stills: dict[str, Footage] = {}
    for row in read_table(table, ("name", "dataset", "split")):
        if row["split"] != split or dataset not in (None, row["dataset"]):
            continue
        name = checked_name(table, row["name"])
        image = root / "images" / f"{name}.jpg"
        if name in stills:
            raise DataError(f"{table}: {name} is there twice; give each image a name of its own")
        if name not in fixations:
            raise DataError(f"{fixation_table}: no fixation of {name}, which images.csv names")
        if teachers is not None and name not in teachers:
            raise DataError(f"{teacher_file}: no map of {name}, which images.csv names")
        if not image.is_file():
            raise DataError(f"{image}: No such file, but images.csv names it; copy it again")
        teacher = None if teachers is None else teachers[name]
        files = (image, fixation_table) if teacher is None else (image, fixation_table, teacher_file)
        read = partial(_read_still, image, fixations[name], teacher)
        stills[name] = Footage(name, row["dataset"], "still", files, read)
    if not stills:
        raise DataError(f"{table}: no image of split {split!r} and dataset {dataset or 'any'}")
    return list(stills.values())


def _read_still(
    image: Path, fixations: NDArray[np.float32], teacher: NDArray[np.uint8] | None
) -> Iterator[LabelledFrame]:
    yield LabelledFrame(read_image(image), fixations=fixations, teacher=teacher)


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
