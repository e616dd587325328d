"""Footage: stills and videos with what is known about where people look, whatever files they come from.

A reader lists footage at once, with everything that can be checked without decoding; frames are decoded when
they are asked for, one after the other, so that a data set may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kind: TypeAlias = Literal["still", "video"]
DensityMap: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One frame and what is known of it; `None` is "not known"."""

    image: NDArray[np.uint8]
    """[H, W, 3] BGR."""
    fixations: NDArray[np.float32] | None = None
    """[N, 2], x and y in 0..1 of width and height."""
    density: DensityMap | None = None
    """[h, w], the relative density of human fixations; without it, it follows from `fixations`."""
    teacher: NDArray[np.uint8] | None = None
    """[h, w], a teacher's relative density."""
    spatial: NDArray[np.uint8] | None = None
    """[h, w], that of a teacher who saw this frame alone; without it `teacher` plays both parts."""


@dataclass(frozen=True, eq=False)
class Footage:
    """A still (a video of one frame) or a video, not yet decoded."""

    name: str
    """Unique in its data set."""
    dataset: str
    """Such as ``osie`` or ``dhf1k``: what scores are grouped by."""
    kind: Kind
    files: tuple[Path, ...]
    """All files that `read` reads; their content is the content of the footage."""
    read: Callable[[], Iterator[LabelledFrame]]
    """Decode from the start. Raises `DamagedFileError` where an image or a video can't be decoded."""
    facts: tuple[str, ...] = ()
    """What else decides what `read` yields, such as the part that a file of a teacher's maps plays."""
