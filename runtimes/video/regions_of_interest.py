"""From a map to what an encoder is told: rectangles of the picture, each with an offset of its quantiser.

An encoder's error grows as 2 ** (QP / 3). If an error counts w times where people look w times as often, the sum of
weighted errors at a given size is least where w * 2 ** (QP / 3) is the same everywhere: QP falls by 3 for each
doubling of w. That is `strength` 3; what was measured best is the default (docs/video.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 16
"""Side in pixels of what H.264 gives a quantiser; offsets for less would be lost."""
MAX_REGIONS: Final = 160
FLOOR: Final = 0.1
"""Weight of what nobody looks at, in parts of the mean: it keeps what a map missed from falling apart."""
LIMIT: Final = 10.0
"""The largest offset, in QP."""
_MAX_CELLS: Final = 32  # a side: finer than the maps of most networks


@dataclass(frozen=True)
class RegionOfInterest:
    """A rectangle in pixels, inside the picture, and how far its quantiser parameter is moved: -51 to 51."""

    x: int
    y: int
    width: int
    height: int
    qp: int


def qp_offsets(
    density: NDArray[np.float32], *, strength: float, floor: float = FLOOR, limit: float = LIMIT
) -> NDArray[np.float32]:
    """How far QP is to move in each cell: float32 of the same shape, negative where people look, of the mean 0.

    Args:
        density: float32 [rows, columns], relative, 0 or more. Without contrast there are no offsets.
        strength: QP for each doubling of the weight, 0 or more.
        floor: what is added to the density, in parts of its mean: the weight of what nobody looks at.
        limit: the largest offset, to either side.
    """
    mean = float(density.mean())
    if mean <= 0:
        return np.zeros_like(density)
    moved = -strength * np.log2(density / mean + np.float32(floor))
    return np.asarray(np.clip(moved - moved.mean(), -limit, limit), np.float32)


def cells_of(size: tuple[int, int]) -> tuple[int, int, int]:
    """(rows, columns, side): cells of so many pixels that cover a picture of (width, height)."""
    width, height = size
    side = BLOCK * -(-max(width, height) // (BLOCK * _MAX_CELLS))
    return -(-height // side), -(-width // side), side


def cell_density(saliency_map: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The mean of a map [R, C], which covers the picture of (width, height), over each cell of `cells_of(size)`."""
    rows, columns, side = cells_of(size)
    down = _overlaps(rows, side, size[1], saliency_map.shape[0])
    across = _overlaps(columns, side, size[0], saliency_map.shape[1])
    return np.asarray(down @ saliency_map @ across.T, np.float32)


def _overlaps(cells: int, side: int, pixels: int, parts: int) -> NDArray[np.float32]:
    """[cells, parts], rows of the sum 1: how much of a cell within the picture lies in each part of the map."""
    edges = np.minimum(np.arange(cells + 1) * side, pixels) * (parts / pixels)
    at = np.arange(parts)
    shared = np.maximum(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0)
    return np.asarray(shared / shared.sum(axis=1, keepdims=True), np.float32)


def regions_of(offsets: NDArray[np.float32], size: tuple[int, int]) -> tuple[RegionOfInterest, ...]:
    """Rectangles of equal offset, at most MAX_REGIONS; where two overlap the earlier one holds.

    Offsets are rounded to whole QP, and to multiples of 2, 3 and so on where that gives too many rectangles.

    Args:
        offsets: float32 [rows, columns] for the cells that `cells_of(size)` says.
        size: (width, height) of the picture.
    """
    step = 1
    while len(regions := _rectangles(np.rint(offsets / step).astype(int) * step, size)) > MAX_REGIONS:
        step += 1
    return regions


def _rectangles(levels: NDArray[np.int_], size: tuple[int, int]) -> tuple[RegionOfInterest, ...]:
    """The most frequent level is the ground, under all others, which are cut into rectangles row by row."""
    width, height = size
    _, _, side = cells_of(size)
    values, counts = np.unique(levels, return_counts=True)
    ground = int(values[np.argmax(counts)])
    grid: list[list[int | None]] = [[None if qp == ground else qp for qp in row] for row in levels.tolist()]
    found = []
    for top, row in enumerate(grid):
        for left, qp in enumerate(row):
            if qp is None:
                continue
            right = left + _run(row[left:], qp)
            bottom = top
            while bottom < len(grid) and grid[bottom][left:right] == [qp] * (right - left):
                grid[bottom][left:right] = [None] * (right - left)  # taken
                bottom += 1
            x, y = left * side, top * side
            high, wide = min(bottom * side, height) - y, min(right * side, width) - x
            found.append(RegionOfInterest(x, y, wide, high, qp))
    if ground:
        found.append(RegionOfInterest(0, 0, width, height, ground))
    return tuple(found)


def _run(cells: Sequence[int | None], qp: int) -> int:
    """How many of the first cells have this offset."""
    return sum(1 for _ in takewhile(lambda cell: cell == qp, cells))
