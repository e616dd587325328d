"""The result of a prediction: a map, and what a program or a person wants to know from it.

Coordinates. Cell (i, j) of an R x C map covers rows [i H / R, (i + 1) H / R) and columns
[j W / C, (j + 1) W / C) of the frame, from its left-top corner: the frame was stretched to the map's shape,
which is a square (C = R) for UVA-Net. Points are in pixels as OpenCV draws them: (0, 0) is the centre of the
left-top pixel, so the centre of cell (i, j) is x = (j + 0.5) W / C - 0.5, y = (i + 0.5) H / R - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from operator import index
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.preprocess import frame_size

OverlayColor = Literal["bgr", "rgb", "gray"]

_MAX_SIDE: Final = 65535
_MAX_PIXELS: Final = 1 << 28
_RANGE_SLACK: Final = 0.05  # reduced precision may leave [0, 1] by a hair; more than this is no saliency map
_HEAT_SIDE: Final = 256  # side of the smoothed heat map that an overlay stretches to the frame


@dataclass(frozen=True)
class Peak:
    """A local maximum. `x`, `y`: pixels of the frame, in [0, width - 1] and [0, height - 1], (0, 0) being the
    centre of the left-top pixel. `value`: the map there, in (0, 1]."""

    x: float
    y: float
    value: float


@dataclass(frozen=True)
class Region:
    """A connected salient area. `x`, `y`, `width`, `height`: the smallest box of whole pixels that holds it,
    inside the frame and never empty. `peak`: its strongest point. `share`: its part of the map's mass."""

    x: int
    y: int
    width: int
    height: int
    peak: Peak
    share: float


@dataclass(frozen=True, eq=False)
class Saliency:
    """Where people would look in one frame.

    Args:
        map: float32 [R, C] in [0, 1], relative fixation density over the whole frame, which is stretched to
            that shape; the shipped networks scale it to a peak of 1. A read-only copy is kept. Values up to
            0.05 outside the range, as engines of low precision make, are clipped.
        size: (width, height) in pixels of the frame that it was predicted from, 1 to 65535 each.

    Raises:
        OptionError: another dtype, shape or range, NaN, infinity, or a size that is none.

    A map without contrast (all zero, all equal, or 1x1) has no peaks and no regions: nothing stands out.
    An instance is equal to itself only.
    """

    map: NDArray[np.float32] = field(repr=False)
    size: tuple[int, int]

    def __post_init__(self) -> None:
        values = np.clip(_checked_map(self.map), np.float32(0), np.float32(1))
        values.flags.writeable = False
        object.__setattr__(self, "map", values)
        object.__setattr__(self, "size", _checked_size(self.size))

    def resized(self, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """The map at `size` (width, height), by default the frame's: a new array, float32 [height, width].

        Bilinear with aligned pixel centres, so values stay between those of the map. Raises OptionError for a
        size that is none or has more than 2**28 pixels.
        """
        import cv2

        width, height = self.size if size is None else _checked_size(size)
        if width * height > _MAX_PIXELS:
            raise OptionError(f"size must have at most {_MAX_PIXELS} pixels, got {width}x{height}")
        out = np.empty((height, width), np.float32)
        cv2.resize(self.map, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
        return np.clip(out, self.map.min(), self.map.max(), out=out)

    def peaks(self, count: int = 3, *, min_distance: float = 0.1, min_value: float = 0.1) -> tuple[Peak, ...]:
        """At most `count` local maxima, the strongest first; equal ones by row, then column.

        A plateau is one maximum, at its cell nearest to its centre. Places are refined below one cell by a
        parabola through the neighbours in each direction.

        Args:
            count: 0 or more.
            min_distance: weaker maxima nearer than this to a stronger one are left out; in parts of the map's
                sides, 0 to 1.
            min_value: maxima below this part of the map's maximum are left out, 0 to 1.

        Raises:
            OptionError: an argument out of its range.
        """
        count = _checked_count("count", count)
        high, wide = self.map.shape
        gap = _checked_fraction("min_distance", min_distance) * wide
        floor = _checked_fraction("min_value", min_value) * float(self.map.max())
        rows, columns = _local_maxima(self.map)
        strong = self.map[rows, columns] >= floor
        rows, columns = rows[strong], columns[strong]
        found: list[Peak] = []
        while len(rows) and len(found) < count:
            found.append(self._peak_at(rows[0], columns[0]))
            squared = ((rows - rows[0]) * (wide / high)) ** 2 + (columns - columns[0]) ** 2
            far = squared >= gap * gap
            far[0] = False
            rows, columns = rows[far], columns[far]
        return tuple(found)

    def regions(self, *, threshold: float = 0.5, min_area: float = 0.0) -> tuple[Region, ...]:
        """The connected areas (sides or corners touch) of cells at or above the threshold.

        Ordered by the value of their peaks, then by share, the strongest first.

        Args:
            threshold: part of the map's maximum, above 0 and up to 1.
            min_area: areas smaller than this part of the frame are left out, 0 to 1.

        Raises:
            OptionError: an argument out of its range.
        """
        import cv2

        if _checked_fraction("threshold", threshold) == 0:
            raise OptionError("threshold must be above 0 (0 makes the whole frame one region), got 0")
        min_cells = _checked_fraction("min_area", min_area) * self.map.size
        rows, columns = _local_maxima(self.map)
        if not len(rows):
            return ()
        mask = (self.map >= threshold * float(self.map.max())).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        mass = np.bincount(labels.ravel(), self.map.ravel())
        # Maxima come strongest first, so the first one with a label is that region's peak.
        found_labels, first = np.unique(labels[rows, columns], return_index=True)
        regions = []
        for label, best in zip(found_labels, first, strict=True):
            left, top, columns_wide, rows_high, cells = (int(value) for value in stats[label])
            if label == 0 or cells < min_cells:
                continue
            x, width = self._span(left, columns_wide, axis=1)
            y, height = self._span(top, rows_high, axis=0)
            peak = self._peak_at(rows[best], columns[best])
            regions.append(Region(x, y, width, height, peak, float(mass[label] / mass.sum())))
        return tuple(sorted(regions, key=lambda r: (-r.peak.value, -r.share, r.y, r.x)))

    def overlay(
        self, frame: NDArray[np.uint8], *, color: OverlayColor = "bgr", alpha: float = 0.5, peaks: int = 0
    ) -> NDArray[np.uint8]:
        """The frame with the map over it as heat: a new array, uint8 [H, W, 3] in the frame's channel order.

        Opacity grows with saliency, from none at 0, which leaves the picture as it is, to `alpha` at 1.

        Args:
            frame: uint8 [H, W, 3], or [H, W] or [H, W, 1] if gray, which gives BGR. It may have another size
                than `size`, such as a thumbnail's: the map covers the whole of it. It is not modified.
            color: "bgr", "rgb" or "gray", the frame's channels.
            alpha: opacity where saliency is 1; 0 to 1.
            peaks: so many of the strongest `peaks()` get a ring.

        Raises:
            FrameError: the frame is not what its color says.
            OptionError: another argument is out of its range.
        """
        import cv2

        if color not in ("bgr", "rgb", "gray"):
            raise OptionError(f'color must be "bgr", "rgb" or "gray" for an overlay, got {color!r}')
        alpha = _checked_fraction("alpha", alpha)
        peaks = _checked_count("peaks", peaks)
        size = frame_size(frame, color=color)
        heat, keep = self._heat(size, alpha, color)
        picture = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if color == "gray" else frame
        out = keep  # in place: at 1080p fresh memory costs as much as the arithmetic
        cv2.multiply(picture, keep, dst=out, scale=1 / 255)
        cv2.add(out, heat, dst=out)
        if peaks:
            for peak in Saliency(self.map, size).peaks(peaks):
                _draw_ring(out, peak)
        return out

    def as_dict(self, *, peaks: int = 3, threshold: float = 0.5) -> dict[str, Any]:
        """Plain numbers, lists and dicts, ready for JSON: `size`, `peaks` (so many) and `regions`."""
        return {
            "size": list(self.size),
            "peaks": [asdict(peak) for peak in self.peaks(peaks)],
            "regions": [asdict(region) for region in self.regions(threshold=threshold)],
        }

    def _peak_at(self, row: int, column: int) -> Peak:
        x = column + _parabola_offset(self.map[row, :], column)
        y = row + _parabola_offset(self.map[:, column], row)
        return Peak(self._pixel(x, axis=1), self._pixel(y, axis=0), float(self.map[row, column]))

    def _lengths(self, axis: int) -> tuple[int, int]:
        """Pixels of the frame and cells of the map along an axis of the map."""
        return self.size[1 - axis], self.map.shape[axis]

    def _pixel(self, cell: float, *, axis: int) -> float:
        """Position of a cell's centre, clipped because a cell is smaller than a pixel in a tiny frame."""
        pixels, cells = self._lengths(axis)
        return min(max((float(cell) + 0.5) * pixels / cells - 0.5, 0.0), pixels - 1.0)

    def _span(self, first: int, count: int, *, axis: int) -> tuple[int, int]:
        """Start and length of the whole pixels that some cells touch."""
        pixels, cells = self._lengths(axis)
        start = first * pixels // cells
        return start, -(-(first + count) * pixels // cells) - start

    def _heat(
        self, size: tuple[int, int], alpha: float, color: OverlayColor
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What to add to a frame of that size, and what to multiply it by (1/255): uint8 [H, W, 3] each."""
        import cv2

        # Cubic here, where it is cheap, hides the cells' edges in a large frame.
        height, width = (max(_HEAT_SIDE, cells) for cells in self.map.shape)
        smooth = cv2.resize(self.map, (width, height), interpolation=cv2.INTER_CUBIC)
        levels = np.rint(255 * np.clip(smooth, 0, 1)).astype(np.uint8)
        heat_table, keep_table = _heat_tables(alpha, color == "rgb")
        heat = np.empty((size[1], size[0], 3), np.uint8)
        cv2.resize(heat_table.take(levels, axis=0), size, dst=heat, interpolation=cv2.INTER_LINEAR)
        opacity = cv2.resize(keep_table.take(levels), size, interpolation=cv2.INTER_LINEAR)
        keep = np.empty_like(heat)
        cv2.cvtColor(opacity, cv2.COLOR_GRAY2BGR, dst=keep)
        return heat, keep


def _checked_map(value: object) -> NDArray[np.float32]:
    expected = "map must be a float32 numpy array [R, C] in [0, 1]"
    if not isinstance(value, np.ndarray):
        raise OptionError(f"{expected}, got {type(value).__name__}")
    if value.dtype != np.float32:
        raise OptionError(f"{expected}, got dtype {value.dtype}; convert with .astype(np.float32)")
    if value.ndim != 2 or not value.size:
        raise OptionError(f"{expected}, got shape {value.shape}")
    low, high = float(value.min()), float(value.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise OptionError(f"{expected}, got NaN or infinity in it")
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise OptionError(f"{expected}, got values from {low:g} to {high:g}; divide by the maximum")
    return value


def _checked_size(value: object) -> tuple[int, int]:
    expected = f"size must be (width, height) in whole pixels, 1 to {_MAX_SIDE} each"
    try:
        width, height = (index(side) for side in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise OptionError(f"{expected}, got {value!r}") from None
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise OptionError(f"{expected}, got {value!r}")
    return width, height


def _checked_count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise OptionError(f"{name} must be a whole number, 0 or more, got {value!r}")
    return int(value)


def _checked_fraction(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise OptionError(f"{name} must be a number from 0 to 1, got {value!r}")
    return float(value)


def _local_maxima(values: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the regional maxima, one cell each, ordered by value, row, column.

    A regional maximum is a connected set of equal cells whose other neighbours are all lower.
    """
    import cv2

    none = np.empty(0, np.intp)
    if values.min() == values.max():
        return none, none
    around = np.ones((3, 3), np.uint8)
    top = values == cv2.dilate(values, around)
    # On a slope's terrace a top cell has an equal neighbour that is no top itself.
    terrace = top & (cv2.dilate(np.where(top, np.float32(-1), values), around) == values)
    _, labels = cv2.connectedComponents(top.astype(np.uint8), connectivity=8)
    rows, columns = np.nonzero(top & ~np.isin(labels, labels[terrace]))
    group = labels[rows, columns]
    # Squared distance to the plateau's centre times its cells squared: whole numbers, so ties are exact.
    cells = np.bincount(group)[group]
    away_rows = cells * rows - np.bincount(group, rows)[group]
    away_columns = cells * columns - np.bincount(group, columns)[group]
    order = np.lexsort((away_rows**2 + away_columns**2, group))
    _, first = np.unique(group[order], return_index=True)
    rows, columns = rows[order[first]], columns[order[first]]
    order = np.lexsort((columns, rows, -values[rows, columns]))
    return rows[order], columns[order]


def _parabola_offset(line: NDArray[np.float32], at: int) -> float:
    """Where the parabola through a maximum of a line and its neighbours has its top, -0.5 to 0.5 from it."""
    if at == 0 or at == len(line) - 1:
        return 0.0
    left, middle, right = (float(value) for value in line[at - 1 : at + 2])
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0


@lru_cache(maxsize=16)
def _heat_tables(alpha: float, rgb: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For the 256 levels of saliency: the colour times its opacity [256, 3], and 255 minus opacity [256]."""
    import cv2

    levels = np.arange(256, dtype=np.uint8)
    # Inferno is perceptually uniform, and bright at its top, so a target under the heat stays lit.
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, :: -1 if rgb else 1]
    saliency = levels / 255
    opacity = alpha * saliency * (2 - saliency)
    return (colors * opacity[:, None]).astype(np.uint8), np.rint(255 * (1 - opacity)).astype(np.uint8)


def _draw_ring(image: NDArray[np.uint8], peak: Peak) -> None:
    import cv2

    unit = max(1, round(min(image.shape[:2]) / 400))
    centre = (round(peak.x), round(peak.y))
    for shade, thickness in ((0, 3 * unit), (255, unit)):
        cv2.circle(image, centre, 8 * unit, (shade, shade, shade), thickness, cv2.LINE_AA)
