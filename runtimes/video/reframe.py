"""A video in another shape, whose crop follows where people look."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..predictor import SaliencyPredictor
from ..processing import Progress
from .attention import LivePath, Look, Watcher, planned_path
from .crop import Cropper, Window, window_of
from .crop_path import Floats
from .crop_sheet import CropSheet
from .movie import Movie, is_frame, open_movie
from .movie_writer import Coding, MovieWriter, Pass, statistics_beside


@dataclass(frozen=True)
class ReframeReport:
    """What a run did.

    Attributes:
        output: the file, complete and in place.
        frames: in it.
        size: (width, height).
        cuts: that were found.
        kept: the part of the predicted attention that lies in the crop, on average over the frames.
        kept_centred: the part that a crop which stays in the middle would have kept.
        seconds, fps: of the whole run.
        problem: in words, why the source gave fewer frames than it should, or None.
    """

    output: Path
    frames: int
    size: tuple[int, int]
    cuts: int
    kept: float
    kept_centred: float
    seconds: float
    fps: float
    problem: str | None


def reframe_video(
    predictor: SaliencyPredictor,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    aspect: Fraction | None = None,
    size: tuple[int, int] | None = None,
    live: bool = False,
    coding: Coding | None = None,
    sound: bool = True,
    sheet: CropSheet | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ReframeReport:
    """Write a video file in another shape: the largest window of it, which follows where people look.

    The window's path is planned for each shot as a whole, so that it moves seldom, smoothly, and in time; at a cut it
    jumps. Pictures are written in 4:2:0 of 8 bits; time stamps, colours, metadata and sound are kept as `encode_video`
    keeps them. What is kept in memory is a few hundred bytes a frame.

    Args:
        predictor: of causal maps.
        source, output, coding, sound: as of `encode_video`.
        aspect: width / height of what is seen, 1:10 to 10:1; or
        size: (width, height) of the output in pixels, even. With both they must fit each other.
        live: decide for each frame by what came before it: one pass, and a path that comes later.
        sheet: is shown some frames with their crops.
        progress: called after each frame; of several passes, the frames are counted in each.

    Raises:
        OptionError, MissingPackageError, SourceError, OutputError: see `open_movie`, `window_of` and `MovieWriter`.
        SessionError: the engine failed.
        KeyboardInterrupt: Ctrl-C. Whatever is raised, nothing is left and `output` is what it was.
    """
    coding = coding or Coding()
    run = _Run(predictor, source, output, coding, (aspect, size), sound=sound, sheet=sheet, progress=progress)
    passes = coding.passes + (not live)
    if not live:
        run.plan(passes)
    if coding.bitrate is None:
        return run.written(None, passes)
    with statistics_beside(Path(output)) as statistics:
        run.written(Pass(1, statistics), passes)
        return run.written(Pass(2, statistics), passes)


class _Run:
    """`path` has the place of every frame that is decided: of all after `plan`, else as they come."""

    def __init__(
        self,
        predictor: SaliencyPredictor,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        coding: Coding,
        shape: tuple[Fraction | None, tuple[int, int] | None],
        *,
        sound: bool,
        sheet: CropSheet | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._predictor, self._source, self._output = predictor, source, output
        self._coding, self._shape, self._sound = coding, shape, sound
        self._sheet, self._progress = sheet, progress
        self._path: list[float] = []
        self._looks: list[Look] = []
        self._done = 0
        self._start = time.perf_counter()

    def plan(self, passes: int) -> None:
        """Decide where all frames are cropped."""
        with self._opened() as movie, self._predictor.stream() as stream:
            watcher = Watcher(stream, self._window(movie))
            for item in movie:
                if is_frame(item):
                    self._looks.append(watcher.look(item))
                    self._tell(movie, passes)
            self._path = planned_path(self._looks, watcher.places, watcher.window.length).tolist()

    def written(self, stage: Pass | None, passes: int) -> ReframeReport:
        """One pass that writes the whole movie."""
        with self._opened() as movie, self._predictor.stream() as stream:
            window = self._window(movie)
            watcher, cropper = Watcher(stream, window), Cropper(movie, window)
            live = LivePath(watcher.places, window.length)
            writer = MovieWriter(
                self._output,
                movie,
                self._coding,
                size=window.output,
                pixel_format=cropper.format,
                stage=stage,
            )
            frames, sheet = 0, self._sheet if writer.keeps else None
            try:
                for item in movie:
                    if is_frame(item):
                        if frames == len(self._path):
                            self._looks.append(watcher.look(item))
                            self._path.append(live.push(self._looks[-1]))
                        place = self._path[frames]
                        frame, item = item, cropper.cropped(item, place)
                        if sheet is not None:
                            sheet.show(frame, item, window, place)
                        frames += 1
                        self._tell(movie, passes)
                    writer.add(item)
                output = writer.close()
            except BaseException:
                writer.discard()
                raise
            return self._report(output, frames, window, watcher.places, movie)

    def _opened(self) -> Movie:
        return open_movie(self._source, threads=self._coding.threads, sound=self._sound)

    def _window(self, movie: Movie) -> Window:
        return window_of(movie.size, movie.shape, *self._shape)

    def _report(
        self, output: Path, frames: int, window: Window, places: Floats, movie: Movie
    ) -> ReframeReport:
        middle = (window.length - window.extent) / 2
        pairs = zip(self._path, self._looks, strict=True)
        kept = [
            (1 - np.interp(place, places, look.costs), 1 - np.interp(middle, places, look.costs))
            for place, look in pairs
        ]
        here, centred = np.mean(kept, axis=0)
        seconds = time.perf_counter() - self._start
        cuts = sum(look.cut for look in self._looks)
        return ReframeReport(
            output,
            frames,
            window.output,
            cuts,
            float(here),
            float(centred),
            seconds,
            self._done / seconds,
            movie.problem,
        )

    def _tell(self, movie: Movie, passes: int) -> None:
        self._done += 1
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            total = movie.frame_count and movie.frame_count * passes
            self._progress(Progress(self._done, total, seconds, self._done / max(seconds, 1e-9)))
