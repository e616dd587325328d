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
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.archive import list_members, open_archive, open_member
from uva_edge.errors import BundleError, DataError

MAX_ARRAY_BYTES: Final = 2**30
"""The largest array that is read from an .npz: 87,000 teacher maps of 96x128."""
MAX_SIDE: Final = 2**14
"""The longest side of an image; OpenCV's warps end at twice that."""


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
        if name not in fixations:
            raise DataError(f"{root / 'fixations.csv'}: no fixation of {name}, which images.csv names")
        if name not in teachers:
            raise DataError(f"{root / 'teacher_maps' / 'images.npz'}: no map of {name}")
        image = _read_image(root / "images" / f"{name}.jpg")
        stills.append(Still(name, row["dataset"], image, fixations[name], teachers[name]))
    if not stills:
        raise DataError(f"{root / 'images.csv'}: no image of split {split!r} and dataset {dataset or 'any'}")
    return stills


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a UTF-8 CSV file that has at least these columns, and a value for each in every row.

    Raises:
        DataError: there is no such file, or it is another kind of file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: no column {', '.join(sorted(missing))}; it has {reader.fieldnames}")
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} values, got fewer"
                    )
                yield row
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is {path.parent} the root of the data?") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file in UTF-8; {error}") from None


def read_arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    """The arrays of these names from an .npz file; nothing in it is unpickled.

    Raises:
        DataError: there is no such file, it is damaged or larger than `MAX_ARRAY_BYTES`, or lacks an array.
    """
    arrays = []
    try:
        with path.open("rb") as file, open_archive(file) as archive:
            members = list_members(archive)
            for name in names:
                info = members[f"{name}.npy"]
                if info.file_size > MAX_ARRAY_BYTES:
                    raise ValueError(f"{name} has {info.file_size} bytes, the limit is {MAX_ARRAY_BYTES}")
                with open_member(archive, info) as stream:
                    array = np.lib.format.read_array(stream, allow_pickle=False)  # type: ignore[no-untyped-call]
                    arrays.append(array)
    except KeyError as error:
        raise DataError(f"{path}: expected the arrays {', '.join(names)}; got none in {error}") from None
    except (BundleError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: expected an .npz file with {', '.join(names)}; {error}") from None
    return arrays


def checked_maps(path: Path, maps: NDArray[Any], count: int, row: str) -> NDArray[np.uint8]:
    """The teacher's maps, if they are uint8 [count, h, w]; `row` says what each belongs to."""
    if maps.dtype != np.uint8 or maps.ndim != 3 or len(maps) != count or not maps.size:
        raise DataError(f"{path}: maps are uint8 [{count}, h, w], one a {row}; got {maps.dtype} {maps.shape}")
    return maps


def _read_image(path: Path) -> NDArray[np.uint8]:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # it announces more pixels than OpenCV takes
        image = None
    if image is None:
        raise DataError(f"{path}: expected a readable image, for images.csv names it; copy it again")
    if max(image.shape) > MAX_SIDE:
        raise DataError(
            f"{path}: expected sides of at most {MAX_SIDE} pixels, got {image.shape[:2]}; scale it"
        )
    return np.asarray(image, np.uint8)


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
    names, maps = read_arrays(path, "names", "maps")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}: names are strings [N]; got {names.dtype} {names.shape}")
    return dict(zip(names.tolist(), checked_maps(path, maps, len(names), "name"), strict=True))
