"""Video files, and streams from the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from uva_edge.errors import OptionError, SourceError

from ..capture import Capture, open_file, open_url
from ..containers import missing_bytes, shortfall
from .live import Latest, Reconnecting, Retry
from .source import HINTS, Losses, Picture, Reader, Source

_URL_SCHEMES: Final = ("http", "https", "rtp", "rtsp", "rtsps", "udp")
_RETRY: Final = Retry()


def open_video(path: Path, demuxer: str, max_frames: int | None, threads: int) -> Source:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise SourceError(f"{str(path)!r}: OpenCV opens only names in UTF-8; rename the file") from None
    capture = open_file(str(path), path.name, demuxer, threads)
    if capture is None:
        lost = missing_bytes(path, demuxer)
        why = f"{lost} bytes at its end are missing" if lost else "it has no video, or was never finished"
        raise SourceError(f"{path} can't be opened as a video: {why}; {HINTS['video']}")
    fps, count = capture.fps, capture.frame_count
    reader = Video(capture, count, path=path, demuxer=demuxer)
    return Source(reader, "video", path.name, path=path, fps=fps, frame_count=count, max_frames=max_frames)


def open_stream(
    url: str, scheme: str, max_frames: int | None, threads: int, *, latest: bool, reconnect: bool
) -> Source:
    """A URL. One that is live is opened again when it ends, if `reconnect` says so."""
    name = without_secrets(url)
    if scheme not in _URL_SCHEMES:
        raise SourceError(
            f"{name!r}: the scheme {scheme} is not supported; expected one of {', '.join(_URL_SCHEMES)}, "
            "and for a local file its plain path"
        )
    capture = open_url(url, name, threads) if url.isascii() and url.isprintable() else None
    if capture is None:
        raise SourceError(f"{name!r} can't be opened as a video; {HINTS['stream']}")
    live = capture.frame_count is None or not scheme.startswith("http")
    if latest and not live:
        capture.close()
        raise OptionError(f"the latest frame is of what is live; {name!r} is a file, whose frames all count")
    fps, count, losses = capture.fps, None if live else capture.frame_count, Losses()
    reader: Reader = Video(capture, count, live=live)

    def connect() -> Reader | None:
        again = open_url(url, name, threads)
        return None if again is None else Video(again, None, live=True)

    if live and reconnect:
        reader = Reconnecting(reader, connect, name, losses, _RETRY)
    if latest:
        reader = Latest(reader, losses)
    return Source(
        reader, "stream", name, fps=fps, frame_count=count, live=live, max_frames=max_frames, losses=losses
    )


def without_secrets(url: str) -> str:
    """A URL as it may be shown: free of user, password and query."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url).partition("?")[0]


class Video:
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
