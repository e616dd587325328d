"""Images of ROS bags: ROS 1 (.bag) and ROS 2 (a folder, or its .mcap or .db3), one topic, in the order of recording.

Read by the library rosbags (extra ``ros``), which needs no ROS. Pixels are used as they are recorded wherever
`network_input` knows their format; JPEG and PNG are decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import MissingPackageError, OptionError, SourceError
from uva_edge.preprocess import Color
from uva_edge.preprocess import Frame as Pixels

from .images import decoded
from .source import HINTS, Picture, Source

_SPEC: Final = re.compile(r"bag:(.*?)(?:\?topic=(.*))?", re.DOTALL)
_MAGIC: Final = (b"#ROSBAG V2.0", b"\x89MCAP0\r\n")
_IMAGE: Final = "sensor_msgs/msg/Image"
_COMPRESSED: Final = "sensor_msgs/msg/CompressedImage"
_MAX_PIXELS: Final = 1 << 27

# Encoding of sensor_msgs/Image: our format, the bytes of a pixel, and which of them are used, in which order.
_PACKED: Final[dict[str, tuple[Color, int, slice]]] = {
    "rgb8": ("rgb", 3, slice(None)),
    "bgr8": ("bgr", 3, slice(None)),
    "8UC3": ("bgr", 3, slice(None)),
    "rgba8": ("rgb", 4, slice(3)),
    "bgra8": ("bgr", 4, slice(3)),
    "mono8": ("gray", 1, slice(None)),
    "8UC1": ("gray", 1, slice(None)),
    "yuv422_yuy2": ("yuyv", 2, slice(None)),
    "yuyv": ("yuyv", 2, slice(None)),
    "yuv422": ("yuyv", 2, slice(None, None, -1)),  # U Y V Y
    "uyvy": ("yuyv", 2, slice(None, None, -1)),
}
_PLANAR: Final[dict[str, slice]] = {
    "nv12": slice(None),
    "nv21": slice(None, None, -1),
}  # order of the chroma pair


def is_bag(text: str) -> bool:
    """``bag:PATH``, a file of ROS 1 or MCAP (by its first bytes), or a folder of ROS 2."""
    if text.startswith("bag:"):
        return True
    path = Path(text)
    try:
        if path.is_dir():
            return (path / "metadata.yaml").is_file()
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(16).startswith(_MAGIC)
    except (OSError, ValueError):
        return False


def open_bag(text: str, topic: str | None, max_frames: int | None) -> Source:
    """The images of one topic; it need not be named where the bag has only one.

    Raises:
        MissingPackageError: rosbags is not installed.
        OptionError: the topic is named twice.
        SourceError: the bag is damaged, or has no such topic (the message lists those with images).
    """
    match = _SPEC.fullmatch(text)
    if match is not None:
        if match[2] and topic:
            raise OptionError(f"the topic is given twice: {match[2]} and {topic}")
        text, topic = match[1], match[2] or topic
    path = Path(text).absolute()
    reader = _Bag(path, topic)
    try:
        color = reader.color
        return Source(
            reader, "bag", f"{path.name} {reader.topic}", path=path, fps=reader.fps, frame_count=reader.count,
            max_frames=max_frames, color=color,
        )  # fmt: skip
    except BaseException:
        reader.close()
        raise


class _Bag:
    """`color`: of all pictures. `count`: messages of the topic. `fps`: over the length of the bag."""

    def __init__(self, path: Path, topic: str | None) -> None:
        self._path = path
        self._read_messages = 0
        self._damage = ""
        self._start: int | None = None
        try:
            self._bag = _opened(path)
            self._bag.open()
        except Exception as error:  # of a parser that was given any bytes
            raise _unreadable(path, error) from None
        try:
            connections = self._chosen(topic)
            self.topic: str = connections[0].topic
            self.count = sum(connection.msgcount for connection in connections)
            seconds = self._bag.duration / 1e9
            rate = self.count / seconds if seconds > 0 else 0.0
            self.fps = rate if 0 < rate <= 1000 else None
            self._messages: Iterator[Any] = self._bag.messages(connections)
            first = self._next()
        except BaseException:
            self.close()
            raise
        self.color: Color = first[1] if first else "bgr"
        self._first = first

    def _chosen(self, topic: str | None) -> list[Any]:
        with_images = [item for item in self._bag.connections if item.msgtype in (_IMAGE, _COMPRESSED)]
        topics = sorted({item.topic for item in with_images})
        if topic is None and len(topics) == 1:
            topic = topics[0]
        chosen = [item for item in with_images if item.topic == topic]
        if chosen:
            return chosen
        have = f"its topics with images are {', '.join(topics)}" if topics else "it has no topics with images"
        asked = "several topics have images" if topic is None else f"no images of the topic {topic}"
        raise SourceError(f"{self._path}: {asked if topics or topic else 'no images'}; {have}")

    def read(self) -> Picture | None:
        found, self._first = (self._first, None) if self._first else (self._next(), None)
        if found is None:
            return None
        pixels, color, stamp = found
        if color != self.color:
            raise SourceError(
                f"{self._path}: {self.topic} changes from {self.color} to {color} after {self._read_messages - 1} "
                "messages; expected one encoding"
            )
        if self._start is None:
            self._start = stamp
        return Picture(pixels, (stamp - self._start) / 1e9, f"{self._path.name} {self.topic}", stamp)

    def _next(self) -> tuple[Pixels, Color, int] | None:
        """The pixels, their format and the stamp of the header (of the recording, where that is zero)."""
        if self._damage:
            return None
        try:
            connection, recorded, data = next(self._messages)
            message = self._bag.deserialize(data, connection.msgtype)
            if connection.msgtype == _IMAGE:
                pixels, color = image_pixels(message)
            else:
                pixels, color = _decompressed(message), "bgr"
        except StopIteration:
            return None
        except SourceError as error:
            raise SourceError(f"{self._path}: {error}") from None
        except Exception as error:  # of a parser that was given any bytes
            self._damage = _words(error)
            return None
        self._read_messages += 1
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        return pixels, color, int(stamp or recorded)

    def problem(self, frames: int, seconds: float) -> str | None:
        if self._damage:
            return f"read {frames} of {self.count} messages; the bag is damaged ({self._damage})"
        if frames < self.count:
            return f"read {frames} of {self.count} messages; the bag is truncated or damaged"
        return None

    def close(self) -> None:
        try:
            self._bag.close()
        except Exception:  # of a bag that is open no more, or whose end is damaged: nothing is lost by it
            return


def _opened(path: Path) -> Any:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise MissingPackageError(
            "reading ROS bags needs the package rosbags, which is not installed; pip install 'uva-edge[ros]'"
        ) from None
    # Older bags of ROS 2 don't say what their messages are made of; images are the same in all distributions.
    return AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, MissingPackageError):
        return error
    if not path.exists():
        return SourceError(f"{path} does not exist; check the path")
    return SourceError(f"{path} can't be read as a ROS bag: {_words(error)}; {HINTS['bag']}")


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def image_pixels(message: Any) -> tuple[Pixels, Color]:
    """The pixels of a sensor_msgs/Image without a copy, and their format.

    Raises:
        SourceError: its encoding is not supported, or its fields contradict each other.
    """
    height, width, step, encoding = (
        int(message.height),
        int(message.width),
        int(message.step),
        message.encoding,
    )
    data = np.asarray(message.data, np.uint8)
    if encoding not in _PACKED and encoding not in _PLANAR:
        known = ", ".join([*_PACKED, *_PLANAR])
        raise SourceError(f"images of encoding {encoding!r} are not supported; expected one of {known}")
    size = _PACKED[encoding][1] if encoding in _PACKED else 1
    rows = height if encoding in _PACKED else height + (height + 1) // 2
    row = width * size if encoding in _PACKED else 2 * ((width + 1) // 2)
    if not (0 < height * width <= _MAX_PIXELS and step >= row and len(data) >= rows * step):
        raise SourceError(
            f"an image of {width}x{height} in {encoding} needs {rows} rows of {row} bytes or more; got a step of "
            f"{step} and {len(data)} bytes"
        )
    lines = data[: rows * step].reshape(rows, step)
    if encoding in _PACKED:
        color, size, order = _PACKED[encoding]
        pixels = lines[:, :row].reshape(height, width, size)[:, :, order]
        return pixels, color
    chroma = lines[height:, :row].reshape(rows - height, row // 2, 2)[:, :, _PLANAR[encoding]]
    return (lines[:height, :width], chroma), "nv12"


def _decompressed(message: Any) -> NDArray[np.uint8]:
    image = decoded(np.asarray(message.data, np.uint8))
    if image is None:
        raise SourceError(
            f"a compressed image of format {message.format!r} can't be decoded; expected JPEG or PNG"
        )
    return image
