"""A movie written anew: its pictures by libx264 or libx265, its sound as it was, in place when it is complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from uva_edge.environment import usable_cores
from uva_edge.errors import MissingPackageError, OptionError, OutputError

from ..part_file import PartFile, refused, reported
from .movie import Colours, Movie, import_av

Codec: TypeAlias = Literal["libx264", "libx265"]
Preset: TypeAlias = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]  # fmt: skip
MUXERS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_SOUND: Final = {"mp4": frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"))}
_SOUND["mov"] = _SOUND["mp4"] | {"pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"}
"""What players know in these; Matroska takes nearly everything."""


@dataclass(frozen=True)
class Coding:
    """How pictures are coded.

    Attributes:
        codec: the encoder.
        crf: quality, from 0 (best) to 51; or
        bitrate: bits a second of the pictures on average, by two passes. One of the two is given.
        preset: of the encoder: slower ones make smaller files.
        threads: of the encoder.

    Raises:
        OptionError: a value out of its range.
    """

    codec: Codec = "libx264"
    crf: float | None = 23.0
    bitrate: int | None = None
    preset: Preset = "medium"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise OptionError(f"codec must be one of {', '.join(get_args(Codec))}, got {self.codec!r}")
        if self.preset not in get_args(Preset):
            raise OptionError(f"preset must be one of {', '.join(get_args(Preset))}, got {self.preset!r}")
        if (self.crf is None) == (self.bitrate is None):
            raise OptionError(
                f"give crf or bitrate, one of the two; got crf={self.crf}, bitrate={self.bitrate}"
            )
        if self.crf is not None and not 0 <= self.crf <= 51:
            raise OptionError(f"crf must be from 0 (best) to 51, got {self.crf}")
        if self.bitrate is not None and not 1000 <= self.bitrate <= 10**10:
            raise OptionError(f"bitrate must be from 1000 to 10**10 bits a second, got {self.bitrate}")
        if not 1 <= self.threads <= usable_cores():
            raise OptionError(
                f"threads of the encoder must be from 1 to {usable_cores()}, the cores that this process may use; "
                f"got {self.threads}"
            )

    @property
    def passes(self) -> int:
        return 1 if self.bitrate is None else 2


@dataclass(frozen=True)
class Pass:
    """Which pass of two, and the file that the first one writes for the second."""

    number: Literal[1, 2]
    statistics: Path


class MovieWriter:
    """Frames and packets of a movie in, a file out that is there when it is complete.

    Args:
        path: the file; its suffix, one of `MUXERS`, is its container. Its directory must exist.
        movie: what time stamps, colours, metadata and sound are taken from.
        coding: how pictures are coded.
        size, pixel_format: of the frames that are added; by default the movie's.
        stage: of two passes. The first one keeps nothing but its statistics.

    Attributes:
        path: of the file, links resolved.
        keeps: not a first pass.

    Raises:
        MissingPackageError: PyAV or the encoder is missing.
        OptionError: an unknown suffix, or the path is that of the movie.
        OutputError: the path can't be written, or its container can't take the movie's sound.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        movie: Movie,
        coding: Coding,
        *,
        size: tuple[int, int] | None = None,
        pixel_format: str | None = None,
        stage: Pass | None = None,
    ) -> None:
        self._av: Any = import_av()
        muxer = MUXERS.get(Path(path).suffix.lower())
        if muxer is None:
            raise OptionError(f"{path}: expected a name that ends in one of {', '.join(MUXERS)}")
        if coding.codec not in self._av.codecs_available:
            raise MissingPackageError(
                f"this needs an av that has the encoder {coding.codec}, which this one lacks; "
                "pip install --force-reinstall 'uva-edge[video]'"
            )
        self.keeps = stage is None or stage.number == 2
        self._file = PartFile(path)
        self.path = self._file.path
        self._container: Any = None
        try:
            if self.path == movie.path.resolve():
                raise OptionError(f"{path} is the source; give the output another name")
            self._container = self._opened(muxer)
            self._sound = self._sound_streams(movie) if self.keeps else {}
            self._container.metadata.update(movie.metadata)
            self._add_pictures(movie, coding, size or movie.size, pixel_format or movie.format, stage)
        except BaseException:
            self.discard()
            raise

    def add(self, item: Any) -> None:
        """Append a frame or a packet of sound. Raises OutputError; then only `discard` is left to call."""
        with self._reported():
            if isinstance(item, self._av.VideoFrame):
                self._container.mux(self._pictures.encode(item))
            elif item.stream.index in self._sound:
                item.stream = self._sound[item.stream.index]
                self._container.mux(item)

    def close(self) -> Path:
        """Finish, and move into place; of a first pass nothing stays but its statistics. Raises OutputError."""
        with self._reported():
            self._container.mux(self._pictures.encode())
            self._container.close()
        self._container = None
        if self.keeps:
            return self._file.commit()
        self._file.discard()
        return self.path

    def discard(self) -> None:
        """Remove what is unfinished. Never raises."""
        if self._container is not None:
            with suppress(OSError, ValueError, self._av.FFmpegError):
                self._container.close()
            self._container = None
        self._file.discard()

    def _opened(self, muxer: str) -> Any:
        options = {"movflags": "+faststart"} if muxer in ("mp4", "mov") else {}
        with self._reported():
            if self.keeps:
                return self._av.open(str(self._file.temporary), "w", format=muxer, options=options)
            return self._av.open(os.devnull, "w", format="null")

    def _sound_streams(self, movie: Movie) -> dict[int, Any]:
        """By the index of the movie's stream, that of the file."""
        muxer = self._container.format.name
        streams = {}
        for stream in movie.sound:
            name = stream.codec_context.codec.canonical_name
            try:
                if name not in _SOUND.get(muxer, {name}):
                    raise ValueError
                streams[stream.index] = self._container.add_stream_from_template(stream)
            except (ValueError, self._av.FFmpegError):
                mend = (
                    "leave the sound out"
                    if muxer == "matroska"
                    else "give the output a name that ends in .mkv"
                )
                raise OutputError(
                    f"{self.path}: a file of {muxer} can't take sound in {name} as it is; {mend}"
                ) from None
        return streams

    def _add_pictures(
        self, movie: Movie, coding: Coding, size: tuple[int, int], pixel_format: str, stage: Pass | None
    ) -> None:
        stream = self._container.add_stream(
            coding.codec, rate=movie.rate, options=encoder_options(coding, stage)
        )
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = movie.time_base
        context.sample_aspect_ratio = movie.shape
        _paint(context, movie.colours)
        if coding.codec == "libx265" and self._container.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # what Apple's players want
        if coding.bitrate is not None:
            context.bit_rate = coding.bitrate
        if stage is not None and coding.codec == "libx264":
            flags = self._av.codec.context.Flags
            context.flags |= int(flags.pass1 if stage.number == 1 else flags.pass2)
        self._pictures = stream

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._av.FFmpegError) as error:
            raise refused(self.path, error) from None


def _paint(context: Any, colours: Colours) -> None:
    context.colorspace, context.color_range = colours.space, colours.range
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer


def encoder_options(coding: Coding, stage: Pass | None = None) -> dict[str, str]:
    """What FFmpeg's encoder is told of a coding, and of the pass that it is in.

    Adaptive quantisation is the encoder's usual one, said aloud: the fastest presets turn it off, and regions with it.
    """
    options: dict[str, str] = {"preset": coding.preset}
    if coding.crf is not None:
        options["crf"] = f"{coding.crf:.3f}"
    if coding.codec == "libx264":
        options |= {"threads": str(coding.threads), "aq-mode": "1"}
        if stage is not None:
            options["passlogfile"] = str(stage.statistics)
        return options
    pools = "none" if coding.threads == 1 else str(coding.threads)
    words = ["log-level=none", f"pools={pools}", f"frame-threads={min(coding.threads, 16)}", "aq-mode=2"]
    if stage is not None:
        words += [f"pass={stage.number}", f"stats={stage.statistics}"]
    options["x265-params"] = ":".join(words)
    return options


@contextmanager
def statistics_beside(output: Path) -> Iterator[Path]:
    """What a first pass leaves for the second: as large as a fiftieth of the video, so it lies where that will."""
    with reported(output):
        folder = tempfile.TemporaryDirectory(
            prefix=f".{output.name[:50]}.", suffix=".partial", dir=output.resolve().parent
        )
    with folder as name:
        yield Path(name) / "statistics"
