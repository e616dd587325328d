"""Where frames come from: a video, an image, a folder of images, a camera, or a network stream.

A local file is told by its first bytes, not by its name: playlists (HLS, SDP, ffconcat ...), which would make
FFmpeg open other files or connections, are refused, and only the containers of `containers` pass. How FFmpeg
is confined and silenced is told in `capture`.
"""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError, SourceError

from .capture import Capture, open_camera, open_file, open_url, silenced
from .containers import CONTAINERS, demuxer_of, missing_bytes, playlist_kind, shortfall

Kind = Literal["video", "image", "images", "camera", "stream"]

NOMINAL_FPS: Final = 25.0
"""The clock of a source that has none, such as a folder of images."""

IMAGE_SUFFIXES: Final = frozenset(
    (".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
     ".webp")
)  # fmt: skip

_CAMERA: Final = re.compile(r"(?:/dev/video)?([0-9]{1,4})")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_URL_SCHEMES: Final = ("http", "https", "rtp", "rtsp", "rtsps", "udp")
_MAX_IMAGE_BYTES: Final = 1 << 29
_MAX_STEP_S: Final = 1e6  # a longer way from one frame to the next is a broken time stamp
_NEITHER: Final = f"expected a video ({', '.join(CONTAINERS)}) or an image; this is neither, or damaged"
_HINTS: Final[dict[Kind, str]] = {
    "video": "copy or record it again",
    "image": "it is damaged or not an image; copy it again, or convert it to PNG or JPEG",
    "images": "copy its images again",
    "camera": "is it plugged in, used by another program, or not permitted (group video)?",
    "stream": "check the address, the user name and password, and that the sender is on",
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. `index`: from 0. `time`: seconds from the start, never decreasing. `image`: uint8
    [H, W, 3], BGR. `name`: the image file's name, or the source's."""

    index: int
    time: float
    image: NDArray[np.uint8]
    name: str


@dataclass(frozen=True, eq=False)
class Picture:
    """What a reader gives: uint8 [H, W, 3] BGR, the time that its container or driver says, its name or ""."""

    image: NDArray[np.uint8]
    seconds: float | None
    name: str


class Reader(Protocol):
    """Where a `Source` takes its pictures from, one after the other."""

    def read(self) -> Picture | None:
        """The next picture, or None at the end."""

    def problem(self, frames: int, seconds: float) -> str | None:
        """What is wrong with having ended after so many frames, of which the last was at `seconds`."""

    def close(self) -> None: ...


class Source:
    """Frames in their order, once: iterate over it, and close it (or use `with`). Made by `open_source`.

    The first frame is decoded when the source is opened, so a source that exists has at least one. No frame
    is skipped: every one that OpenCV delivers is yielded.

    Attributes:
        kind: "video", "image", "images" (a folder), "camera" or "stream" (a URL).
        name: for people: the file's name, "camera 0", or the URL without its password and query.
        path: the file or folder, absolute; None for a camera or URL.
        fps: declared frames per second, or None.
        size: (width, height) of the first frame; images of a folder may differ from it.
        frame_count: frames that the container declares, which may be off by some; None if it doesn't say, and
            for live sources.
        live: its end is not known beforehand.
        problem: after iteration, in words, why fewer frames came than were declared; else None.
        dropped: for a camera, about how many frames its driver left out because they were read too slowly,
            judged by the gaps between its time stamps; else 0.
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
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.path = path
        self.fps = fps
        self.frame_count = frame_count
        self.live = live
        self.problem: str | None = None
        self.dropped = 0
        self._reader = reader
        self._max_frames = max_frames
        self._state: Literal["fresh", "read", "closed"] = "fresh"
        try:
            first = reader.read()
            if first is None:
                why = None if live else reader.problem(0, 0.0)
                raise SourceError(f"{path or name}: {why or 'no frame can be decoded'}; {_HINTS[kind]}")
        except BaseException:
            reader.close()
            raise
        self._first: Picture | None = first
        self.size: tuple[int, int] = (first.image.shape[1], first.image.shape[0])

    @property
    def expected(self) -> int | None:
        """How many frames iteration should yield: those declared, at most `max_frames`; None if unknown."""
        known = [count for count in (self.frame_count, self._max_frames) if count is not None]
        return min(known, default=None)

    @property
    def truncated(self) -> bool:
        """After iteration: a file ended or failed before the frames that it declares."""
        return self.problem is not None and not self.live

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
            yield Frame(index, seconds, picture.image, picture.name)
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
                if self.kind == "camera" and self.fps:
                    self.dropped += max(0, round((stamp - last) * self.fps) - 1)
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


def open_source(spec: str | os.PathLike[str], *, max_frames: int | None = None, threads: int = 1) -> Source:
    """Open a source of frames.

    Args:
        spec: a video file; an image file; a folder, whose images are read in natural order (frame2 before
            frame10), other files being ignored; a camera as its number or /dev/videoN (for a file named "0"
            write "./0"); or a URL: http, https, rtp, rtsp, rtsps or udp.
        max_frames: stop after so many, 1 or more.
        threads: for decoding a video.

    Raises:
        OptionError: an argument that is not allowed.
        SourceError: it is missing, empty, not what can be read, or not permitted. While iterating: an image
            of a folder is damaged. A video that ends too early raises nothing: what it holds is delivered,
            then `Source.problem` says so.
    """
    if not isinstance(spec, (str, os.PathLike)):
        raise OptionError(f'source must be a path, a URL, or a camera number as text ("0"), got {spec!r}')
    for name, value in (("max_frames", max_frames), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise OptionError(f"{name} must be a whole number, 1 or more, got {value!r}")
    text = os.fsdecode(spec)
    camera, scheme = _CAMERA.fullmatch(text), _SCHEME.match(text)
    if camera:
        return _open_camera(int(camera[1]), max_frames)
    if scheme:
        return _open_url(text, scheme[1].lower(), max_frames, threads)
    return _open_path(text, max_frames, threads)


def is_folder(spec: str) -> bool:
    """Whether `open_source` takes this for a folder: it is there, and not meant as a camera or a URL."""
    return not (_CAMERA.fullmatch(spec) or _SCHEME.match(spec)) and os.path.isdir(spec)


def _open_path(text: str, max_frames: int | None, threads: int) -> Source:
    if not text or "\0" in text:
        raise SourceError(f"{text!r} is no path; give a video, an image, a folder, a camera number or a URL")
    path = Path(text).absolute()
    try:
        if os.path.isdir(path):
            return _open_folder(path, max_frames)
    except OSError as error:
        raise _unreadable(path, error) from None
    demuxer = file_demuxer(path)
    if demuxer:
        return _open_video(path, demuxer, max_frames, threads)
    return Source(_Images([path]), "image", path.name, path=path, frame_count=1, max_frames=max_frames)


def file_demuxer(path: Path) -> str | None:
    """The FFmpeg demuxers that may read this file, as `demuxer_of` names them; None for what is no video.

    Raises:
        SourceError: there is no such file, it may not be read, it is empty, no plain file, or a playlist.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{path} is a device, pipe or socket; give a file, a folder or a camera number")
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not head:
        raise SourceError(f"{path} is empty (0 bytes); copy or record it again")
    playlist = playlist_kind(head)
    if playlist:
        raise SourceError(
            f"{path} is a playlist ({playlist}), and a local file may not open other files or connections; "
            "give the video itself, or the URL of the stream"
        )
    return demuxer_of(head)


def _open_folder(path: Path, max_frames: int | None) -> Source:
    files = sorted((entry for entry in path.iterdir() if is_image(entry)), key=_natural_key)
    if not files:
        raise SourceError(
            f"{path} is a folder without images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return Source(
        _Images(files), "images", path.name, path=path, frame_count=len(files), max_frames=max_frames
    )


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural_key(path: Path) -> tuple[list[str | int], str]:
    # The split alternates text and digits, so a number is only ever compared with a number.
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def _open_video(path: Path, demuxer: str, max_frames: int | None, threads: int) -> Source:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise SourceError(f"{str(path)!r}: OpenCV opens only names in UTF-8; rename the file") from None
    capture = open_file(str(path), path.name, demuxer, threads)
    if capture is None:
        lost = missing_bytes(path, demuxer)
        why = f"{lost} bytes at its end are missing" if lost else "it has no video, or was never finished"
        raise SourceError(f"{path} can't be opened as a video: {why}; {_HINTS['video']}")
    fps, count = capture.fps, capture.frame_count
    reader = _Video(capture, count, path=path, demuxer=demuxer)
    return Source(reader, "video", path.name, path=path, fps=fps, frame_count=count, max_frames=max_frames)


def _open_url(url: str, scheme: str, max_frames: int | None, threads: int) -> Source:
    name = re.sub(r"(?<=://)[^/?#]*@", "", url).partition("?")[0]
    if scheme not in _URL_SCHEMES:
        raise SourceError(
            f"{name!r}: the scheme {scheme} is not supported; expected one of {', '.join(_URL_SCHEMES)}, "
            "and for a local file its plain path"
        )
    capture = open_url(url, name, threads) if url.isascii() and url.isprintable() else None
    if capture is None:
        raise SourceError(f"{name!r} can't be opened as a video; {_HINTS['stream']}")
    live = capture.frame_count is None or not scheme.startswith("http")
    count = None if live else capture.frame_count
    reader = _Video(capture, count, live=live)
    return Source(
        reader, "stream", name, fps=capture.fps, frame_count=count, live=live, max_frames=max_frames
    )


def _open_camera(number: int, max_frames: int | None) -> Source:
    name = f"camera {number}"
    capture = open_camera(number, name)
    if capture is None:
        raise SourceError(f"{name} can't be opened; {_HINTS['camera']}")
    return Source(_Camera(capture), "camera", name, fps=capture.fps, live=True, max_frames=max_frames)


class _Video:
    """A video file (which has a path and a demuxer) or a network stream."""

    def __init__(
        self,
        capture: Capture,
        frame_count: int | None,
        *,
        path: Path | None = None,
        demuxer: str = "",
        live: bool = False,
    ) -> None:
        self._capture, self._frame_count = capture, frame_count
        self._path, self._demuxer, self._live = path, demuxer, live

    def read(self) -> Picture | None:
        found = self._capture.read()
        return None if found is None else Picture(*found, self._capture.name)

    def problem(self, frames: int, seconds: float) -> str | None:
        if self._live:
            return f"{self._capture.name} stopped after {frames} frames: ended by the sender, or cut off"
        lost = missing_bytes(self._path, self._demuxer) if self._path else 0
        return shortfall(frames, seconds, declared=self._frame_count, fps=self._capture.fps, lost=lost)

    def close(self) -> None:
        self._capture.close()


class _Camera:
    """A local camera. Its clock is the driver's time of capture, or else the time of arrival, from 0."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._start: float | None = None
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
            self._start = stamp
        return Picture(image, stamp - self._start, self._capture.name)

    def problem(self, frames: int, seconds: float) -> str | None:
        return f"{self._capture.name} stopped after {frames} frames: unplugged, or taken by another program?"

    def close(self) -> None:
        self._capture.close()


class _Images:
    """Image files, one frame each."""

    def __init__(self, files: list[Path]) -> None:
        self._files = iter(files)

    def read(self) -> Picture | None:
        path = next(self._files, None)
        return None if path is None else Picture(_read_image(path), None, path.name)

    def problem(self, frames: int, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        self._files = iter(())


def _read_image(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] BGR, turned as its EXIF orientation says. Read by Python, so any file name will do."""
    import cv2

    try:
        length = path.stat().st_size
        if length > _MAX_IMAGE_BYTES:
            kind = "an image" if path.suffix.lower() in IMAGE_SUFFIXES else "what is not a known video"
            raise SourceError(f"{path} has {length} bytes; {kind} may have {_MAX_IMAGE_BYTES} at most")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not data:
        raise SourceError(f"{path} is empty (0 bytes); copy or record it again")
    # libpng reports a cut file on stderr, past every log level, so it is not asked.
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]:
        raise SourceError(f"{path} is truncated: it lacks the end of a PNG; copy it again")
    try:
        with silenced():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        why = _HINTS["image"] if path.suffix.lower() in IMAGE_SUFFIXES else _NEITHER
        raise SourceError(f"{path} can't be decoded; {why}")
    return image.astype(np.uint8, copy=False)


def _unreadable(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path} does not exist; check the path")
    if isinstance(error, PermissionError):
        return SourceError(f"{path} may not be read (permission denied); change its mode or its owner")
    return SourceError(f"{path} can't be read: {error.strerror or error}")
