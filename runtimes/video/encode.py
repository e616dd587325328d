"""A video coded anew, with its bits where people look: regions of interest for libx264 and libx265, frame by frame."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from uva_edge.errors import OptionError

from ..predictor import SaliencyPredictor
from ..processing import Progress
from .movie import Movie, import_av, is_frame, open_movie, picture
from .movie_writer import Codec, Coding, MovieWriter, Pass, statistics_beside
from .regions_of_interest import RegionOfInterest, cell_density, qp_offsets, regions_of

STRENGTHS: Final[Mapping[Codec, float]] = {"libx264": 2.0, "libx265": 1.0}
"""What is worth its price on training clips (docs/video.md)."""
_QP_RANGE: Final = 51


@dataclass(frozen=True)
class EncodeReport:
    """What a run did.

    Attributes:
        output: the file, complete and in place.
        frames: in it.
        size: (width, height).
        pixel_format: by FFmpeg's name.
        bytes: of the whole file.
        seconds, fps: of the whole run, all passes.
        regions: rectangles a frame, on average.
        problem: in words, why the source gave fewer frames than it should, or None.
    """

    output: Path
    frames: int
    size: tuple[int, int]
    pixel_format: str
    bytes: int
    seconds: float
    fps: float
    regions: float
    problem: str | None


def encode_video(
    predictor: SaliencyPredictor,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    coding: Coding | None = None,
    strength: float | None = None,
    sound: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> EncodeReport:
    """Code a video file anew, with finer quantisers where people look and coarser ones elsewhere.

    Time stamps, colours, shape of pixels, title and the like are kept; frames that the container turns are written
    upright. Sound is copied. Memory does not grow with the length.

    Args:
        predictor: of causal maps.
        source: a video file, see `open_movie`.
        output: its suffix is its container: .mp4, .m4v, .mov or .mkv.
        coding: by default libx264 at CRF 23. With a bitrate everything is done twice.
        strength: QP for each doubling of how much people look; from 0, which is plain coding, to 10. By default that
            of `STRENGTHS`.
        sound: whether it is copied.
        progress: called after each frame; of two passes, the frames are counted in both.

    Raises:
        OptionError, MissingPackageError, SourceError, OutputError: see `open_movie` and `MovieWriter`.
        SessionError: the engine failed.
        KeyboardInterrupt: Ctrl-C. Whatever is raised, nothing is left and `output` is what it was.
    """
    coding = coding or Coding()
    strength = STRENGTHS[coding.codec] if strength is None else strength
    if not 0 <= strength <= 10:
        raise OptionError(f"strength must be from 0 (plain coding) to 10 QP a doubling, got {strength}")
    run = _Run(predictor, source, output, coding, strength, sound, progress)
    if coding.bitrate is None:
        return run.coded(None, 0)
    with statistics_beside(Path(output)) as statistics:
        first = run.coded(Pass(1, statistics), 0)
        return run.coded(Pass(2, statistics), first.frames)


class _Run:
    def __init__(
        self,
        predictor: SaliencyPredictor,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        coding: Coding,
        strength: float,
        sound: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._predictor, self._source, self._output = predictor, source, output
        self._coding, self._strength, self._sound = coding, strength, sound
        self._progress = progress
        self._start = time.perf_counter()

    def coded(self, stage: Pass | None, done: int) -> EncodeReport:
        """One pass over the whole movie, after so many frames in the passes before."""
        frames = regions = 0
        with (
            open_movie(self._source, threads=self._coding.threads, sound=self._sound) as movie,
            self._predictor.stream() as stream,
        ):
            marker = Marker(movie.time_base)
            writer = MovieWriter(self._output, movie, self._coding, stage=stage)
            try:
                for item in movie:
                    if is_frame(item):
                        item, count = marker.marked(
                            item, self._regions(stream.push(picture(item)).map, movie.size)
                        )
                        frames, regions = frames + 1, regions + count
                    writer.add(item)
                    self._tell(done + frames, movie)
                output = writer.close()
            except BaseException:
                writer.discard()
                raise
        seconds = time.perf_counter() - self._start
        size = output.stat().st_size if output.exists() else 0
        return EncodeReport(
            output, frames, movie.size, movie.format, size, seconds, (done + frames) / seconds,
            regions / frames, movie.problem,
        )  # fmt: skip

    def _regions(self, saliency: Any, size: tuple[int, int]) -> tuple[RegionOfInterest, ...]:
        return regions_of(qp_offsets(cell_density(saliency, size), strength=self._strength), size)

    def _tell(self, frames: int, movie: Movie) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            total = movie.frame_count and movie.frame_count * self._coding.passes
            self._progress(Progress(frames, total, seconds, frames / max(seconds, 1e-9)))


class Marker:
    """Puts regions on frames: FFmpeg's filter `addroi`, once for each, in a graph that is kept while they stay.

    `time_base`: of the frames, which have one size and format.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._av: Any = import_av()
        self._time_base = time_base
        self._regions: tuple[RegionOfInterest, ...] = ()
        self._graph: Any = None

    def marked(self, frame: Any, regions: tuple[RegionOfInterest, ...]) -> tuple[Any, int]:
        """The frame with these regions, and how many there are."""
        if not regions:
            return frame, 0
        if regions != self._regions:
            self._regions, self._graph = regions, self._graph_of(frame, regions)
        self._graph.push(frame)
        marked = self._graph.pull()
        marked.time_base = self._time_base
        return marked, len(regions)

    def _graph_of(self, like: Any, regions: tuple[RegionOfInterest, ...]) -> Any:
        graph = self._av.filter.Graph()
        nodes = [
            graph.add_buffer(
                width=like.width, height=like.height, format=like.format, time_base=self._time_base
            )
        ]
        for region in regions:
            place = f"x={region.x}:y={region.y}:w={region.width}:h={region.height}"
            nodes.append(graph.add("addroi", f"{place}:qoffset={region.qp}/{_QP_RANGE}"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph
