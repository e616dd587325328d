"""cv2.VideoCapture, opened with the least it needs and kept quiet.

What a local file may do: FFmpeg is held to the one demuxer that the file's first bytes name, and to the
protocol `file`, so a file opens nothing but itself. The network is used only for a URL that the caller gave,
and a URL's stream can't reach local files.

Process-wide settings: OpenCV takes FFmpeg's options and log level from environment variables. They are set
while a video is being opened, under a lock, and then put back. OPENCV_FFMPEG_CAPTURE_OPTIONS of the user is
kept and comes last, so it wins; so does OPENCV_FFMPEG_LOGLEVEL. FFmpeg keeps the log level until OpenCV opens
the next video. The libraries' own messages are silenced because every failure is reported by an exception or
by `Source.problem`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SourceError

_URL_OPTIONS: Final = (
    "rtsp_flags;prefer_tcp|protocol_whitelist;crypto,data,http,httpproxy,https,rtp,rtsp,rtsps,tcp,tls,udp"
)
_URL_TIMEOUT_MS: Final = 10_000
_MAX_PIXELS: Final = 1 << 27  # four times 8K
_QUIET: Final = "-8"  # AV_LOG_QUIET

_opening = threading.Lock()
_silence = threading.Lock()
_silencers = 0
_log_level = 0


class Capture:
    """An opened video, stream or camera. `fps`, `frame_count`: as declared, None where it makes no sense."""

    def __init__(self, capture: Any, name: str) -> None:
        import cv2

        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > _MAX_PIXELS:
            capture.release()
            raise SourceError(
                f"{name} has frames of {width:.0f}x{height:.0f}; at most {_MAX_PIXELS} pixels are read, "
                "scale it down first"
            )
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps: float | None = fps if 0 < fps <= 1000 else None
        self.frame_count: int | None = int(count) if 0 < count < 1e12 else None
        self.name = name
        self._capture = capture

    def read(self) -> tuple[NDArray[np.uint8], float] | None:
        """The next image, uint8 [H, W, 3] BGR, and its time stamp in seconds; None when there is no more."""
        import cv2

        try:
            with silenced():
                ok, image = self._capture.read()
        except cv2.error:
            return None
        if not ok or image is None or not image.size:
            return None
        return image, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def close(self) -> None:
        self._capture.release()


def open_file(path: str, name: str, demuxer: str, threads: int) -> Capture | None:
    """A local file, read by that demuxer (or one of several, comma-separated); None if it can't be opened."""
    return _open(path, name, f"format_whitelist;{demuxer}|protocol_whitelist;file", threads)


def open_url(url: str, name: str, threads: int) -> Capture | None:
    """A network stream; None if nothing answers in 10 s or it is no video."""
    import cv2

    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    return _open(url, name, _URL_OPTIONS, threads, [v for limit in limits for v in (limit, _URL_TIMEOUT_MS)])


def open_camera(number: int, name: str) -> Capture | None:
    """A local camera; None if there is none of that number, or it is busy."""
    import cv2

    with silenced():
        capture = cv2.VideoCapture(number)
    return Capture(capture, name) if capture.isOpened() else None


def _open(address: str, name: str, options: str, threads: int, extra: Sequence[int] = ()) -> Capture | None:
    import cv2

    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getBackends():
        raise SourceError(
            f"{name}: this build of OpenCV has no FFmpeg, so it reads no videos; "
            "pip install opencv-python-headless, or give a folder of images"
        )
    own = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    variables = {
        "OPENCV_FFMPEG_CAPTURE_OPTIONS": f"{options}|{own}" if own else options,
        "OPENCV_FFMPEG_LOGLEVEL": os.environ.get("OPENCV_FFMPEG_LOGLEVEL", _QUIET),
    }
    parameters = [cv2.CAP_PROP_N_THREADS, threads, *extra]
    with _opening, _environment(variables), silenced():
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters)
    return Capture(capture, name) if capture.isOpened() else None


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def silenced() -> Iterator[None]:
    """OpenCV logs nothing meanwhile. Counted, so that threads put back the level from before the first."""
    import cv2

    global _silencers, _log_level
    set_level = getattr(cv2, "setLogLevel", lambda level: level)  # not every build has it
    with _silence:
        if _silencers == 0:
            _log_level = set_level(0)
        _silencers += 1
    try:
        yield
    finally:
        with _silence:
            _silencers -= 1
            if _silencers == 0:
                set_level(_log_level)
