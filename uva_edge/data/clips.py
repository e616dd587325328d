"""Unlabelled video clips with a teacher's maps, laid out as clips.csv, clips/ and teacher_maps/clips/.

``clips.csv``: name, split, view, frames, ... . ``clips/NAME.mp4``. ``teacher_maps/clips/NAME.npz``: ``maps``
uint8 (frames, h, w), row t for frame t as OpenCV decodes it, each with peak 255.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.data.stills import read_table
from uva_edge.errors import DataError


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
    """Up to `per_clip` pairs of consecutive frames from every clip, spread evenly over it."""
    pairs = []
    for clip in read_clips(root, split):
        last = len(clip.frames) - 1
        for index in np.unique(np.linspace(1, last, min(per_clip, last)).round().astype(int)):
            pairs.append(
                FramePair(clip.name, clip.frames[index], clip.frames[index - 1], clip.teacher[index])
            )
    return pairs


def _read_clip(root: Path, name: str, view: str) -> Clip:
    path = root / "clips" / f"{name}.mp4"
    frames = _decode(path)
    maps_path = root / "teacher_maps" / "clips" / f"{name}.npz"
    try:
        with np.load(maps_path, allow_pickle=False) as file:
            maps = file["maps"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{maps_path}: expected an array maps; {error}") from None
    if maps.dtype != np.uint8 or maps.ndim != 3 or len(maps) != len(frames):
        raise DataError(
            f"{maps_path}: maps are uint8 [{len(frames)}, h, w], one a decoded frame; got {maps.dtype} {maps.shape}"
        )
    return Clip(name, view, frames, maps)


def _decode(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    try:
        while True:
            read, frame = capture.read()
            if not read:
                break
            frames.append(np.asarray(frame, np.uint8))
    finally:
        capture.release()
    if len(frames) < 2:
        raise DataError(f"{path}: a clip has at least two decodable frames; got {len(frames)}")
    return frames
