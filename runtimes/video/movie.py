"""A video file as it was coded, for what is to be coded again: its own pixel format, time stamps, colours and sound.

`sources` gives BGR pictures by OpenCV; here frames stay what the decoder made of them (PyAV, the extra `video`). What
a file may do is the same: FFmpeg is held to the demuxers that its first bytes name, and to that one file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import MissingPackageError, SourceError

from ..containers import CONTAINERS, missing_bytes, shortfall
from ..sources import file_demuxer

_MAX_PIXELS: Final = 1 << 27  # as OpenCV's videos, see `capture`
_FALLBACK_RATE: Final = Fraction(25)
_TURNS: Final = {
    90: (("transpose", "cclock"),),
    -90: (("transpose", "clock"),),
    180: (("hflip", None), ("vflip", None)),
    -180: (("hflip", None), ("vflip", None)),
}
"""The filters that bring a frame upright which its container turns by so many degrees, counterclockwise."""
_FORMATS: Final = frozenset(
    ("gray", "yuv420p", "yuv420p10le", "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le", "yuvj420p", "yuvj422p",
     "yuvj444p")
)  # fmt: skip
"""What libx264 and libx265 both code as it is."""
_OTHERWISE: Final = "yuv420p"
_CONTAINERS_OWN: Final = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder"))


@dataclass(frozen=True)
class Colours:
    """As FFmpeg numbers them; 2 is "not said" (of the range: 0)."""

    space: int
    primaries: int
    transfer: int
    range: int


_CONVERTED: Final = Colours(space=5, primaries=2, transfer=2, range=1)
"""Of RGB that FFmpeg made YUV: BT.601, limited range."""


class Movie:
    """The frames of a video file, upright and of even sides, with the packets of its sound between them.

    Iterate over it once, and close it (or use `with`). The first frame is decoded when it is opened. Time stamps grow
    strictly. A frame of another size or pixel format than the first is converted to these. Interlaced ones stay whole.

    Attributes:
        path: absolute.
        size: (width, height) of the frames: turned as the container says, an odd side with its last column or row
            twice, as 4:2:0 needs it.
        format: the pixel format, by FFmpeg's name: one that both encoders take. Others became yuv420p.
        time_base: of the frames' time stamps, in seconds.
        rate: frames a second on average, as declared; 25 if it isn't.
        shape: width / height of a pixel.
        frame_count: as declared, or None.
        sound: the streams of sound, as PyAV has them.
        metadata: of the container, such as its title; without what describes the container itself.
        problem: after iteration, in words, why it is not whole; else None.
    """

    def __init__(self, path: Path, demuxer: str, *, threads: int, sound: bool) -> None:
        self.path, self.problem = path, None
        self._demuxer, self._undecodable = demuxer, 0
        self._av: Any = import_av()
        self._container = self._opened()
        try:
            self._start(threads, sound)
        except BaseException:
            self.close()
            raise

    problem: str | None

    def __iter__(self) -> Iterator[Any]:
        """Frames (`av.VideoFrame`) and packets of sound (`av.Packet`), as they lie in the file."""
        frames, seconds = 0, 0.0
        last: int | None = None
        for item in self._items():
            if isinstance(item, self._av.VideoFrame):
                item.pts = last = self._stamp(item.pts, last)
                frames, seconds = frames + 1, float(last * self.time_base)
                item = self._uniform(item)
            yield item
        lost = missing_bytes(self.path, self._demuxer)
        self.problem = shortfall(
            frames, seconds - self._starts, declared=self.frame_count, fps=float(self.rate), lost=lost
        )
        if self.problem is None and self._undecodable:
            self.problem = (
                f"{self.path.name}: {self._undecodable} packets can't be decoded; the file is damaged"
            )

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> Any:
        # Not `options`, which go to every stream as well: where streams are found later than the header, as in FLV and
        # MPEG-PS, PyAV counts them wrongly then, and the process dies.
        options = {"format_whitelist": self._demuxer, "protocol_whitelist": "file"}
        try:
            return self._av.open(str(self.path), container_options=options, metadata_errors="replace")
        except UnicodeEncodeError:
            raise SourceError(
                f"{str(self.path)!r}: FFmpeg opens only names in UTF-8; rename the file"
            ) from None
        except (self._av.FFmpegError, OSError, ValueError):
            raise SourceError(self._unopened()) from None

    def _unopened(self) -> str:
        lost = missing_bytes(self.path, self._demuxer)
        why = f"{lost} bytes at its end are missing" if lost else "it has no video, or was never finished"
        return f"{self.path} can't be opened as a video: {why}; copy or record it again"

    def _start(self, threads: int, sound: bool) -> None:
        streams = self._container.streams
        if not streams.video:
            raise SourceError(self._unopened())
        self._video = streams.video[0]
        self.sound = list(streams.audio) if sound else []
        context = self._video.codec_context
        if context.width * context.height > _MAX_PIXELS:
            raise SourceError(
                f"{self.path} has frames of {context.width}x{context.height}; at most {_MAX_PIXELS} pixels are read, "
                "scale it down first"
            )
        context.thread_count = threads
        tags = self._container.metadata.items()
        self.metadata = {name: text for name, text in tags if name not in _CONTAINERS_OWN}
        self.time_base: Fraction = self._video.time_base
        self.rate: Fraction = self._video.average_rate or self._video.guessed_rate or _FALLBACK_RATE
        self.frame_count: int | None = self._video.frames or None
        self._queue: list[Any] = []
        self._packets = self._container.demux(self._video, *self.sound)
        while not self._queue or not isinstance(self._queue[-1], self._av.VideoFrame):
            if not self._read():
                raise SourceError(f"{self.path}: no frame can be decoded; copy or record it again")
        first = next(item for item in self._queue if isinstance(item, self._av.VideoFrame))
        self._starts = float((first.pts or 0) * self.time_base)
        self._first, self._turn = (first.width, first.height, first.format.name), first.rotation
        self._graph: Any = None
        upright = self._uniform(first)
        self.size: tuple[int, int] = (upright.width, upright.height)
        self.format: str = upright.format.name
        shape = context.sample_aspect_ratio or Fraction(1)
        self.shape: Fraction = 1 / shape if self._turn in (90, -90) else shape
        said = Colours(context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        self.colours = said if self._first[2].startswith(("yuv", "gray", "nv", "p0")) else _CONVERTED

    # --- frames and packets in their order --------------------------------------------------------------

    def _items(self) -> Iterator[Any]:
        while True:
            yield from self._queue
            self._queue.clear()
            if not self._read():
                return

    def _read(self) -> bool:
        """Put what the next packet holds into the queue. False at the end."""
        try:
            packet = next(self._packets, None)
        except (self._av.FFmpegError, OSError):
            self._undecodable += 1
            return False
        if packet is None:
            return False
        if packet.stream is not self._video:
            if packet.dts is not None:  # else it only says that the stream has ended
                self._queue.append(packet)
            return True
        try:
            self._queue += packet.decode()
        except self._av.FFmpegError:
            self._undecodable += 1
        return True

    def _stamp(self, pts: int | None, last: int | None) -> int:
        if pts is not None and (last is None or pts > last):
            return pts
        return 0 if last is None else last + max(1, round(1 / (self.rate * self.time_base)))

    # --- what all frames have in common -----------------------------------------------------------------

    def _uniform(self, frame: Any) -> Any:
        """Upright, of even sides, all of one size and format; and of no type, or an encoder would take it over."""
        if (frame.width, frame.height, frame.format.name) != self._first:
            stamp = frame.pts
            frame = frame.reformat(*self._first)
            frame.pts = stamp
        frame.time_base = self.time_base
        frame.pict_type = self._av.video.frame.PictureType.NONE
        odd = frame.width % 2 or frame.height % 2
        if self._turn not in _TURNS and not odd and frame.format.name in _FORMATS:
            return frame
        if self._graph is None:
            self._graph = self._upright_graph(frame)
        self._graph.push(frame)
        upright = self._graph.pull()
        upright.time_base = self.time_base
        return upright

    def _upright_graph(self, like: Any) -> Any:
        graph = self._av.filter.Graph()
        steps = [
            graph.add_buffer(
                width=like.width, height=like.height, format=like.format, time_base=self.time_base
            )
        ]
        steps += [graph.add(*step) for step in _TURNS.get(self._turn, ())]
        sides = (like.height, like.width) if abs(self._turn) == 90 else (like.width, like.height)
        right, bottom = (side % 2 for side in sides)
        if right or bottom:
            steps.append(graph.add("pad", f"iw+{right}:ih+{bottom}"))
            steps.append(graph.add("fillborders", f"right={right}:bottom={bottom}:mode=smear"))
        if like.format.name not in _FORMATS:
            steps.append(graph.add("format", _OTHERWISE))
        steps.append(graph.add("buffersink"))
        graph.link_nodes(*steps).configure()
        return graph


def open_movie(spec: str | os.PathLike[str], *, threads: int = 1, sound: bool = True) -> Movie:
    """Open a video file.

    Args:
        spec: its path.
        threads: for decoding.
        sound: whether its packets are delivered too.

    Raises:
        MissingPackageError: PyAV is not installed.
        SourceError: it is missing, empty, no video, damaged from its start, or may not be read. A video that ends
            too early raises nothing: what it holds is delivered, then `Movie.problem` says so.
    """
    path = Path(os.fsdecode(spec)).absolute()
    if path.is_dir():
        raise SourceError(f"{path} is a folder; expected a video file ({', '.join(CONTAINERS)})")
    demuxer = file_demuxer(path)
    if demuxer is None:
        raise SourceError(f"{path} is no video, or damaged; expected {', '.join(CONTAINERS)}")
    return Movie(path, demuxer, threads=threads, sound=sound)


def import_av() -> Any:
    """PyAV. Raises MissingPackageError where it isn't."""
    try:
        import av
        import av.filter
    except ImportError:
        raise MissingPackageError(
            "coding a video needs the package av, which is not installed; pip install 'uva-edge[video]'"
        ) from None
    return av


def is_frame(item: Any) -> bool:
    """Whether an item of a movie is a frame, and no packet of sound."""
    return isinstance(item, import_av().VideoFrame)


def picture(frame: Any) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] BGR of an `av.VideoFrame`, for a predictor or a sheet."""
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
