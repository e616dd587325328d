"""The packed cache: footage decoded and scaled once, then memory-mapped as uint8, so that training never waits.

A pack is a directory ``KEY/`` with ``pack.json`` and one raw array a file. The key covers the content of the
files and every parameter, so a pack is never out of date. It is built as ``.packing-...`` and moved in place: such
a folder that stays behind is of a build that was killed, and may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.data.footage import DensityMap, Footage, LabelledFrame
from uva_edge.data.intake import Intake
from uva_edge.errors import DataError, OptionError, OutputError
from uva_edge.metrics import fixation_density

MAP_SIDE: Final = 96
_FORMAT: Final = 2
_DENSITY_WIDTH: Final = 128
_KNOWN_DENSITY, _KNOWN_TEACHER, _KNOWN_SPATIAL = 1, 2, 4
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class PackOptions:
    """What is kept of footage."""

    side: int
    """Frames are stretched to side x side, at most their own longest side (`cap`)."""
    cap: int = 320
    frames_per_video: int = 150
    """Of a longer video, pairs of consecutive frames that are spread evenly over it."""

    def __post_init__(self) -> None:
        if min(self.side, self.cap) < 8 or self.frames_per_video < 2:
            raise OptionError(f"a pack has sides of at least 8 and two frames a video, got {self}")

    @property
    def pixels(self) -> int:
        return min(self.side, self.cap)


@dataclass(frozen=True, eq=False)
class Pack:
    """N frames in the order of the footage and of time; rows of one footage are neighbours."""

    names: tuple[str, ...]
    """Of the footage."""
    datasets: tuple[str, ...]
    footage: NDArray[np.int32]
    """[N], index into `names`."""
    number: NDArray[np.int32]
    """[N], of the frame within its footage."""
    known: NDArray[np.uint8]
    """[N], flags: 1 a density or fixations, 2 a teacher's map, 4 a spatial teacher's map of its own."""
    frames: NDArray[np.uint8]
    """[N, P, P, 3] BGR."""
    density: NDArray[np.uint8]
    """[N, 96, 96] over the unit square of the frame, peak 255."""
    teacher: NDArray[np.uint8]
    spatial: NDArray[np.uint8]
    points: NDArray[np.float32]
    """[M, 2], all fixations; those of frame n are ``points[starts[n] : starts[n + 1]]``."""
    starts: NDArray[np.int64]
    damaged: tuple[str, ...] = ()
    """A line for each footage that was left out."""

    def __len__(self) -> int:
        return len(self.footage)

    def fixations(self, row: int) -> NDArray[np.float32]:
        """[n, 2], x and y in 0..1."""
        return self.points[self.starts[row] : self.starts[row + 1]]

    def labelled(self, row: int) -> bool:
        """Whether human fixations are known, as points or as a density."""
        return bool(self.known[row] & _KNOWN_DENSITY)

    def taught(self, row: int) -> bool:
        return bool(self.known[row] & _KNOWN_TEACHER)

    def density_of(self, row: int) -> NDArray[np.uint8]:
        """The ground truth, or the teacher's map in its place ([UVA]'s L2(S, Y) on unlabelled video)."""
        return np.asarray((self.density if self.labelled(row) else self.teacher)[row])

    def teacher_of(self, row: int) -> NDArray[np.uint8]:
        """The teacher's map, or the ground truth in its place."""
        return np.asarray((self.teacher if self.taught(row) else self.density)[row])

    def spatial_of(self, row: int) -> NDArray[np.uint8]:
        """The map of the spatial teacher, or that of the only one."""
        return np.asarray(self.spatial[row]) if self.has_spatial(row) else self.teacher_of(row)

    def has_spatial(self, row: int) -> bool:
        """Whether the spatial teacher's map is one of its own."""
        return bool(self.known[row] & _KNOWN_SPATIAL)

    def partners(self, offset: int) -> NDArray[np.int64]:
        """[N], the row of the frame `offset` later in the same footage, -1 where the pack has none."""
        shifted = np.arange(len(self)) + offset
        inside = (shifted >= 0) & (shifted < len(self))
        rows = np.where(inside, shifted, 0)
        same = self.footage[rows] == self.footage
        return np.where(inside & same & (self.number[rows] == self.number + offset), rows, -1)


_FIELDS: Final[dict[str, tuple[Any, tuple[int, ...]]]] = {
    "footage": (np.int32, ()),
    "number": (np.int32, ()),
    "known": (np.uint8, ()),
    "frames": (np.uint8, (-1, -1, 3)),
    "density": (np.uint8, (MAP_SIDE, MAP_SIDE)),
    "teacher": (np.uint8, (MAP_SIDE, MAP_SIDE)),
    "spatial": (np.uint8, (MAP_SIDE, MAP_SIDE)),
    "points": (np.float32, (2,)),
    "starts": (np.int64, ()),
}


def pack(
    footage: Sequence[Footage],
    directory: Path,
    options: PackOptions,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
    skipped: Callable[[str], None] = lambda line: None,
) -> Pack:
    """The pack of this footage in `directory`: opened if it is there, built otherwise.

    Args:
        report: is called with footage done and footage in all while a pack is built.
        skipped: is told of each footage that is damaged and so left out, whether now or when the pack was built.

    Raises:
        DataError: footage can't be read, more than 1 % of it is damaged, or the pack was damaged.
        OutputError: the pack can't be written.
    """
    place = directory / _key(footage, options)
    if not place.is_dir():
        _build(footage, place, options, report)
    opened = open_pack(place)
    for line in opened.damaged:
        skipped(line)
    return opened


def open_pack(place: Path) -> Pack:
    """Memory-map a pack.

    Raises:
        DataError: it is incomplete; delete the directory and it is built anew.
    """
    try:
        index = json.loads((place / "pack.json").read_bytes())
        count, side, points = (int(index[name]) for name in ("frames", "side", "points"))
        lengths = {"points": points, "starts": count + 1}
        arrays = {}
        for name, (dtype, shape) in _FIELDS.items():
            full = (lengths.get(name, count), *(side if extent < 0 else extent for extent in shape))
            expected = int(np.prod(full)) * np.dtype(dtype).itemsize
            path = place / f"{name}.bin"
            if path.stat().st_size != expected:
                raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected {expected}")
            arrays[name] = np.memmap(path, dtype, "r", shape=full) if expected else np.zeros(full, dtype)
        names, datasets, damaged = (tuple(index[name]) for name in ("names", "datasets", "damaged"))
        _check_order(arrays, len(names), points)
        return Pack(names, datasets, damaged=damaged, **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: expected a whole pack of frames; {error}; delete the directory") from None


def _check_order(arrays: dict[str, NDArray[Any]], names: int, points: int) -> None:
    """Whether rows and fixations follow each other; bytes that a crash kept from the disk are zeros."""
    starts, footage = arrays["starts"], arrays["footage"]
    if starts[0] != 0 or starts[-1] != points or (np.diff(starts) < 0).any():
        raise ValueError(f"starts.bin is not in order from 0 to {points}")
    if (np.diff(footage) < 0).any() or (len(footage) and not 0 <= footage[0] <= footage[-1] < names):
        raise ValueError(f"footage.bin is not in order from 0 to {names - 1}")


def _key(footage: Sequence[Footage], options: PackOptions) -> str:
    digest = hashlib.sha256(
        json.dumps([_FORMAT, MAP_SIDE, options.pixels, options.frames_per_video]).encode()
    )
    hashes: dict[Path, str] = {}
    for item in footage:
        for path in item.files:
            if path not in hashes:
                hashes[path] = _file_hash(path)
        facts = [item.name, item.dataset, item.kind, item.facts, [hashes[path] for path in item.files]]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:32]


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a readable file was expected") from None
    return digest.hexdigest()


def _build(
    footage: Sequence[Footage],
    place: Path,
    options: PackOptions,
    report: Callable[[int, int], None],
) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".packing-", dir=place.parent))
        try:
            _write(footage, scratch, options, report)
            try:
                os.rename(scratch, place)
            except OSError:
                if not place.is_dir():  # another process was faster: its pack is the same
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{place}: the cache can't be written ({error.strerror or error}); free the disk or choose another"
        ) from error


def _write(
    footage: Sequence[Footage],
    scratch: Path,
    options: PackOptions,
    report: Callable[[int, int], None],
) -> None:
    files: dict[str, BinaryIO] = {name: (scratch / f"{name}.bin").open("wb") for name in _FIELDS}
    names: list[str] = []
    datasets: list[str] = []
    count = points = 0
    try:
        files["starts"].write(np.int64(0).tobytes())
        intake = Intake(footage)
        for item, rows in intake.map(lambda item: _rows(item, options)):
            for row in rows:
                points += len(row["points"])
                row |= {"footage": np.int32(len(names)), "starts": np.int64(points)}
                for name, value in row.items():
                    files[name].write(value.tobytes())
            count += len(rows)
            names.append(item.name)
            datasets.append(item.dataset)
            report(len(names) + len(intake.damaged), len(footage))
    finally:
        for file in files.values():
            file.close()
    damaged = [f"skipped {name}: {reason}" for name, reason in intake.damaged.items()]
    facts: dict[str, Any] = {"frames": count, "side": options.pixels, "points": points}
    facts |= {"names": names, "datasets": datasets, "damaged": damaged}
    (scratch / "pack.json").write_text(json.dumps(facts))


def _rows(footage: Footage, options: PackOptions) -> list[dict[str, Any]]:
    """All frames, or as many as are wanted in evenly spread pairs.

    A video may be longer than memory: pairs are kept at a stride that doubles whenever they are twice as many.
    """
    most, stride = options.frames_per_video, 2
    rows: dict[int, dict[str, Any]] = {}
    for number, frame in enumerate(footage.read()):
        if number % stride < 2:
            rows[number] = {"number": np.int32(number), **_row(frame, options.pixels)}
        if len(rows) > 2 * most:
            stride *= 2
            rows = {kept: row for kept, row in rows.items() if kept % stride < 2}
    if len(rows) <= most:
        return list(rows.values())
    seconds = np.array([number for number in rows if number - 1 in rows])
    seconds = seconds[np.linspace(0, len(seconds) - 1, most // 2).round().astype(int)]
    return [rows[number] for number in np.union1d(seconds - 1, seconds).tolist()]


def _row(frame: LabelledFrame, side: int) -> dict[str, Any]:
    height, width = frame.image.shape[:2]
    shrinks = side <= min(height, width)
    image = cv2.resize(
        frame.image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    density: DensityMap | None = frame.density
    points = np.zeros((0, 2), np.float32) if frame.fixations is None else frame.fixations
    if density is None and len(points):
        # As wide as the teacher's maps are, and as high as the frame's shape asks: one degree is round in it.
        rows = max(1, round(_DENSITY_WIDTH * height / width))
        density = fixation_density(points, (_DENSITY_WIDTH, rows)).astype(np.float32)
    return {
        "frames": image,
        "density": _packed_map(density),
        "teacher": _packed_map(frame.teacher),
        "spatial": _packed_map(frame.spatial),
        "points": np.asarray(points, np.float32),
        "known": np.uint8(
            _KNOWN_DENSITY * (density is not None)
            + _KNOWN_TEACHER * (frame.teacher is not None)
            + _KNOWN_SPATIAL * (frame.spatial is not None)
        ),
    }


def _packed_map(density: DensityMap | None) -> NDArray[np.uint8]:
    """Stretched to the unit square at 96x96, peak 255; zeros for what is not known."""
    if density is None:
        return np.zeros((MAP_SIDE, MAP_SIDE), np.uint8)
    shrinks = min(density.shape) >= MAP_SIDE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(density.astype(np.float32), (MAP_SIDE, MAP_SIDE), interpolation=interpolation)
    return np.asarray(np.rint(scaled * (255 / max(float(scaled.max()), 1e-12))), np.uint8)
