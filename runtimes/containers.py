"""What a local file is, told by its first bytes: a video container, a playlist, or neither; and is it whole?

FFmpeg would guess by content and by extension among some three hundred formats, several of which open other
files or the network. This table is the short list that `sources` lets through, each to its one demuxer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

CONTAINERS: Final = (
    "MP4", "MOV", "MKV", "WebM", "AVI", "MPEG-TS", "MPEG-PS", "FLV", "ASF/WMV", "Ogg", "GIF", "IVF", "Y4M",
    "raw H.264/H.265",
)  # fmt: skip

_MOV_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_MAGIC: Final = (
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (b"OggS", "ogg"),
    (b"GIF8", "gif"),
    (b"DKIF", "ivf"),
    (b"YUV4MPEG2", "yuv4mpegpipe"),
    (b"\0\0\1\xba", "mpeg"),
    (b"\0\0\1", "h264,hevc,m4v,mpegvideo"),
    (b"\0\0\0\1", "h264,hevc,m4v,mpegvideo"),
)
_PLAYLISTS: Final = (
    (b"#extm3u", "HLS or M3U"),
    (b"ffconcat", "FFmpeg concat"),
    (b"v=0", "SDP"),
    (b"[playlist]", "PLS"),
    (b"[reference]", "ASX"),
    (b"rtsptext", "RTSP redirect"),
    (b"<asx", "ASX"),
    (b"<?xml", "XML, such as DASH, SMIL or XSPF"),
    (b"<mpd", "DASH"),
    (b"<smil", "SMIL"),
    (b"http://", "a list of addresses"),
    (b"https://", "a list of addresses"),
    (b"rtsp://", "a list of addresses"),
)
_MAX_ELEMENTS: Final = 65536
_TOLERATED_LOSS: Final = 0.1
_MATROSKA_SEGMENT: Final = 0x18538067


def demuxer_of(head: bytes) -> str | None:
    """The FFmpeg demuxers (comma-separated names) that may read a file with this beginning (400 bytes or
    more if the file has them); None for what is not a video container."""
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for packet, first in ((188, 0), (192, 4)):  # plain, and with the time stamps of Blu-ray and AVCHD
        if [head[first + packet * n : first + packet * n + 1] for n in range(3)] == [b"G"] * 3:
            return "mpegts"
    return next((demuxer for magic, demuxer in _MAGIC if head.startswith(magic)), None)


def playlist_kind(head: bytes) -> str | None:
    """For a file that names other media instead of holding any: what kind it looks like."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for start, kind in _PLAYLISTS if text.startswith(start)), None)


def missing_bytes(path: Path, demuxer: str) -> int:
    """How many bytes a file is shorter than its own headers say.

    0 if it is whole, and if that is not known: only MP4/MOV, AVI and Matroska state their length, and not
    when a recording was never finished. Reads the headers of the outermost elements.
    """
    walk = {"mov": _mov_ends, "avi": _avi_ends, "matroska": _matroska_ends}.get(demuxer)
    if walk is None:
        return 0
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            ends = walk(file)
            for _, end in zip(range(_MAX_ELEMENTS), ends, strict=False):
                if end >= length:
                    return end - length
                file.seek(end)
    except OSError:
        pass
    return 0


def shortfall(
    frames: int, seconds: float, *, declared: int | None, fps: float | None, lost: int
) -> str | None:
    """Truncated or damaged? In words, or None. Two rules, for frame counts of containers are often wrong.

    1. A container that states its length in bytes and is shorter has been cut: any missing frame counts.
    2. Otherwise both the frames and the time covered must fall short by more than a tenth. Counts are
       often duration x rate, and a longer sound track, a variable rate or a trimmed start inflate them.

    Args:
        frames, seconds: how many were decoded, and the time of the last.
        declared, fps: what the container says, if it does.
        lost: `missing_bytes`.
    """
    if lost and (declared is None or frames < declared):
        of = "" if declared is None else f" of {declared}"
        return f"decoded {frames}{of} frames; the file is truncated or damaged ({lost} bytes are missing)"
    if declared is None or frames >= declared * (1 - _TOLERATED_LOSS):
        return None
    if fps and seconds + 1 / fps >= declared / fps * (1 - _TOLERATED_LOSS):
        return None
    return f"decoded {frames} of {declared} frames; the file is truncated or damaged"


# Each walker yields where an element ends, and expects the file to stand there when it goes on.


def _mov_ends(file: BinaryIO) -> Iterator[int]:
    while True:
        start = file.tell()
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or size < 8:  # 0 means up to the end of the file
            return
        yield start + size


def _avi_ends(file: BinaryIO) -> Iterator[int]:
    while True:
        start = file.tell()
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or size == 0:
            return
        yield start + 8 + size


def _matroska_ends(file: BinaryIO) -> Iterator[int]:
    while True:
        start = file.tell()
        head = file.read(16)
        identity, id_length = _vint(head, keep_marker=True)
        size, size_length = _vint(head[id_length:], keep_marker=False)
        if not id_length or not size_length or size == (1 << 7 * size_length) - 1:  # all ones: unknown
            return
        yield start + id_length + size_length + size
        if identity == _MATROSKA_SEGMENT:
            return


def _vint(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """EBML's number of variable length (RFC 8794, 4): its value and length in bytes, (0, 0) if it is none."""
    if not data or not data[0]:
        return 0, 0
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), length
