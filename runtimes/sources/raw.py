"""Raw video: pixels without a container, from a pipe or a file. The bytes are used as they come."""

from __future__ import annotations

import select
import threading
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError, SourceError
from uva_edge.preprocess import COLORS, YUV_RANGES, Color, YuvRange
from uva_edge.preprocess import Frame as Pixels

from .images import unreadable
from .live import Latest
from .source import NOMINAL_FPS, Losses, Picture, Reader, Source

STDIN: Final = "-"

_MAX_SIDE: Final = 16384
_LOOK_UP_MS: Final = 200


@dataclass(frozen=True)
class RawFormat:
    """How raw video is laid out: frame after frame, without padding, as FFmpeg's `rawvideo` writes it.

    Attributes:
        color: the pixel format, one of `uva_edge.preprocess.COLORS`.
        size: (width, height) in pixels.
        yuv_range: "limited" or "full", of YUV.

    Raises:
        OptionError: a value that is not allowed.
    """

    color: Color
    size: tuple[int, int]
    yuv_range: YuvRange = "limited"

    def __post_init__(self) -> None:
        if self.color not in COLORS:
            raise OptionError(f"the format of raw video is one of {', '.join(COLORS)}; got {self.color!r}")
        if self.yuv_range not in YUV_RANGES:
            raise OptionError(f'yuv_range must be "limited" or "full", got {self.yuv_range!r}')
        width, height = self.size
        if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
            raise OptionError(
                f"the size of raw video is 1x1 to {_MAX_SIDE}x{_MAX_SIDE}; got {width}x{height}"
            )
        if self.color == "yuyv" and width % 2:
            raise OptionError(f"yuyv packs two pixels in four bytes, so its width is even; got {width}")

    @property
    def frame_bytes(self) -> int:
        width, height = self.size
        if self.color in ("nv12", "i420"):
            return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
        return width * height * {"gray": 1, "yuyv": 2}.get(self.color, 3)

    def pixels(self, data: NDArray[np.uint8]) -> Pixels:
        """A frame for `network_input`: views of its bytes, uint8 [frame_bytes]."""
        width, height = self.size
        if self.color == "gray":
            return data.reshape(height, width)
        if self.color not in ("nv12", "i420"):
            return data.reshape(height, width, -1)
        luma, chroma = data[: width * height].reshape(height, width), data[width * height :]
        half = (height + 1) // 2, (width + 1) // 2
        if self.color == "nv12":
            return luma, chroma.reshape(*half, 2)
        u, v = chroma.reshape(2, *half)
        return luma, u, v


def open_raw(
    spec: str, layout: RawFormat, *, fps: float | None, max_frames: int | None, latest: bool
) -> Source:
    """Raw video from standard input (``-``), a named pipe or a file."""
    path = None if spec == STDIN else Path(spec).absolute()
    try:
        # Without Python's buffer a frame is copied once, into its own memory.
        file = FileIO(0, "rb", closefd=False) if path is None else FileIO(path, "rb")
        whole = path is not None and path.is_file()
        length = path.stat().st_size if whole and path is not None else None
    except OSError as error:
        raise unreadable(path or Path(spec), error) from None
    name = "stdin" if path is None else path.name
    losses = Losses()
    reader: Reader = _RawReader(file, layout, name, fps or NOMINAL_FPS)
    if latest:
        if whole:
            file.close()
            raise OptionError(
                f"the latest frame is of what is live; {path} is a file, whose frames all count"
            )
        reader = Latest(reader, losses)
    return Source(
        reader, "raw", name, path=path if whole else None, fps=fps, live=not whole, max_frames=max_frames,
        frame_count=None if length is None else length // layout.frame_bytes,
        color=layout.color, yuv_range=layout.yuv_range, losses=losses,
    )  # fmt: skip


class _RawReader:
    def __init__(self, file: FileIO, layout: RawFormat, name: str, fps: float) -> None:
        self._file, self._layout, self._name, self._fps = file, layout, name, fps
        self._incoming = select.poll()
        self._incoming.register(file, select.POLLIN)
        self._stopped = threading.Event()
        self._frames = 0
        self._rest = 0

    def read(self) -> Picture | None:
        data = np.empty(self._layout.frame_bytes, np.uint8)
        self._rest = self._filled(data.data)
        if self._rest < len(data):
            return None
        self._rest = 0
        self._frames += 1
        return Picture(self._layout.pixels(data), (self._frames - 1) / self._fps, self._name)

    def _filled(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view) and self._wait():
            try:
                count = self._file.readinto(view[filled:])
            except OSError as error:
                raise SourceError(f"{self._name} can't be read: {error.strerror or error}") from None
            if not count:
                break
            filled += count
        return filled

    def _wait(self) -> bool:
        """Until there is something to read, or the end; False when it was stopped."""
        while not self._stopped.is_set():
            if self._incoming.poll(_LOOK_UP_MS):
                return True
        return False

    def stop(self) -> None:
        self._stopped.set()

    def problem(self, frames: int, seconds: float) -> str | None:
        if not self._rest:
            return None
        width, height = self._layout.size
        return (
            f"{self._name} ended within frame {self._frames}: {self._rest} of the {self._layout.frame_bytes} bytes "
            f"of a {self._layout.color} frame of {width}x{height}; it was cut off, or has another format or size"
        )

    def close(self) -> None:
        self.stop()
        self._file.close()
