"""Pseudo-random frames in memory, as `programs/frame_case.c` makes them, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from uva_edge.preprocess import Color, Frame, Grid, YuvRange, network_input

U8 = NDArray[np.uint8]
FORMATS: Final = ("bgr", "rgb", "gray", "yuyv", "nv12", "i420", "nv12_planes", "i420_planes")
"""Names of the C functions, in the order of `enum frame_format`."""


@dataclass(frozen=True)
class Rows:
    """Rows of bytes somewhere in a memory: those of one plane, `stride` apart, the top one at `top`."""

    top: int
    stride: int
    count: int
    length: int

    def view(self, memory: U8) -> U8:
        """[count, length], read-only."""
        return np.lib.stride_tricks.as_strided(
            memory[self.top :], (self.count, self.length), (self.stride, 1), writeable=False
        )


@dataclass(frozen=True)
class FrameCase:
    """A frame: the same as `frame_case` of programs/frame_case.h."""

    format: str
    width: int
    height: int
    paddings: tuple[int, int, int] = (0, 0, 0)
    bottom_up: bool = False
    yuv_range: YuvRange = "limited"
    seed: int = 1

    @property
    def planes(self) -> tuple[Rows, ...]:
        """Those of the color format, which lie one after the other, whether C is told of one buffer or three."""
        half = (self.height + 1) // 2, (self.width + 1) // 2
        whole = {"bgr": 3, "rgb": 3, "gray": 1, "yuyv": 2}
        if self.format in whole:
            return self._stacked((self.height, whole[self.format] * self.width))
        if self.format == "nv12_planes":
            return self._stacked((self.height, self.width), (half[0], 2 * half[1]))
        if self.format == "i420_planes":
            return self._stacked((self.height, self.width), half, half)
        if self.format == "nv12":
            stride = 2 * half[1] + self.paddings[0]
            chroma = Rows(stride * self.height, stride, half[0], 2 * half[1])
            return Rows(0, stride, self.height, self.width), chroma
        stride = self.width + self.paddings[0]
        start, step = stride * self.height, (stride + 1) // 2
        u, v = (Rows(start + part * step * half[0], step, *half) for part in range(2))
        return Rows(0, stride, self.height, self.width), u, v

    def _stacked(self, *shapes: tuple[int, int]) -> tuple[Rows, ...]:
        found, begin = [], 0
        for (count, length), padding in zip(shapes, self.paddings, strict=False):
            step = length + padding
            last = (count - 1) * step
            found.append(
                Rows(begin + last, -step, count, length)
                if self.bottom_up
                else Rows(begin, step, count, length)
            )
            begin += last + length
        return tuple(found)

    @property
    def bytes(self) -> int:
        """How long the memory is: to the last byte of the lowest row."""
        return max(
            max(rows.top, rows.top + (rows.count - 1) * rows.stride) + rows.length for rows in self.planes
        )

    def memory(self) -> U8:
        """The bytes of all planes and paddings."""
        return random_bytes(self.bytes, self.seed)

    def expected(self, memory: U8, grid: Grid) -> U8:
        """What `network_input` makes of it."""
        color = cast("Color", self.format.partition("_")[0])
        views = [rows.view(memory) for rows in self.planes]
        frame: Frame
        if color == "nv12":
            frame = views[0], views[1].reshape(len(views[1]), -1, 2)
        elif color == "i420":
            frame = views
        elif color == "gray":
            frame = views[0]
        else:
            frame = views[0].reshape(self.height, self.width, -1)
        return network_input(frame, grid, color=color, yuv_range=self.yuv_range)

    def as_c(self) -> str:
        """The initialiser of a `frame_case`."""
        paddings = ", ".join(str(padding) for padding in self.paddings)
        what = f"{FORMATS.index(self.format)}, {self.width}, {self.height}, {{{paddings}}}"
        return f"{{{what}, {self.bottom_up:d}, {('limited', 'full').index(self.yuv_range)}, {self.seed}u}}"


def random_bytes(count: int, seed: int) -> U8:
    """The generator of `frame_case_fill`: x = 1664525 x + 1013904223 in 32 bits, of which the upper eight."""
    # All of it wraps around, as C's unsigned numbers do.
    powers = np.full(count, 1664525, np.uint32).cumprod(dtype=np.uint32)
    sums = np.concatenate((np.ones(1, np.uint32), powers[:-1])).cumsum(dtype=np.uint32)
    states: NDArray[np.uint32] = powers * np.uint32(seed) + sums * np.uint32(1013904223)
    return (states >> np.uint32(24)).astype(np.uint8)


def fnv1a(data: bytes) -> int:
    """A 64-bit hash."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
