"""DHF1K, and Hollywood-2 and UCF-Sports as the authors of DHF1K (Wang et al., CVPR 2018) hand them on.

DHF1K: ``video/0001.AVI`` (or another suffix, or a folder ``video/0001`` of numbered frames) with
``annotation/0001/maps/0001.png``, a density, and ``annotation/0001/fixation/maps/0001.mat``, whose variable
``I`` is not zero where a fixation fell. The other two: ``{training,testing}/VIDEO/`` with ``images``, ``maps``
and ``fixation``. In all three the fixation maps lie in ``fixation/maps``, or in ``fixation`` if there is no such
folder, and are .mat or .png. Files belong to a frame by the number that their names end in, those of a video
file's first frame having number 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    decode_video,
    read_density,
    read_grey,
    read_image,
    with_labels,
)
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.matlab import read_matrix
from uva_edge.data.numbering import check_partners, is_visible, list_numbered
from uva_edge.errors import DataError

DHF1K_SPLITS: Final = {"train": range(1, 601), "val": range(601, 701)}
"""The numbers of the videos; the annotation of the rest is not public."""
ACTION_FOLDERS: Final = {"train": "training", "test": "testing"}

_Labels = list[tuple[Path, Path]]


def list_dhf1k(root: Path, split: str) -> list[Footage]:
    """The videos of DHF1K's own split, ``train`` or ``val``, as far as they are there.

    Raises:
        DataError: the split is empty or has no public annotation; a video has no annotation, or the other way;
            the files of a video don't match.
    """
    if split not in DHF1K_SPLITS:
        raise DataError(
            f"{root}: DHF1K has no public annotation of its {split!r} split; use 'train' or 'val'"
        )
    videos = _list_videos(root / "video")
    footage = []
    for name in (f"{number:04d}" for number in DHF1K_SPLITS[split]):
        annotation = root / "annotation" / name
        if name in videos:
            footage.append(_footage(name, "dhf1k", videos[name], annotation))
        elif annotation.exists():
            raise DataError(f"{annotation}: no video {name} in {root / 'video'}")
    if not footage:
        raise DataError(f"{root / 'video'}: no video of the split {split!r}, {DHF1K_SPLITS[split]}")
    return footage


def list_action_videos(root: Path, split: str, dataset: str) -> list[Footage]:
    """The videos of Hollywood-2 or UCF-Sports, ``train`` or ``test``; `dataset` is what scores go under.

    Raises:
        DataError: the data set has no such split, or it is empty; the files of a video don't match.
    """
    if split not in ACTION_FOLDERS:
        raise DataError(f"{root}: {dataset} has no {split!r} split; use 'train' or 'test'")
    folder = root / ACTION_FOLDERS[split]
    videos = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not videos:
        raise DataError(f"{folder}: expected a folder for each video; got none")
    return [_footage(video.name, dataset, video / "images", video) for video in videos]


def _list_videos(folder: Path) -> dict[str, Path]:
    """Video files and folders of frames by name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: No such folder; is {folder.parent} the root of DHF1K?")
    videos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() or is_visible(path, VIDEO_SUFFIXES):
            if path.stem in videos:
                raise DataError(f"{path}: {videos[path.stem].name} is the same video; remove one of them")
            videos[path.stem] = path
    return videos


def _footage(name: str, dataset: str, video: Path, annotation: Path) -> Footage:
    densities = list_numbered(annotation / "maps", IMAGE_SUFFIXES)
    fixation = annotation / "fixation"
    inner = fixation / "maps"
    fixations = list_numbered(inner if inner.is_dir() else fixation, (".mat", ".png"))
    check_partners(densities, fixations)
    labels = list(zip(densities.values(), fixations.values(), strict=True))
    files = (*densities.values(), *fixations.values())
    if video.is_file():
        if min(densities) != 1:
            raise DataError(f"{densities[min(densities)]}: expected 1 for the first frame of {video.name}")
        read = partial(_read_video, video, labels, annotation)
        return Footage(name, dataset, "video", (video, *files), read)
    frames = list_numbered(video, IMAGE_SUFFIXES)
    check_partners(frames, densities)
    read_all = partial(_read_frames, tuple(frames.values()), labels)
    return Footage(name, dataset, "video", (*frames.values(), *files), read_all)


def _read_video(video: Path, labels: _Labels, annotation: Path) -> Iterator[LabelledFrame]:
    for image, (density, fixation) in with_labels(decode_video(video), labels, annotation):
        yield _labelled(image, density, fixation)


def _read_frames(frames: tuple[Path, ...], labels: _Labels) -> Iterator[LabelledFrame]:
    for frame, (density, fixation) in zip(frames, labels, strict=True):
        yield _labelled(read_image(frame), density, fixation)


def _labelled(image: NDArray[np.uint8], density: Path, fixation: Path) -> LabelledFrame:
    """A frame that nobody fixated tells nothing: `None`."""
    is_matrix = fixation.suffix.lower() == ".mat"
    points = _points(read_matrix(fixation, "I") if is_matrix else read_grey(fixation))
    return LabelledFrame(image, fixations=points if len(points) else None, density=read_density(density))


def _points(fixation_map: NDArray[Any]) -> NDArray[np.float32]:
    """The centres of the pixels that are not zero, [N, 2], x and y in 0..1."""
    rows, columns = np.nonzero(fixation_map)
    height, width = fixation_map.shape
    return np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1).astype(np.float32)
