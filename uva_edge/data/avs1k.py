"""AVS1K, the aerial videos of [UVA] and [SKD], in its authors' layout.

``{train,valid,test}Set/Frame/VIDEO/VIDEO_00001.png`` is a frame, and the same path under ``Ground`` its density
of fixations. That much follows from the authors' code (iCVTEAM/DIS: folders of these names, searched at any
depth; file names that end in five digits and a suffix of four characters; the next frame has the next number;
ground truth scaled by 1/255) and from a loader by others (one folder a video, numbers from 1). Assumed: a
folder that holds several videos keeps them apart by what stands before the five digits, as the authors' resized
copies may; every frame has its density; images may be .png, .jpg or .bmp, and either side another one. One
public loader takes frames from ``Ground`` and densities from ``Frame``: should a copy be laid out so, it is
refused, for its densities are in colour. There are no points of fixation.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from uva_edge.data.files import IMAGE_SUFFIXES, read_density, read_image
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.numbering import by_number, check_partners, is_visible
from uva_edge.errors import DataError

FOLDERS: Final = {"train": "trainSet", "val": "validSet", "test": "testSet"}
_DIGITS: Final = 5


def list_avs1k(root: Path, split: str) -> list[Footage]:
    """The videos of a split, ``train``, ``val`` or ``test``, in the order of their names.

    Raises:
        DataError: a folder is missing or empty, or a video or a frame has no ground truth, or the other way.
    """
    folder = root / FOLDERS[split]
    frames, ground = (_list_videos(folder / part) for part in ("Frame", "Ground"))
    for name in sorted(frames.keys() ^ ground.keys()):
        there, absent = ("Frame", "Ground") if name in frames else ("Ground", "Frame")
        raise DataError(f"{folder / there / name}: no such video in {folder / absent}")
    return [_footage(name, frames[name], ground[name]) for name in sorted(frames)]


def _list_videos(folder: Path) -> dict[str, dict[int, Path]]:
    """The files of each video by their numbers."""
    videos: dict[str, list[Path]] = {}
    for path, _, names in os.walk(folder):
        prefixes: defaultdict[str, list[Path]] = defaultdict(list)
        for file in (Path(path, name) for name in names):
            if is_visible(file, IMAGE_SUFFIXES):
                prefixes[file.stem[:-_DIGITS].rstrip("_-")].append(file)
        inner = Path(path).relative_to(folder)
        for prefix, files in prefixes.items():
            alone = len(prefixes) == 1 and inner.parts
            videos[(inner if alone else inner / prefix).as_posix()] = files
    if not videos:
        raise DataError(f"{folder}: expected images in it, one folder a video; got none")
    return {name: by_number(files, _DIGITS) for name, files in videos.items()}


def _footage(name: str, frames: dict[int, Path], ground: dict[int, Path]) -> Footage:
    check_partners(frames, ground)
    files = (*frames.values(), *ground.values())
    return Footage(name, "avs1k", "video", files, partial(_read, frames, ground))


def _read(frames: dict[int, Path], ground: dict[int, Path]) -> Iterator[LabelledFrame]:
    for number, frame in frames.items():
        yield LabelledFrame(read_image(frame), density=read_density(ground[number]))
