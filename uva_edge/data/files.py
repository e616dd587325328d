"""What every data set is made of: tables, arrays, images and videos, read within bounds and without pickle.

Two kinds of error: a `DamagedFileError` for an image or a video that can't be decoded, which a run may skip,
and a `DataError` for whatever else is wrong, which it may not. Both name the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from zipfile import ZipFile, ZipInfo

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.archive import list_members, open_archive, open_member
from uva_edge.errors import BundleError, DamagedFileError, DataError
from uva_edge.whole_files import read_bytes

MAX_ARRAY_BYTES: Final = 2**30
"""The largest array that is read from an .npz: 87,000 teacher maps of 96x128."""
MAX_IMAGE_BYTES: Final = 2**28
"""The largest image file."""
MAX_SIDE: Final = 2**14
"""The longest side of an image; OpenCV's warps end at twice that."""

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp")
VIDEO_SUFFIXES: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts")

_MOST_COLOUR: Final = 16
"""How far the channels of a grey image may lie apart: JPEG does not keep them equal."""

Item = TypeVar("Item")
Label = TypeVar("Label")


# --- tables, arrays, bytes ------------------------------------------------------------------------------


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


def checked_name(path: Path, name: str) -> str:
    """A name from the table `path` that becomes a file's name, if it can't lead to another folder."""
    if not name or name.startswith(".") or set(name) & set("/\\:\0"):
        raise DataError(f"{path}: {name!r} is to name a file: no path, and no dot in front")
    return name


def read_arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    """The arrays of these names from an .npz file; nothing in it is unpickled.

    Raises:
        DataError: there is no such file, it is damaged or larger than `MAX_ARRAY_BYTES`, or lacks an array.
    """
    arrays = []
    with _open_arrays(path, names) as (archive, members):
        for member in members:
            with open_member(archive, member) as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)  # type: ignore[no-untyped-call]
                arrays.append(array)
    return arrays


def read_map_shape(path: Path) -> tuple[int, ...]:
    """The shape of the array ``maps`` in an .npz file, from its header alone.

    Raises DataError as `read_arrays` does.
    """
    with _open_arrays(path, ("maps",)) as (archive, members), open_member(archive, members[0]) as stream:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        if version != (1, 0):
            raise ValueError(f"maps are in version {version} of the .npy format, expected (1, 0)")
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
    return tuple(shape)


@contextmanager
def _open_arrays(path: Path, names: Sequence[str]) -> Iterator[tuple[ZipFile, list[ZipInfo]]]:
    """The archive and the members of these names; what is wrong with it while it is read is a DataError."""
    try:
        with path.open("rb") as file, open_archive(file) as archive:
            files = list_members(archive)
            members = [files[f"{name}.npy"] for name in names]
            for member in members:
                if member.file_size > MAX_ARRAY_BYTES:
                    raise ValueError(
                        f"{member.filename} has {member.file_size} bytes, the limit is {MAX_ARRAY_BYTES}"
                    )
            yield archive, members
    except KeyError as error:
        raise DataError(f"{path}: expected the arrays {', '.join(names)}; got none in {error}") from None
    except (BundleError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: expected an .npz file with {', '.join(names)}; {error}") from None


def checked_maps(path: Path, maps: NDArray[Any], count: int, row: str) -> NDArray[np.uint8]:
    """The teacher's maps, if they are uint8 [count, h, w]; `row` says what each belongs to."""
    if maps.dtype != np.uint8 or maps.ndim != 3 or len(maps) != count or not maps.size:
        raise DataError(f"{path}: maps are uint8 [{count}, h, w], one a {row}; got {maps.dtype} {maps.shape}")
    return maps


def read_named_maps(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The maps [h, w] of stills by their names, from an .npz file with ``names`` [N] and ``maps`` uint8 [N, h, w].

    Raises DataError as `read_arrays` does, and for arrays of another type or shape.
    """
    names, maps = read_arrays(path, "names", "maps")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}: names are strings [N]; got {names.dtype} {names.shape}")
    return dict(zip(names.tolist(), checked_maps(path, maps, len(names), "name"), strict=True))


# --- images and videos ----------------------------------------------------------------------------------


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image, uint8 [H, W, 3] BGR, turned as its EXIF data say.

    Raises:
        DamagedFileError: it can't be decoded, or ends too early.
        DataError: it can't be read, or is larger than `MAX_IMAGE_BYTES` or `MAX_SIDE`.
    """
    return _decode_image(path, cv2.IMREAD_COLOR)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image as grey values, uint8 [h, w]. Raises what `read_image` does."""
    return _decode_image(path, cv2.IMREAD_GRAYSCALE)


def read_density(path: Path) -> NDArray[np.uint8] | None:
    """A density stored as a grey image, uint8 [h, w]; `None` if it is black, for then nothing is known.

    Raises:
        DamagedFileError: it can't be decoded, or ends too early.
        DataError: it is in colour (frames where densities belong), or `read_image` would refuse it.
    """
    density = _decode_image(path, cv2.IMREAD_ANYCOLOR)
    if density.ndim == 3:
        if int(np.ptp(density, axis=2).max()) > _MOST_COLOUR:
            raise DataError(f"{path}: expected a density in grey, got a picture in colour; are they swapped?")
        density = density[:, :, 1]
    return density if density.any() else None


def _decode_image(path: Path, mode: int) -> NDArray[np.uint8]:
    data = read_bytes(path, MAX_IMAGE_BYTES, "an image")
    try:
        # Not cv2.imread, which fills up what is missing of a cut JPEG and says nothing.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    except cv2.error:  # it announces more pixels than OpenCV takes
        image = None
    if image is None:
        raise DamagedFileError(f"{path}: expected an image, got {len(data)} bytes that can't be decoded")
    return _checked_size(path, np.asarray(image, np.uint8))


def _checked_size(path: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if max(image.shape) > MAX_SIDE:
        raise DataError(
            f"{path}: expected sides of at most {MAX_SIDE} pixels, got {image.shape[:2]}; scale it"
        )
    return image


def decode_video(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video, uint8 [H, W, 3] BGR, decoded one after the other by OpenCV.

    Errors within a frame are concealed by the decoder and can't be seen here.

    Raises:
        DamagedFileError: it can't be opened, or ends before the number of frames that its container announces
            (1 % less is let pass, for some containers only estimate it).
        DataError: there is no such file, or a side of a frame is longer than `MAX_SIDE`.
    """
    if not path.is_file():
        raise DataError(f"{path}: No such file; a video was expected")
    capture = cv2.VideoCapture(str(path))
    count = 0
    try:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        while True:
            read, frame = capture.read()
            if not read:
                break
            count += 1
            yield _checked_size(path, np.asarray(frame, np.uint8))
    finally:
        capture.release()
    if count == 0 or announced - count > announced // 100:
        raise DamagedFileError(
            f"{path}: expected a video of {max(announced, 1)} frames, could decode {count}"
        )


def with_labels(
    frames: Iterable[Item], labels: Sequence[Label], source: Path
) -> Iterator[tuple[Item, Label]]:
    """Each frame with its label; `source` is where the labels come from.

    Raises:
        DataError: there are more labels than frames, or fewer.
    """
    count = 0
    for frame in frames:
        if count == len(labels):
            raise DataError(f"{source}: labels of {len(labels)} frames, but the video has more")
        yield frame, labels[count]
        count += 1
    if count < len(labels):
        raise DataError(f"{source}: labels of {len(labels)} frames, but the video has {count}")
