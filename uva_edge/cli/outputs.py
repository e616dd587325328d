"""What the commands that predict write, and how they show that they are at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uva_edge.errors import OptionError, UvaEdgeError

from .shared import make_console

if TYPE_CHECKING:
    from uva_edge.runtimes.processing import Progress
    from uva_edge.runtimes.sources import Source
    from uva_edge.runtimes.writers import Writer

EXIT_DAMAGED_SOURCE = 3
EXIT_INTERRUPTED = 130
SAVES = ("video", "csv", "npy", "png")


@dataclass(frozen=True)
class Wanted:
    """What is to be written: `save` names kinds of `SAVES`, separated by commas.

    Raises:
        OptionError: it names another, or none.
    """

    save: str
    peaks: int
    alpha: float

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(SAVES):
            raise OptionError(f"--save takes {', '.join(SAVES)}, separated by commas; got {self.save!r}")

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self.save.split(",") if name))


def make_writers(source: Source, directory: Path, wanted: Wanted) -> list[Writer]:
    """Writers into a directory, which is made if it is not there.

    Raises:
        OptionError, MissingPackageError, OutputError: as the writers do; then none is left open.
    """
    from uva_edge.runtimes.sources import NOMINAL_FPS
    from uva_edge.runtimes.writers import MapArray, MapImages, OverlayImage, OverlayVideo, PeakTable

    make_directory(directory)
    fps, peaks, alpha = source.fps or NOMINAL_FPS, wanted.peaks, wanted.alpha
    makers: dict[str, Callable[[], Writer]] = {
        "video": (lambda: OverlayImage(directory / "overlay.png", alpha=alpha, peaks=peaks))
        if source.kind == "image"
        else (lambda: OverlayVideo(directory / "overlay.mp4", fps, alpha=alpha, peaks=peaks)),
        "csv": lambda: PeakTable(directory / "peaks.csv", peaks=peaks),
        "npy": lambda: MapArray(directory / "maps.npy"),
        "png": lambda: MapImages(directory / "maps"),
    }
    writers: list[Writer] = []
    try:
        for name in wanted.kinds:
            writers.append(makers[name]())
    except UvaEdgeError:
        for writer in writers:
            writer.discard()
        raise
    return writers


def make_directory(directory: Path) -> None:
    from uva_edge.errors import OutputError

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory}: the directory can't be made: {error.strerror}; choose another -o"
        ) from None


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and remaining time, on standard error; a bare count where the end is unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} FPS"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=make_console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, fps=0.0)

        def update(now: Progress) -> None:
            bar.update(task, completed=now.frames, total=now.total, fps=now.fps)

        yield update
