"""What a source is, told by how it is written; then it is opened.

A local file is told by its first bytes, not by its name: playlists (HLS, SDP, ffconcat ...), which would make
FFmpeg open other files or connections, are refused, and only the containers of `containers` pass. How FFmpeg
is confined and silenced is told in `capture`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from uva_edge.errors import OptionError, SourceError

from ..containers import demuxer_of, playlist_kind
from .bags import is_bag, open_bag
from .camera import is_camera, open_local_camera
from .images import is_pattern, open_folder, open_image, open_pattern, unreadable
from .raw import STDIN, RawFormat, open_raw
from .source import Source
from .video import open_stream, open_video

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MAX_FPS: Final = 1000.0


def open_source(
    spec: str | os.PathLike[str],
    *,
    max_frames: int | None = None,
    threads: int = 1,
    fps: float | None = None,
    raw: RawFormat | None = None,
    topic: str | None = None,
    latest: bool = False,
    reconnect: bool = True,
) -> Source:
    """Open a source of frames.

    Args:
        spec: a video file; an image file; a folder, whose images are read in natural order (frame2 before
            frame10), other files being ignored; images by a pattern, ``frames/%05d.png`` or ``frames/*.png``; a camera
            as its number, as /dev/videoN, as a path below /dev/v4l or by its name, ``camera:NAME`` (for a file named
            "0" write "./0"); a URL: http, https, rtp, rtsp, rtsps or udp; a bag of ROS 1 or 2, also as
            ``bag:PATH?topic=TOPIC``; or, with `raw`, ``-`` for standard input.
        max_frames: stop after so many, 1 or more.
        threads: for decoding a video.
        fps: the clock of what has none: images and raw video.
        raw: the spec, a pipe or a file, holds raw video of this layout.
        topic: of a bag; needed only where several topics have images.
        latest: of a live source (camera, URL, pipe): read it all the time, and yield the newest frame whenever one is
            asked for. What was passed over is counted in `Source.dropped`.
        reconnect: open a live URL again when it is lost, until nothing came for a minute. See `Source.losses`.

    Raises:
        OptionError: an argument that is not allowed, or that means nothing for this source.
        SourceError: it is missing, empty, not what can be read, or not permitted. While iterating: an image
            of a folder is damaged. A video that ends too early raises nothing: what it holds is delivered,
            then `Source.problem` says so.
        MissingPackageError: a bag, and rosbags is not installed.
    """
    if not isinstance(spec, (str, os.PathLike)):
        raise OptionError(f'source must be a path, a URL, or a camera number as text ("0"), got {spec!r}')
    for name, value in (("max_frames", max_frames), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise OptionError(f"{name} must be a whole number, 1 or more, got {value!r}")
    if fps is not None and not 0 < fps <= _MAX_FPS:
        raise OptionError(f"fps must be above 0 and at most {_MAX_FPS:g}, got {fps!r}")
    text = os.fsdecode(spec)
    if raw is not None:
        _expect_none(text, "raw video", topic=topic)
        return open_raw(text, raw, fps=fps, max_frames=max_frames, latest=latest)
    if text == STDIN:
        raise OptionError(
            "standard input has no header; say its format and size (--format nv12 --size 1920x1080)"
        )
    if is_camera(text):
        _expect_none(text, "a camera", topic=topic, fps=fps)
        return open_local_camera(text, max_frames, latest=latest)
    if scheme := _SCHEME.match(text):
        _expect_none(text, "a URL", topic=topic, fps=fps)
        return open_stream(text, scheme[1].lower(), max_frames, threads, latest=latest, reconnect=reconnect)
    if latest:
        raise OptionError(f"the latest frame is of what is live; {text} is a file, whose frames all count")
    if is_bag(text):
        _expect_none(text, "a bag", fps=fps)
        return open_bag(text, topic, max_frames)
    _expect_none(text, "no bag", topic=topic)
    return (
        open_pattern(text, max_frames, fps)
        if is_pattern(text)
        else _open_path(text, max_frames, threads, fps)
    )


def is_folder(spec: str) -> bool:
    """Whether `open_source` takes this for a folder of files: it is there, and not meant as a camera, URL or bag."""
    return os.path.isdir(spec) and not (is_camera(spec) or _SCHEME.match(spec) or is_bag(spec))


def _expect_none(text: str, kind: str, *, topic: str | None = None, fps: float | None = None) -> None:
    if topic is not None:
        raise OptionError(f"a topic is of a ROS bag; {text} is {kind}")
    if fps is not None:
        raise OptionError(f"fps is for images and raw video, which have no clock; {text} is {kind}")


def _open_path(text: str, max_frames: int | None, threads: int, fps: float | None) -> Source:
    if not text or "\0" in text:
        raise SourceError(f"{text!r} is no path; give a video, an image, a folder, a camera number or a URL")
    path = Path(text).absolute()
    if path.is_dir():
        return open_folder(path, max_frames, fps)
    demuxer = file_demuxer(path)
    if demuxer:
        _expect_none(text, "a video", fps=fps)
        return open_video(path, demuxer, max_frames, threads)
    return open_image(path, max_frames)


def file_demuxer(path: Path) -> str | None:
    """The FFmpeg demuxers that may read this file, as `demuxer_of` names them; None for what is no video.

    Raises:
        SourceError: there is no such file, it may not be read, it is empty, no plain file, or a playlist.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(
                f"{path} is a device, pipe or socket; give a file, a folder or a camera number, or for raw video its "
                "format and size"
            )
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise SourceError(f"{path} is empty (0 bytes); copy or record it again")
    playlist = playlist_kind(head)
    if playlist:
        raise SourceError(
            f"{path} is a playlist ({playlist}), and a local file may not open other files or connections; "
            "give the video itself, or the URL of the stream"
        )
    return demuxer_of(head)
