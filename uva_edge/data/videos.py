"""Any folder of videos: no human labels, and a teacher's maps where they are stored beside them.

Maps lie in ``teacher_maps/clips/NAME.npz``, NAME being the path of the video in the folder without its
suffix: ``maps`` uint8 [frames, h, w], row t for frame t as OpenCV decodes it, each with peak 255.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from uva_edge.data.files import (
    VIDEO_SUFFIXES,
    checked_maps,
    decode_video,
    read_arrays,
    read_map_shape,
    with_labels,
)
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DataError


def list_videos(root: Path, dataset: str = "videos") -> list[Footage]:
    """All videos below a folder, known by their suffixes, in the order of their names.

    Hidden files and folders are left out, and links to folders aren't followed. If there are teacher's maps
    of one video, there must be maps of all.

    Raises:
        DataError: there is no such folder, no video in it, two that differ in the suffix alone, or a video's
            teacher maps are missing or malformed.
    """
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of videos")
    found: dict[str, Path] = {}
    for video in sorted(_walk(root)):
        name = video.relative_to(root).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{video}: {found[name].name} has the same name; rename one of them")
        found[name] = video
    if not found:
        raise DataError(f"{root}: no video in it; known are {', '.join(VIDEO_SUFFIXES)}")
    return [video_footage(root, name, video, dataset) for name, video in found.items()]


def video_footage(root: Path, name: str, video: Path, dataset: str) -> Footage:
    """One video of a data set, with its teacher's maps if the set has any.

    Raises:
        DataError: the set has teacher maps, but none of this video, or they have another shape.
    """
    folder = root / "teacher_maps" / "clips"
    if not folder.is_dir():
        return Footage(name, dataset, "video", (video,), partial(_read_untaught, video))
    maps = folder / f"{name}.npz"
    shape = read_map_shape(maps)
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"{maps}: maps are uint8 [frames, h, w]; got {shape}")
    return Footage(name, dataset, "video", (video, maps), partial(_read_taught, video, maps))


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(VIDEO_SUFFIXES):
                yield Path(folder, name)


def _read_untaught(video: Path) -> Iterator[LabelledFrame]:
    return (LabelledFrame(frame) for frame in decode_video(video))


def _read_taught(video: Path, source: Path) -> Iterator[LabelledFrame]:
    (maps,) = read_arrays(source, "maps")
    checked = checked_maps(source, maps, len(maps), "frame")
    for frame, teacher in with_labels(decode_video(video), list(checked), source):
        yield LabelledFrame(frame, teacher=teacher)
