"""Local cameras (V4L2): by number, by device path, or by the name that the driver gives."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from uva_edge.errors import SourceError

from ..capture import Capture, open_camera
from .live import Latest
from .source import HINTS, Losses, Picture, Reader, Source

_NODE: Final = re.compile(r"(?:/dev/video)?([0-9]{1,4})")
_LINK: Final = "/dev/v4l/"
_PREFIXES: Final = ("camera:", "v4l2:")
_SYSFS: Final = Path("/sys/class/video4linux")


def is_camera(text: str) -> bool:
    """``0``, ``/dev/video0``, ``/dev/v4l/by-id/...`` or ``camera:NAME``."""
    return bool(_NODE.fullmatch(text)) or text.startswith((_LINK, *_PREFIXES))


def open_local_camera(text: str, max_frames: int | None, *, latest: bool) -> Source:
    number = camera_number(text)
    name = f"camera {number}"
    capture = open_camera(number, name)
    if capture is None:
        raise SourceError(f"{name} can't be opened; {HINTS['camera']}")
    losses = Losses()
    fps = capture.fps
    reader: Reader = Camera(capture, losses)
    if latest:
        reader = Latest(reader, losses)
    return Source(reader, "camera", name, fps=fps, live=True, max_frames=max_frames, losses=losses)


def camera_number(text: str) -> int:
    """The N of the device /dev/videoN that is meant.

    Raises:
        SourceError: there is none, or several have that name; the message lists all that are there.
    """
    if text.startswith(_LINK):
        node = os.path.realpath(text)
        match = _NODE.fullmatch(node)
        if match is None or not os.path.lexists(text):
            raise SourceError(f"{text} leads to no camera; {_told(_cameras())}")
        return int(match[1])
    match = _NODE.fullmatch(text)
    return int(match[1]) if match else _numbered(text.partition(":")[2].strip())


def _numbered(name: str) -> int:
    """The camera of that name, or else the only one whose name has it in it; capitals don't matter."""
    cameras, wanted = _cameras(), name.casefold()
    exact = [number for number, known in cameras if known.casefold() == wanted]
    fitting = exact or [number for number, known in cameras if wanted and wanted in known.casefold()]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        several = [camera for camera in cameras if camera[0] in fitting]
        raise SourceError(
            f"several cameras fit the name {name!r}; {_told(several)}; give a number, or a path below /dev/v4l/by-id"
        )
    raise SourceError(f"no camera fits the name {name!r}; {_told(cameras)}")


def _cameras() -> list[tuple[int, str]]:
    """(number, name) of every camera. Further nodes of one device (metadata, other formats) are left out."""
    found = []
    for place in _SYSFS.glob("video*") if _SYSFS.is_dir() else ():
        number = place.name.removeprefix("video")
        try:
            name = (place / "name").read_text("utf-8", "replace").strip()
            index = (
                (place / "index").read_text("ascii", "replace").strip() if (place / "index").exists() else "0"
            )
        except OSError:
            continue
        if number.isdigit() and index == "0":
            found.append((int(number), name))
    return sorted(found)


def _told(cameras: list[tuple[int, str]]) -> str:
    if not cameras:
        return "there is no camera here"
    return "there are " + ", ".join(f"{number} ({name})" for number, name in cameras)


class Camera:
    """A local camera. Its clock is the driver's time of capture, or else the time of arrival, from 0."""

    def __init__(self, capture: Capture, losses: Losses) -> None:
        self._capture, self._losses = capture, losses
        self._start: float | None = None
        self._last = 0.0
        self._driver_clock = False

    def read(self) -> Picture | None:
        found = self._capture.read()
        if found is None:
            return None
        image, stamp = found
        if self._start is None:
            self._driver_clock = stamp > 0
        if not self._driver_clock:
            stamp = time.monotonic()
        if self._start is None:
            self._start = self._last = stamp
        self._count_dropped(stamp - self._last)
        self._last = max(stamp, self._last)
        return Picture(image, stamp - self._start, self._capture.name)

    def _count_dropped(self, step: float) -> None:
        if self._capture.fps and 0 < step < 1e6:
            self._losses.dropped += max(0, round(step * self._capture.fps) - 1)

    def problem(self, frames: int, seconds: float) -> str | None:
        return f"{self._capture.name} stopped after {frames} frames: unplugged, or taken by another program?"

    def close(self) -> None:
        self._capture.close()
