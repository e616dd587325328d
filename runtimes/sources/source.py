"""Frames one after the other, whatever they come from: `Source`, and the `Reader` that each kind of it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SourceError
from uva_edge.preprocess import Color, YuvRange, frame_size
from uva_edge.preprocess import Frame as Pixels

from .bgr import to_bgr

Kind = Literal["video", "image", "images", "camera", "stream", "bag", "raw"]

NOMINAL_FPS: Final = 25.0
"""The clock of a source that has none, such as a folder of images."""

HINTS: Final[dict[Kind, str]] = {
    "video": "copy or record it again",
    "image": "it is damaged or not an image; copy it again, or convert it to PNG or JPEG",
    "images": "copy its images again",
    "camera": "is it plugged in, used by another program, or not permitted (group video)?",
    "stream": "check the address, the user name and password, and that the sender is on",
    "bag": "record it again, or give another topic",
    "raw": "check its format and size, and that the sender writes to the pipe",
}
_MAX_STEP_S: Final = 1e6  # a longer way from one frame to the next is a broken time stamp


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        index: from 0.
        time: seconds from the start, never decreasing, by the source's own stamps where it has any.
        pixels: uint8, as the source delivers them, in the format `color`; see `network_input`.
        name: the image file's name, or the source's.
        color, yuv_range: what `pixels` are; the same for all frames of a source.
        stamp_ns: what the source says of the moment, in nanoseconds of its own clock (the header of a ROS message, the
            sensor of a Raspberry Pi); None if it says nothing.
    """

    index: int
    time: float
    pixels: Pixels
    name: str
    color: Color = "bgr"
    yuv_range: YuvRange = "limited"
    stamp_ns: int | None = None

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], BGR, for people to look at: converted when it is first asked for."""
        return to_bgr(self.pixels, self.color, self.yuv_range)


@dataclass(frozen=True, eq=False)
class Picture:
    """What a reader gives: pixels in the source's format, the time that its container or driver says, its name or "",
    and `Frame.stamp_ns`."""

    pixels: Pixels
    seconds: float | None
    name: str
    stamp_ns: int | None = None


class Reader(Protocol):
    """Where a `Source` takes its pictures from, one after the other."""

    def read(self) -> Picture | None:
        """The next picture, or None at the end."""

    def problem(self, frames: int, seconds: float) -> str | None:
        """What is wrong with having ended after so many frames, of which the last was at `seconds`."""

    def close(self) -> None: ...


@dataclass
class Losses:
    """What a live source has lost until now; its readers count here.

    Attributes:
        dropped: frames that were left out: by a camera's driver because they were read too slowly (judged by the gaps
            between its time stamps), or because only the latest frame was wanted.
        reconnects: how often the connection was lost and found again.
        seconds: without a connection, in all.
    """

    dropped: int = 0
    reconnects: int = 0
    seconds: float = 0.0


class Source:
    """Frames in their order, once: iterate over it, and close it (or use `with`). Made by `open_source`.

    The first frame is decoded when the source is opened, so a source that exists has at least one. No frame that
    arrives is skipped, unless only the latest was asked for.

    Attributes:
        kind: "video", "image", "images" (a folder or a pattern), "camera", "stream" (a URL), "bag" or "raw".
        name: for people: the file's name, "camera 0", or the URL without its password and query.
        path: the file or folder, absolute; None for a camera, a URL or a pipe.
        fps: declared frames per second, or None.
        color, yuv_range: what the frames' pixels are; give both to `SaliencyPredictor.stream`.
        size: (width, height) of the first frame; images of a folder may differ from it.
        frame_count: frames that the container declares, which may be off by some; None if it doesn't say, and
            for live sources.
        live: its end is not known beforehand.
        losses: of a live source, until now.
        problem: after iteration, in words, why fewer frames came than were declared; else None.
    """

    def __init__(
        self,
        reader: Reader,
        kind: Kind,
        name: str,
        *,
        path: Path | None = None,
        fps: float | None = None,
        frame_count: int | None = None,
        live: bool = False,
        max_frames: int | None = None,
        color: Color = "bgr",
        yuv_range: YuvRange = "limited",
        losses: Losses | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.path = path
        self.fps = fps
        self.frame_count = frame_count
        self.live = live
        self.color: Color = color
        self.yuv_range: YuvRange = yuv_range
        self.losses = losses or Losses()
        self.problem: str | None = None
        self._reader = reader
        self._max_frames = max_frames
        self._state: Literal["fresh", "read", "closed"] = "fresh"
        try:
            first = reader.read()
            if first is None:
                why = None if live else reader.problem(0, 0.0)
                raise SourceError(f"{path or name}: {why or 'no frame can be decoded'}; {HINTS[kind]}")
            self.size = frame_size(first.pixels, color=color)
        except BaseException:
            reader.close()
            raise
        self._first: Picture | None = first

    @property
    def expected(self) -> int | None:
        """How many frames iteration should yield: those declared, at most `max_frames`; None if unknown."""
        known = [count for count in (self.frame_count, self._max_frames) if count is not None]
        return min(known, default=None)

    @property
    def truncated(self) -> bool:
        """After iteration: a file ended or failed before the frames that it declares."""
        return self.problem is not None and not self.live

    @property
    def dropped(self) -> int:
        """See `Losses.dropped`."""
        return self.losses.dropped

    def __iter__(self) -> Iterator[Frame]:
        if self._state != "fresh":
            raise SourceError(f"{self.name} was {self._state} already; open it again to read its frames")
        self._state = "read"
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        picture, self._first = self._first, None
        index, seconds = 0, 0.0
        while picture is not None:
            seconds = self._seconds(index, seconds, picture.seconds)
            yield Frame(
                index, seconds, picture.pixels, picture.name, self.color, self.yuv_range, picture.stamp_ns
            )
            index += 1
            if index == self._max_frames:
                return
            if self._state == "closed":
                raise SourceError(f"{self.name} was closed while it was read, after {index} frames")
            picture = self._reader.read()
        self.problem = self._reader.problem(index, seconds)

    def _seconds(self, index: int, last: float, stamp: float | None) -> float:
        """The source's own time stamp where it is sane and later than the last, else the nominal clock."""
        if stamp is not None and math.isfinite(stamp):
            if index == 0 and 0 <= stamp < _MAX_STEP_S:
                return stamp
            if index and last < stamp < last + _MAX_STEP_S:
                return stamp
        return last + 1 / (self.fps or NOMINAL_FPS) if index else 0.0

    def close(self) -> None:
        """Release the file, camera or connection. A second call does nothing."""
        if self._state != "closed":
            self._state = "closed"
            self._first = None
            self._reader.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
