"""Maps that were computed before: the teacher ``maps`` that reads them, and the writer that stores them.

They lie beside the data, in ``teacher_maps/``: ``images.npz`` has ``names`` and ``maps`` uint8 [N, 96, 128] of
stills; ``clips/NAME.npz`` has ``maps`` uint8 [frames, 48, 64] of a video, row t for frame t as it is decoded.
Every map has its peak at 255. ``teacher.json`` says where they come from. This is how unlabelled video gets
pseudo-labels ([TinyHD]).
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import checked_maps, read_arrays
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DataError, OptionError, OutputError
from uva_edge.whole_files import replace_file

from .teacher import Size, Teacher

STILL_SIZE: Final[Size] = (96, 128)
VIDEO_SIZE: Final[Size] = (48, 64)
MAX_DECODED_BYTES: Final = 2**31
"""Of the frames of one video, which its teacher sees as a whole."""
_RECORD: Final = "teacher.json"
_MAX_RECORD_BYTES: Final = 2**20


class StoredMaps:
    """The teacher ``maps``: it knows footage, not frames, and gives what was stored with it."""

    name: Final = "maps"

    def of(self, footage: Footage) -> NDArray[np.float32]:
        """The stored maps, float32 [T, h, w], each scaled to its peak.

        Raises:
            DataError: a frame of it has no map.
        """
        maps = [labelled.teacher for labelled in footage.read()]
        found = [map_ for map_ in maps if map_ is not None]
        if not maps or len(found) < len(maps):
            raise DataError(
                f"{footage.name} in {footage.dataset}: {len(found)} of {len(maps)} frames have a teacher's map; "
                f"write them first, or choose a teacher that computes them"
            )
        return _scaled_to_peak(np.asarray(found, np.float32))


def maps_of(teacher: Teacher | StoredMaps, footage: Footage) -> NDArray[np.float32]:
    """The teacher's maps of all frames of this footage, float32 [T, h, w] in [0, 1], stored or computed now.

    Raises:
        DataError: it can't be decoded or is too long, or has no maps stored, or the teacher gives none of use.
    """
    if isinstance(teacher, StoredMaps):
        return teacher.of(footage)
    return _predicted(teacher, footage, footage.read())


Frames = Iterator[tuple[Footage, Iterable[LabelledFrame]]]


def every_frame(footage: Sequence[Footage]) -> Frames:
    """Each footage with its frames; one that is damaged ends it."""
    return ((item, item.read()) for item in footage)


def write_teacher_maps(
    teacher: Teacher,
    footage: Sequence[Footage],
    root: Path,
    *,
    lineage: Mapping[str, Any] | None = None,
    frames: Callable[[Sequence[Footage]], Frames] = every_frame,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Store the teacher's maps of stills and videos in ``root/teacher_maps``.

    Maps are gathered in a hidden directory beside it and moved in place together, so that readers find those
    of all footage or none. A run that was stopped goes on with the next footage; what is already stored, by
    the same teacher, is left as it is.

    Args:
        teacher: sees each video as a whole, each still alone.
        lineage: what else tells this teacher from others, as JSON values, such as its checkpoint's hash.
        frames: gives the readable footage with its frames; what it leaves out gets no maps.
        report: is called with footage done and footage in all.

    Returns:
        How many stills and videos got maps now.

    Raises:
        DataError: footage can't be decoded or is too long, or the teacher gives NaN.
        OptionError: names that are no paths or occur twice, or maps of another teacher are there.
        OutputError: the maps can't be written.
    """
    shelf = _Shelf(root)
    _check_names(footage)
    try:
        shelf.claim({"teacher": teacher.name, **(lineage or {})})
        missing = shelf.missing(footage)
        count = 0
        report(len(footage) - len(missing), len(footage))
        for item, labelled in frames(missing):
            size = STILL_SIZE if item.kind == "still" else VIDEO_SIZE
            shelf.put(item, quantized(_predicted(teacher, item, labelled), size))
            count += 1
            report(len(footage) - len(missing) + count, len(footage))
        shelf.publish()
    except OSError as error:
        raise OutputError(
            f"{shelf.place}: can't be written ({error.strerror or error}); free the disk or choose another place"
        ) from error
    return count


def quantized(maps: NDArray[np.float32], size: Size) -> NDArray[np.uint8]:
    """Maps [T, h, w] at another size, each with its peak at 255; one that is 0 everywhere stays so."""
    height, width = size
    scaled = [cv2.resize(map_, (width, height), interpolation=cv2.INTER_AREA) for map_ in maps]
    return np.rint(_scaled_to_peak(np.asarray(scaled, np.float32)) * 255).astype(np.uint8)


class _Shelf:
    """``teacher_maps`` below a root, and the directory in which its files gather until they are complete."""

    def __init__(self, root: Path) -> None:
        self.place = root / "teacher_maps"
        self.gathering = root / ".teacher_maps.partial"

    def claim(self, record: Mapping[str, Any]) -> None:
        """Make sure that all maps here are, and will be, those of one teacher."""
        wanted = json.loads(json.dumps(record))
        for directory in (self.place, self.gathering):
            if directory.exists() and _read_record(directory / _RECORD) != wanted:
                raise OptionError(
                    f"{directory}: holds maps of another teacher than {wanted}; remove it, or choose another root"
                )
        replace_file(self.gathering / _RECORD, json.dumps(wanted, indent=2, sort_keys=True).encode())

    def missing(self, footage: Sequence[Footage]) -> list[Footage]:
        stills = set(self._stored_stills()[0])
        return [
            item
            for item in footage
            if not self._gathered(item).is_file()
            and not (item.name in stills if item.kind == "still" else self._clip(item).is_file())
        ]

    def put(self, item: Footage, maps: NDArray[np.uint8]) -> None:
        replace_file(self._gathered(item), _npz(maps=maps))

    def publish(self) -> None:
        self._join_stills()
        if not self.place.exists():
            os.rename(self.gathering, self.place)
            return
        for path in sorted(self.gathering.rglob("*")):
            if path.is_file():
                target = self.place / path.relative_to(self.gathering)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        shutil.rmtree(self.gathering)

    def _join_stills(self) -> None:
        """All stills in one file, those that were stored before included."""
        folder = self.gathering / "stills"
        if not folder.is_dir():
            return
        names, maps = self._stored_stills()
        for path in sorted(folder.rglob("*.npz")):
            names.append(path.relative_to(folder).as_posix().removesuffix(".npz"))
            maps += list(checked_maps(path, read_arrays(path, "maps")[0], 1, "still"))
        replace_file(self.gathering / "images.npz", _npz(names=np.asarray(names), maps=np.asarray(maps)))
        shutil.rmtree(folder)

    def _stored_stills(self) -> tuple[list[str], list[NDArray[np.uint8]]]:
        """Names and maps, in the gathering directory if they were joined there already."""
        for directory in (self.gathering, self.place):
            path = directory / "images.npz"
            if path.is_file():
                names, maps = read_arrays(path, "names", "maps")
                return names.tolist(), list(checked_maps(path, maps, len(names), "name"))
        return [], []

    def _clip(self, item: Footage) -> Path:
        return self.place / "clips" / f"{item.name}.npz"

    def _gathered(self, item: Footage) -> Path:
        return self.gathering / ("stills" if item.kind == "still" else "clips") / f"{item.name}.npz"


def _check_names(footage: Sequence[Footage]) -> None:
    seen: set[str] = set()
    for item in footage:
        parts = item.name.split("/")
        if set(item.name) & set("\\:\0") or any(not part or part.startswith(".") for part in parts):
            raise OptionError(
                f"{item.name!r} in {item.dataset} is to name a file: it can't be a path to others"
            )
        if item.name in seen:
            raise OptionError(
                f"{item.name!r} in {item.dataset}: there is another of this name; write them apart"
            )
        seen.add(item.name)


def _predicted(teacher: Teacher, footage: Footage, labelled: Iterable[LabelledFrame]) -> NDArray[np.float32]:
    frames = _decoded(footage, labelled)
    maps = teacher.predict(frames)
    place = f"{footage.name} in {footage.dataset}"
    if maps.ndim != 3 or len(maps) != len(frames) or not maps.size:
        raise DataError(f"{place}: expected {len(frames)} maps [h, w] from {teacher.name}, got {maps.shape}")
    if not ((maps >= 0) & (maps < np.inf)).all():
        raise DataError(f"{place}: expected maps in 0..1 from {teacher.name}, got others; was it trained?")
    return maps


def _decoded(footage: Footage, labelled: Iterable[LabelledFrame]) -> NDArray[np.uint8]:
    """All frames, uint8 [T, H, W, 3] RGB."""
    frames: list[NDArray[np.uint8]] = []
    place = f"{footage.name} in {footage.dataset}"
    for frame in labelled:
        if frames and frame.image.shape != frames[0].shape:
            raise DataError(
                f"{place}: frame {len(frames)} has shape {frame.image.shape}, those before {frames[0].shape}"
            )
        frames.append(np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB), np.uint8))
        if len(frames) * frame.image.nbytes > MAX_DECODED_BYTES:
            raise DataError(f"{place}: more than {MAX_DECODED_BYTES} bytes when decoded; cut or scale it")
    if not frames:
        raise DataError(f"{place}: it has no frames")
    return np.stack(frames)


def _scaled_to_peak(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.maximum(peak, np.finfo(np.float32).tiny), np.float32)


def _read_record(path: Path) -> Any:
    """What teacher.json holds; None without one, which is no teacher's."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MAX_RECORD_BYTES))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON; {error}") from None


def _npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
