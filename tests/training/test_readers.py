"""Readers of stills and clips: what they give, and what they say when a file does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from uva_edge.data.clips import read_clips, read_pairs
from uva_edge.data.stills import read_stills
from uva_edge.errors import DataError


def test_stills_and_clips_are_read(data: Path) -> None:
    stills = read_stills(data, "train")
    assert [still.name for still in stills] == ["still_0", "still_1", "still_2", "still_3"]
    assert {still.dataset for still in read_stills(data, "val", dataset="osie")} == {"osie"}
    assert stills[0].image.shape == (180, 320, 3)
    assert stills[0].teacher.max() > 200
    assert ((stills[0].fixations >= 0) & (stills[0].fixations <= 1)).all()
    (clip,) = read_clips(data, "val")
    assert len(clip.frames) == len(clip.teacher) == 6
    pairs = read_pairs(data, "train", per_clip=3)
    assert len(pairs) == 3
    assert (pairs[0].frame != pairs[0].previous).any()


def _cut_teacher(root: Path) -> None:
    np.savez(root / "teacher_maps" / "clips" / "train.npz", maps=np.zeros((2, 48, 64), np.uint8))


def _float_teacher(root: Path) -> None:
    np.savez(root / "teacher_maps" / "images.npz", names=np.array(["a"]), maps=np.zeros((1, 4, 4)))


def _replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new)) and None


def _one_frame(root: Path) -> None:
    writer = cv2.VideoWriter(
        str(root / "clips" / "train.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 180)
    )
    writer.write(np.zeros((180, 320, 3), np.uint8))
    writer.release()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no images.csv": (lambda root: (root / "images.csv").unlink(), r"images\.csv"),
    "no column": (_replace("images.csv", "dataset", "set"), "no column dataset"),
    "empty split": (_replace("images.csv", "train", "held"), "no image of split 'train'"),
    "no image": (lambda root: (root / "images" / "still_1.jpg").unlink(), r"still_1\.jpg"),
    "corrupt image": (lambda root: (root / "images" / "still_2.jpg").write_bytes(b"x" * 99), r"still_2\.jpg"),
    "no fixations": (_replace("fixations.csv", "still_3", "still_9"), "no fixation of still_3"),
    "words for numbers": (_replace("fixations.csv", "still_0,0.", "still_0,a."), "line 2"),
    "fixation outside": (_replace("fixations.csv", "still_0,0.", "still_0,7."), r"lie in 0\.\.1"),
    "no teacher maps": (lambda root: (root / "teacher_maps" / "images.npz").unlink(), r"images\.npz"),
    "float teacher maps": (_float_teacher, "uint8"),
    "no clips.csv": (lambda root: (root / "clips.csv").unlink(), r"clips\.csv"),
    "no clip": (lambda root: (root / "clips" / "train.mp4").unlink(), r"train\.mp4"),
    "one frame": (_one_frame, "at least two"),
    "fewer teacher maps": (_cut_teacher, r"\[6, h, w\]"),
    "not an archive": (lambda root: (root / "teacher_maps/clips/train.npz").write_bytes(b"no"), r"train\.npz"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_the_file(data: Path, case: str) -> None:
    damage, words = DAMAGE[case]
    damage(data)
    with pytest.raises(DataError, match=words):
        read_stills(data, "train")
        read_pairs(data, "train", per_clip=2)
