"""Image files: one, those of a folder, or those that a pattern names."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SourceError

from ..capture import silenced
from ..containers import CONTAINERS
from .source import HINTS, NOMINAL_FPS, Picture, Source

IMAGE_SUFFIXES: Final = frozenset(
    (".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
     ".webp")
)  # fmt: skip

_MAX_IMAGE_BYTES: Final = 1 << 29
_NUMBER: Final = re.compile(r"%0?([1-9]?)d")
_TOLD_GAPS: Final = 5
_NEITHER: Final = f"expected a video ({', '.join(CONTAINERS)}) or an image; this is neither, or damaged"


def open_image(path: Path, max_frames: int | None) -> Source:
    return Source(Images([path]), "image", path.name, path=path, frame_count=1, max_frames=max_frames)


def open_folder(path: Path, max_frames: int | None, fps: float | None) -> Source:
    files = sorted((entry for entry in path.iterdir() if is_image(entry)), key=_natural_key)
    if not files:
        raise SourceError(
            f"{path} is a folder without images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return Source(
        Images(files, fps), "images", path.name, path=path, fps=fps, frame_count=len(files), max_frames=max_frames
    )  # fmt: skip


def is_pattern(text: str) -> bool:
    """Whether this names many files: ``frame%05d.png`` or ``*.png``, and no file or folder of that very name."""
    name = os.path.basename(text)
    named = _NUMBER.search(name) is not None or glob.has_magic(text)
    return named and not os.path.lexists(text)


def open_pattern(text: str, max_frames: int | None, fps: float | None) -> Source:
    """The images of a pattern. With a number in it (``%d``, ``%05d``; in the file's name), a frame's time follows its
    number, from the lowest on, and numbers that are missing are told in `Source.problem`. With ``*``, ``?`` or
    ``[...]`` they come in natural order, one after the other."""
    number = _NUMBER.search(os.path.basename(text))
    if number is None:
        found = [
            (None, path) for path in sorted(map(Path, glob.glob(text)), key=_natural_key) if path.is_file()
        ]
        files: list[tuple[int | None, Path]] = [*found]
    else:
        files = [*_numbered(text)]
    if not files:
        raise SourceError(f"{text}: no file fits this pattern; check the folder, and quote it in the shell")
    folder = Path(os.path.dirname(text) or ".").absolute()
    reader = Images([path for _, path in files], fps, [place for place, _ in files if place is not None])
    return Source(
        reader, "images", os.path.basename(text), path=folder if folder.is_dir() else None, fps=fps,
        frame_count=len(files), max_frames=max_frames,
    )  # fmt: skip


def _numbered(text: str) -> list[tuple[int, Path]]:
    """(number, file) of all files that `text` with its one ``%d`` stands for, ascending."""
    folder, name = os.path.split(text)
    match = _NUMBER.search(name)
    if match is None or _NUMBER.search(name, match.end()) or "%" in name.replace(match[0], ""):
        raise SourceError(f"{text}: expected one number in the name, such as frame%05d.png")
    width = int(match[1] or 1)
    shape = re.compile(re.escape(name[: match.start()]) + r"([0-9]{1,18})" + re.escape(name[match.end() :]))
    found = []
    try:
        for entry in Path(folder or ".").iterdir():
            digits = shape.fullmatch(entry.name)
            # "%03d" stands for 007 and 1234, and for neither 7 nor 01234.
            if digits and digits[1] == f"{int(digits[1]):0{width}d}" and entry.is_file():
                found.append((int(digits[1]), entry))
    except OSError as error:
        raise unreadable(Path(folder), error) from None
    return sorted(found)


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural_key(path: Path) -> tuple[list[str | int], str]:
    # The split alternates text and digits, so a number is only ever compared with a number.
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


class Images:
    """Image files, one frame each; `numbers`: theirs, where their names say when they are due."""

    def __init__(self, files: list[Path], fps: float | None = None, numbers: list[int] | None = None) -> None:
        self._files, self._fps, self._numbers = files, fps or NOMINAL_FPS, numbers or []
        self._place = 0

    def read(self) -> Picture | None:
        if self._place >= len(self._files):
            return None
        path, place = self._files[self._place], self._place
        self._place += 1
        due = self._numbers[place] - self._numbers[0] if self._numbers else place
        return Picture(_read_image(path), due / self._fps, path.name)

    def problem(self, frames: int, seconds: float) -> str | None:
        gaps = [
            (one + 1, two - 1)
            for one, two in zip(self._numbers, self._numbers[1:], strict=False)
            if two > one + 1
        ]
        if not gaps:
            return None
        count = sum(last - first + 1 for first, last in gaps)
        told = [str(first) if first == last else f"{first}-{last}" for first, last in gaps[:_TOLD_GAPS]]
        more = ", ..." if len(gaps) > _TOLD_GAPS else ""
        return (
            f"{count} images are missing between {self._files[0].name} and {self._files[-1].name}, of number "
            f"{', '.join(told)}{more}; copy them too, or give their folder if the numbers mean nothing"
        )

    def close(self) -> None:
        self._files = []


def _read_image(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] BGR, turned as its EXIF orientation says. Read by Python, so any file name will do."""
    try:
        length = path.stat().st_size
        if length > _MAX_IMAGE_BYTES:
            kind = "an image" if path.suffix.lower() in IMAGE_SUFFIXES else "what is not a known video"
            raise SourceError(f"{path} has {length} bytes; {kind} may have {_MAX_IMAGE_BYTES} at most")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if not data:
        raise SourceError(f"{path} is empty (0 bytes); copy or record it again")
    # libpng reports a cut file on stderr, past every log level, so it is not asked.
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]:
        raise SourceError(f"{path} is truncated: it lacks the end of a PNG; copy it again")
    image = decoded(np.frombuffer(data, np.uint8))
    if image is None:
        why = HINTS["image"] if path.suffix.lower() in IMAGE_SUFFIXES else _NEITHER
        raise SourceError(f"{path} can't be decoded; {why}")
    return image


def decoded(data: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """uint8 [H, W, 3] BGR of an image file's bytes; None if they are none."""
    import cv2

    try:
        with silenced():
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        return None
    return None if image is None else image.astype(np.uint8, copy=False)


def unreadable(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path} does not exist; check the path")
    if isinstance(error, PermissionError):
        return SourceError(f"{path} may not be read (permission denied); change its mode or its owner")
    return SourceError(f"{path} can't be read: {error.strerror or error}")
