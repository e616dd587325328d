"""Where results go: a video with the map over it, map images, one array of maps, a table of peaks.

Every file is written beside its destination under a temporary name (`.NAME.XXXXXXXX.partial`) and moved into
place when it is complete, so a destination is absent, or what it was before, or complete. A writer that was
given no frame leaves nothing. What the system refuses (disk full, no permission) is an OutputError.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import MissingPackageError, OptionError, OutputError
from uva_edge.saliency import Saliency

from .part_file import PartFile, refused, reported

if TYPE_CHECKING:
    from .sources import Frame

_BT601: Final = 5  # what decoders assume of files that don't say, so every player shows the same colours
_LIMITED: Final = 1


class Writer(Protocol):
    """Takes the results of a run, one frame after the other.

    `path`: the file or directory that it writes. After `close` or `discard`, both do nothing.
    """

    path: Path

    def add(self, frame: Frame, saliency: Saliency) -> None:
        """Append one frame. Raises OutputError; then only `discard` is left to call."""

    def close(self) -> Path | None:
        """Finish, and move into place. Returns `path`, or None if there was no frame and so no output."""

    def discard(self) -> None:
        """Remove what is unfinished. Never raises."""


class OverlayVideo:
    """An MP4 (H.264, 4:2:0, index first) that plays in browsers: each frame with its map over it as heat.

    Frames come at a constant rate. The first frame sets the size, to which others are stretched; an odd width
    or height gets its last column or row twice, for 4:2:0 needs even ones and a crop would lose pixels.

    Args:
        path: the file; its directory must exist.
        fps: frames per second, 0.01 to 1000.
        alpha, peaks: as of `Saliency.overlay`.
        crf: quality, 0 (lossless) to 51 (worst).
        threads: for encoding.

    Raises:
        MissingPackageError: PyAV is not installed.
        OptionError: an argument out of its range.
        OutputError: the path can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        *,
        alpha: float = 0.5,
        peaks: int = 0,
        crf: int = 20,
        threads: int = 1,
    ) -> None:
        try:
            import av
        except ImportError:
            raise MissingPackageError(
                "writing a video needs the package av, which is not installed; pip install 'uva-edge[video]'"
            ) from None
        if "libx264" not in av.codecs_available:
            raise MissingPackageError(
                "writing a video needs an av that has the encoder libx264, which this one lacks; "
                "pip install --force-reinstall 'uva-edge[video]'"
            )
        if not 0.01 <= fps <= 1000:
            raise OptionError(f"fps must be 0.01 to 1000, got {fps!r}")
        if not 0 <= crf <= 51 or threads < 1:
            raise OptionError(
                f"crf must be 0 to 51 and threads 1 or more, got crf={crf!r}, threads={threads!r}"
            )
        self._file = PartFile(path)
        self.path = self._file.path
        self._rate = Fraction(fps).limit_denominator(1001)
        self._alpha, self._peaks = alpha, peaks
        self._options = {"crf": str(crf), "preset": "veryfast", "threads": str(threads)}
        self._av: Any = av
        self._container: Any = None
        self._stream: Any = None
        self._frames = 0

    def add(self, frame: Frame, saliency: Saliency) -> None:
        import cv2

        picture = _evened(saliency.overlay(frame.image, alpha=self._alpha, peaks=self._peaks))
        with self._reported():
            if self._container is None:
                self._start(picture.shape[1], picture.shape[0])
            # OpenCV's conversion (BT.601, limited range) rounds; swscale's truncates and tints grey green.
            planes = cv2.cvtColor(self._fitted(picture), cv2.COLOR_BGR2YUV_I420)
            image = self._av.VideoFrame.from_ndarray(planes, format="yuv420p")
            image.pts, image.time_base = self._frames, 1 / self._rate
            self._container.mux(self._stream.encode(image))
        self._frames += 1

    def close(self) -> Path | None:
        if self._container is None:
            self._file.discard()
            return None
        with self._reported():
            self._container.mux(self._stream.encode())
            self._container.close()
        self._container = None
        return self._file.commit()

    def discard(self) -> None:
        if self._container is not None:
            # Closing fails again on a full disk, and the file goes anyway.
            with suppress(OSError, self._av.FFmpegError):
                self._container.close()
            self._container = None
        self._file.discard()

    def _start(self, width: int, height: int) -> None:
        self._container = self._av.open(
            str(self._file.temporary), "w", format="mp4", options={"movflags": "+faststart"}
        )
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = _BT601, _LIMITED
        self._stream = stream

    def _fitted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        size = (self._stream.width, self._stream.height)
        if (picture.shape[1], picture.shape[0]) == size:
            return picture
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._av.FFmpegError) as error:
            raise refused(self.path, error) from None


class OverlayImage:
    """A PNG of the first frame with its map over it as heat; for a source of one image."""

    def __init__(self, path: str | os.PathLike[str], *, alpha: float = 0.5, peaks: int = 0) -> None:
        self.path = Path(os.path.realpath(path))
        self._alpha, self._peaks = alpha, peaks
        self._written: Path | None = None

    def add(self, frame: Frame, saliency: Saliency) -> None:
        if self._written is None:
            overlay = saliency.overlay(frame.image, alpha=self._alpha, peaks=self._peaks)
            self._written = write_png(self.path, overlay)

    def close(self) -> Path | None:
        return self._written

    def discard(self) -> None:
        """What is written is complete, and stays."""


class MapImages:
    """A directory with one PNG per frame, `000000.png` after its index: uint8, the map x 255, rounded.

    Each image is complete at once and stays, whatever happens later. Other files there are left alone, so
    images of a longer, earlier run remain: write into a fresh directory.

    Args:
        directory: created if it is not there.
        full_size: at the frame's size instead of the map's R x R.
    """

    def __init__(self, directory: str | os.PathLike[str], *, full_size: bool = False) -> None:
        self.path = Path(os.path.realpath(directory))
        self._full_size = full_size
        self._frames = 0
        self._made = not self.path.exists()
        with reported(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def add(self, frame: Frame, saliency: Saliency) -> None:
        values = saliency.resized() if self._full_size else saliency.map
        write_png(self.path / f"{frame.index:06d}.png", np.rint(values * 255).astype(np.uint8))
        self._frames += 1

    def close(self) -> Path | None:
        if self._frames:
            return self.path
        self.discard()
        return None

    def discard(self) -> None:
        if self._made:
            with suppress(OSError):  # not empty: its images are complete, and stay
                self.path.rmdir()


class MapArray:
    """One .npy file, float32 [N, R, C], written as the maps come: memory does not grow with N."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = PartFile(path)
        self.path = self._file.path
        self._shape: tuple[int, ...] = ()
        self._frames = 0

    def add(self, frame: Frame, saliency: Saliency) -> None:
        values = np.ascontiguousarray(saliency.map, "<f4")
        with reported(self.path):
            if not self._shape:
                self._shape = values.shape
                self._file.stream.write(self._header())
            if values.shape != self._shape:
                raise OutputError(f"{self.path} holds maps of {self._shape}, got one of {values.shape}")
            self._file.stream.write(values.data)
        self._frames += 1

    def close(self) -> Path | None:
        if not self._frames:
            self._file.discard()
            return None
        with reported(self.path):
            self._file.stream.seek(0)
            self._file.stream.write(self._header())
        self._frames = 0
        return self._file.commit()

    def discard(self) -> None:
        self._file.discard()

    def _header(self) -> bytes:
        """NumPy leaves room for the first axis to grow, so the header's length doesn't depend on N."""
        npy: Any = np.lib.format  # not typed in every NumPy
        header = io.BytesIO()
        shape = (self._frames, *self._shape)
        npy.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return header.getvalue()


class PeakTable:
    """A CSV of the strongest peaks: frame, time_s, name, rank (from 1), x, y (pixels of the frame), value.

    A last column stamp_ns is there if the source stamps its frames (`Frame.stamp_ns`). A frame whose map has no peak
    has no row.
    """

    def __init__(self, path: str | os.PathLike[str], *, peaks: int = 3) -> None:
        if peaks < 1:
            raise OptionError(f"peaks must be 1 or more, got {peaks!r}")
        self._file = PartFile(path)
        self.path = self._file.path
        self._peaks = peaks
        self._frames = 0
        self._stamped = False

    def add(self, frame: Frame, saliency: Saliency) -> None:
        rows: list[Sequence[object]] = []
        if not self._frames:
            self._stamped = frame.stamp_ns is not None
            stamp = ("stamp_ns",) if self._stamped else ()
            rows.append(("frame", "time_s", "name", "rank", "x", "y", "value", *stamp))
        for rank, peak in enumerate(saliency.peaks(self._peaks), 1):
            place = (f"{peak.x:.2f}", f"{peak.y:.2f}", f"{peak.value:.6f}")
            stamp = (str(frame.stamp_ns),) if self._stamped else ()
            rows.append((frame.index, f"{frame.time:.6f}", frame.name, rank, *place, *stamp))
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        with reported(self.path):
            self._file.stream.write(text.getvalue().encode("utf-8", "backslashreplace"))
        self._frames += 1

    def close(self) -> Path | None:
        if not self._frames:
            self._file.discard()
            return None
        self._frames = 0
        return self._file.commit()

    def discard(self) -> None:
        self._file.discard()


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> Path:
    """Write uint8 [H, W] or [H, W, 3] BGR as a PNG, all or nothing. Raises OutputError."""
    import cv2

    file = PartFile(path)
    try:
        ok, data = cv2.imencode(".png", image)
        if not ok:
            raise OutputError(f"{file.path}: an image of {image.shape} {image.dtype} can't be written as PNG")
        with reported(file.path):
            file.stream.write(data.tobytes())
        return file.commit()
    finally:
        file.discard()


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    columns: int,
    *,
    cell: tuple[int, int] | None = None,
    captions: Sequence[str] = (),
    gutter: int = 6,
) -> NDArray[np.uint8]:
    """A grid of pictures on dark grey, filled row by row.

    Args:
        images: uint8 [H, W, 3] BGR, of any sizes: each is fitted into its cell, its proportions kept.
        columns: pictures in a row.
        cell: (width, height) of a cell; by default the size of the first picture.
        captions: one per picture, printed small below it (ASCII), cut to the cell's width; or none.
        gutter: pixels between pictures and around them.

    Returns:
        uint8 [H', W', 3] BGR.

    Raises:
        OptionError: no pictures, or another number of captions.
    """
    if not len(images) or columns < 1:
        raise OptionError(f"a sheet needs pictures and columns, got {len(images)} and {columns}")
    if captions and len(captions) != len(images):
        raise OptionError(f"captions must be as many as pictures, got {len(captions)} and {len(images)}")
    width, height = cell or (images[0].shape[1], images[0].shape[0])
    strip = 18 if captions else 0
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step_x, step_y = width + gutter, height + strip + gutter
    sheet = np.full((rows * step_y + gutter, columns * step_x + gutter, 3), 32, np.uint8)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        x, y = gutter + column * step_x, gutter + row * step_y
        _paste(sheet[y : y + height, x : x + width], image)
        if captions:
            _print(sheet[y + height : y + height + strip, x : x + width], captions[place])
    return sheet


def _paste(cell: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    import cv2

    scale = min(cell.shape[0] / image.shape[0], cell.shape[1] / image.shape[1])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    fitted = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    top, left = (cell.shape[0] - height) // 2, (cell.shape[1] - width) // 2
    cell[top : top + height, left : left + width] = fitted


def _print(strip: NDArray[np.uint8], text: str) -> None:
    import cv2

    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    while text and cv2.getTextSize(text, font, scale, 1)[0][0] > strip.shape[1] - 4:
        text = text[:-1]
    # putText needs memory of its own, and a slice of the sheet is not contiguous.
    printed = strip.copy()
    cv2.putText(printed, text, (2, strip.shape[0] - 5), font, scale, (220, 220, 220), 1, cv2.LINE_AA)
    strip[:] = printed


def _evened(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return picture
