"""Unlabelled video clips with a teacher's maps, laid out as clips.csv, clips/ and teacher_maps/clips/.

``clips.csv``: name, split, view, frames, ... . ``clips/NAME.mp4``. ``teacher_maps/clips/NAME.npz``: ``maps``
uint8 (frames, h, w), row t for frame t as OpenCV decodes it, each with peak 255.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.data.stills import checked_maps, read_arrays, read_table
from uva_edge.errors import DataError

MAX_CLIP_BYTES: Final = 2**31
"""Of a decoded clip, which is held in memory whole."""


@dataclass(frozen=True, eq=False)
class FramePair:
    """A frame, the one before it, and the teacher's map of the frame."""

    clip: str
    frame: NDArray[np.uint8]
    """[H, W, 3] BGR."""
    previous: NDArray[np.uint8]
    teacher: NDArray[np.uint8]
    """[h, w], a relative density with peak 255."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A whole clip."""

    name: str
    view: str
    frames: list[NDArray[np.uint8]]
    teacher: NDArray[np.uint8]
    """[frames, h, w]."""


def read_clips(root: Path, split: str) -> Iterator[Clip]:
    """The clips of a split, one after the other, in the order of clips.csv.

    Raises:
        DataError: a clip can't be decoded, or its teacher maps are absent or of another count.
    """
    found = False
    for row in read_table(root / "clips.csv", ("name", "split", "view")):
        if row["split"] == split:
            found = True
            yield _read_clip(root, row["name"], row["view"])
    if not found:
        raise DataError(f"{root / 'clips.csv'}: no clip of split {split!r}")


def read_pairs(root: Path, split: str, *, per_clip: int) -> list[FramePair]:
    """Up to `per_clip` pairs of consecutive frames from every clip, spread evenly over it.

    Raises DataError as `read_clips` does.
    """
    pairs = []
    for clip in read_clips(root, split):
        last = len(clip.frames) - 1
        for index in np.unique(np.linspace(1, last, min(per_clip, last)).round().astype(int)):
            pairs.append(
                FramePair(clip.name, clip.frames[index], clip.frames[index - 1], clip.teacher[index])
            )
    return pairs


def _read_clip(root: Path, name: str, view: str) -> Clip:
    frames = _decode(root / "clips" / f"{name}.mp4")
    path = root / "teacher_maps" / "clips" / f"{name}.npz"
    (maps,) = read_arrays(path, "maps")
    return Clip(name, view, frames, checked_maps(path, maps, len(frames), "decoded frame"))


def _decode(path: Path) -> list[NDArray[np.uint8]]:
    if not path.is_file():
        raise DataError(f"{path}: expected a clip, for clips.csv names it; got no file")
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    size = 0
    try:
        while True:
            read, frame = capture.read()
            if not read:
                break
            frames.append(np.asarray(frame, np.uint8))
            size += frames[-1].nbytes
            if size > MAX_CLIP_BYTES:
                raise DataError(
                    f"{path}: more than {MAX_CLIP_BYTES} bytes when decoded; cut or scale the clip"
                )
    finally:
        capture.release()
    if len(frames) < 2:
        raise DataError(f"{path}: a clip has at least two decodable frames; got {len(frames)}")
    return frames
