"""`uva-edge demo`: a synthetic flight, predicted frame by frame, as a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.synthetic import AerialScene
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.processing import Progress, Report, process
from uva_edge.runtimes.sources import Frame, Picture, Source
from uva_edge.runtimes.writers import OverlayVideo, PeakTable, contact_sheet, write_png
from uva_edge.saliency import Saliency

FPS: Final = 25.0
_ROWS: Final = 4
_PEAKS: Final = 3


@dataclass(frozen=True)
class DemoResult:
    """What was made: `video` (MP4), `sheet` (PNG, rows of frame, map, overlay), `peaks` (CSV)."""

    report: Report
    video: Path
    sheet: Path
    peaks: Path


def run_demo(
    predictor: SaliencyPredictor,
    directory: Path,
    *,
    frames: int,
    size: tuple[int, int],
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> DemoResult:
    """Fly over seeded ground for `frames` frames of `size` (width, height) and write what the eye would follow.

    Raises OptionError for a size or count that the scene refuses, OutputError when the disk does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    scene = AerialScene(seed=seed, size=size, fps=FPS)
    video, peaks = directory / "demo.mp4", directory / "peaks.csv"
    moments = _Moments(np.linspace(0, frames - 1, min(_ROWS, frames)).round().astype(int).tolist())
    writers = (OverlayVideo(video, FPS, peaks=_PEAKS), PeakTable(peaks, peaks=_PEAKS), moments)
    source = Source(_Flight(scene, frames), "video", f"flight {seed}", fps=FPS, frame_count=frames)
    with source, predictor.stream() as stream:
        report = process(source, stream.push, writers, progress=progress)
    sheet = write_png(directory / "demo.png", moments.sheet())
    return DemoResult(report, video, sheet, peaks)


def endless_flight() -> Source:
    """A flight of its own that never ends, at 640x360, as a source that plays like a file."""
    return Source(_Flight(_small_scene(), 2**31 - 1), "video", "endless demo flight", fps=FPS)


@lru_cache(maxsize=1)
def _small_scene() -> AerialScene:
    return AerialScene(seed=7, size=(640, 360), fps=FPS)


class _Flight:
    """The scene as a reader of frames."""

    def __init__(self, scene: AerialScene, frames: int) -> None:
        self._scenes = scene.frames(frames)

    def read(self) -> Picture | None:
        scene = next(self._scenes, None)
        return None if scene is None else Picture(scene.image, scene.time, "")

    def problem(self, frames: int, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        self._scenes = iter(())


class _Moments:
    """Keeps a few frames for the contact sheet; writes nothing itself."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.path = Path()
        self._indices = frozenset(indices)
        self._images: list[NDArray[np.uint8]] = []
        self._captions: list[str] = []

    def add(self, frame: Frame, saliency: Saliency) -> None:
        if frame.index in self._indices:
            self._images += [frame.image, _gray(saliency), saliency.overlay(frame.image, peaks=_PEAKS)]
            side = saliency.map.shape[0]
            self._captions += [
                f"frame {frame.index}",
                f"map {side}x{side}",
                "overlay, strongest peaks ringed",
            ]

    def close(self) -> None:
        return None

    def discard(self) -> None:
        return None

    def sheet(self) -> NDArray[np.uint8]:
        return contact_sheet(self._images, 3, cell=(426, 240), captions=self._captions)


def _gray(saliency: Saliency) -> NDArray[np.uint8]:
    values = np.rint(saliency.resized() * 255).astype(np.uint8)
    return np.repeat(values[:, :, None], 3, axis=2)
