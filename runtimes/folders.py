"""An archive: a folder of videos, of which each gets a folder of results that is there only when it is complete."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from uva_edge.errors import FrameError, OptionError, OutputError, SourceError

from .predictor import SaliencyPredictor
from .processing import Progress, process_clip
from .sources import Source, is_image, open_source
from .writers import Writer

REPORT: Final = "report.json"
"""In every folder of results; what it says lets a later run know whether the video is finished."""

VIDEO_SUFFIXES: Final = frozenset(
    (".264", ".265", ".3gp", ".asf", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov",
     ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m")
)  # fmt: skip

_HELD_BYTES: Final = 1 << 26
"""Of images that are decoded and whose results are not written yet, about."""
_LARGEST_BATCH: Final = 32
_MAX_REPORT_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class VideoResult:
    """What became of one video.

    Attributes:
        video: its path below the folder, with "/".
        output: the folder of its results; None if there are none.
        frames, seconds: predicted and written, and the time that took.
        problem: in words, what is wrong with the video; None if nothing.
        skipped: an earlier run finished it.
    """

    video: str
    output: Path | None
    frames: int
    seconds: float
    problem: str | None
    skipped: bool = False

    @property
    def fps(self) -> float:
        return self.frames / max(self.seconds, 1e-9)


def is_archive(folder: Path) -> bool:
    """Whether a folder is one of videos, and not a sequence of images: it has no images itself.

    Raises:
        OptionError: it holds images and videos side by side, so it could be meant either way.
    """
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    images = next((entry for entry in entries if is_image(entry)), None)
    videos = next((entry for entry in entries if _is_video(entry)), None)
    if images and videos:
        raise OptionError(
            f"{folder} holds images ({images.name}) and videos ({videos.name}); expected a folder of images, which "
            "are one sequence, or one of videos: move either to a folder of its own"
        )
    return images is None


def find_videos(folder: Path, *, leave_out: Path) -> list[Path]:
    """The videos of a folder and of the folders in it, by their suffixes (`VIDEO_SUFFIXES`), sorted by path.

    Hidden files and folders are passed over, and so are links to folders and links that lead out of the folder.

    Args:
        folder, leave_out: free of links. What is below `leave_out` is passed over: results are no videos to predict.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        place = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".") and place / name != leave_out]
        for path in (place / name for name in files):
            if _is_video(path) and path.resolve().is_relative_to(folder):
                found.append(path)
    return sorted(found)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


@dataclass(frozen=True)
class FolderRun:
    """How the videos of a folder are predicted.

    Attributes:
        folder: where they are, free of links.
        output: the results of ``folder/a/b.mp4`` come to the folder ``output/a/b.mp4``.
        make_writers: of a source and of a directory for its outputs.
        request: JSON values that say what is asked for; with `resume` a video whose results were made for the
            same request, and which has not changed since, is skipped.
        max_frames: of each video.
    """

    predictor: SaliencyPredictor
    folder: Path
    output: Path
    make_writers: Callable[[Source, Path], Sequence[Writer]]
    request: Mapping[str, Any]
    max_frames: int | None = None
    resume: bool = False

    def predict(self, video: Path, *, progress: Callable[[Progress], None] | None = None) -> VideoResult:
        """Predict one video: its results are all there when this returns, or none are.

        A video that can't be opened, or whose decoding ends too early, is told in the result; what could be decoded
        is kept.

        Raises:
            OutputError: the results can't be written, or their place holds something else.
            KeyboardInterrupt: Ctrl-C; nothing is left of the video's results.
            OptionError, SessionError, ...: as the writers and the engine do.
        """
        name = video.relative_to(self.folder).as_posix()
        place = self.output / name
        asked = {"request": dict(self.request), "max_frames": self.max_frames, "video": _identity(video)}
        if self.resume and (finished := _finished(name, place, asked)):
            return finished
        try:
            with open_source(video, max_frames=self.max_frames) as source, _staged(place) as staging:
                report = process_clip(
                    source,
                    partial(self.predictor.predict_frames, batch=_batch(source)),
                    self.make_writers(source, staging),
                    progress=progress,
                )
                if report.interrupted:
                    raise KeyboardInterrupt
                facts = {"frames": report.frames, "seconds": report.seconds, "problem": report.problem}
                text = json.dumps({**asked, **facts}, indent=2)
                (staging / REPORT).write_text(f"{text}\n", encoding="utf-8")
        except (SourceError, FrameError) as error:
            return VideoResult(name, None, 0, 0.0, str(error))
        return VideoResult(name, place, report.frames, report.seconds, report.problem)


def _batch(source: Source) -> int:
    """Frames in a call of the engine: about as many are held besides, so large ones are few."""
    width, height = source.size
    return max(1, min(_LARGEST_BATCH, _HELD_BYTES // (2 * 3 * width * height)))


def _identity(video: Path) -> dict[str, int]:
    """Changes when the file does; empty where it is gone."""
    try:
        status = video.stat()
    except OSError:
        return {}
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _finished(name: str, place: Path, asked: Mapping[str, Any]) -> VideoResult | None:
    """What an earlier run for the same said of the same video; None if there was none, or it makes no sense."""
    try:
        with (place / REPORT).open("rb") as file:
            known = json.loads(file.read(_MAX_REPORT_BYTES))
        if any(known[key] != value for key, value in asked.items()):
            return None
        problem = known["problem"] and str(known["problem"])
        return VideoResult(name, place, int(known["frames"]), float(known["seconds"]), problem, skipped=True)
    except (OSError, ValueError, TypeError, LookupError):
        return None


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """A directory beside `place` that takes its name when the block ends well, and is removed when it does not.

    Raises:
        OutputError: it can't be made or moved, or at `place` is something else than results.
    """
    _expect_replaceable(place)
    token = secrets.token_hex(4)
    staging, old = (place.with_name(f".{place.name[:50]}.{token}.{end}") for end in ("partial", "old"))
    try:
        with _reported(place):
            staging.mkdir(parents=True)
        yield staging
        with _reported(place):
            if place.exists():
                place.rename(old)
            staging.rename(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _expect_replaceable(place: Path) -> None:
    """Results of an earlier run are replaced; anything else is somebody's."""
    with _reported(place):
        if not os.path.lexists(place):
            return
        results = place.is_dir() and not place.is_symlink() and (place / REPORT).is_file()
    if not results:
        raise OutputError(
            f"{place}: expected nothing or results with a {REPORT}, got something else; choose another -o"
        )


@contextmanager
def _reported(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{place} can't be written: {error.strerror or error}; free the disk or choose another -o"
        ) from None
