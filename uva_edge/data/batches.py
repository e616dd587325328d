"""Training batches: still pairs with ego-motion beside real pairs from video, drawn in a background thread.

Pair j of step i depends on the seed, i and j alone. So a resumed run goes on with the batches that it would have
had, and several processes that share a batch draw what one process would have drawn.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.augment import (
    Augmentation,
    random_look,
    random_motion,
    random_view,
    see,
    see_density,
    see_points,
)
from uva_edge.data.cache import Pack
from uva_edge.errors import OptionError
from uva_edge.models.uva_net import Pairing


@dataclass(frozen=True, eq=False)
class Batch:
    """N pairs; of what is known about the frame in hand. Maps are [N, R, R] and sum to 1, or are all zero: nothing
    of them is in view, or it is a close-up, of which nothing is known."""

    frames: NDArray[np.uint8]
    """[N, R, R, 3] RGB."""
    others: NDArray[np.uint8]
    """[N, R, R, 3], the partner of each frame."""
    density: NDArray[np.float32]
    """The density of fixations; where they are not known, the teacher's map."""
    fixations: NDArray[np.float32]
    """[N, R, R], fixations per cell; where they are not known, `density`."""
    teacher: NDArray[np.float32]
    """The map of the (temporal) teacher; where there is none, `density`."""
    spatial: NDArray[np.float32]
    """The map of a teacher who saw the frame alone; where there is none, `teacher`."""


@dataclass(frozen=True)
class Mix:
    """What a batch is made of."""

    stills: int = 16
    videos: int = 16

    def __post_init__(self) -> None:
        if min(self.stills, self.videos) < 0 or self.stills + self.videos < 2:
            raise OptionError(f"a batch has at least two pairs, for batch norm needs them; got {self}")

    @property
    def size(self) -> int:
        return self.stills + self.videos


class BatchSource:
    """Draws batches from packs of stills and videos; the same seed draws the same batches.

    Args:
        share: this process's number and the number of processes that share each batch.

    Raises:
        OptionError: the mix asks for a kind that is not there, or can't be shared evenly.
    """

    def __init__(
        self,
        stills: Pack | None,
        videos: Pack | None,
        mix: Mix,
        augmentation: Augmentation,
        *,
        resolution: int,
        pairing: Pairing,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._packs = (stills, videos)
        self._mix = mix
        self._augmentation = augmentation
        self._resolution = resolution
        self._seed = seed
        rank, processes = share
        if mix.stills % processes or mix.videos % processes:
            raise OptionError(
                f"{processes} processes share a batch evenly; {mix.stills} stills and {mix.videos} video pairs "
                f"are no multiples of {processes}"
            )
        self._indices = range(rank, mix.size, processes)
        self._step = -1 if pairing == "causal" else 1
        self._partners = {} if videos is None else _partners(videos, augmentation)
        rows = np.flatnonzero(self._partners[self._step] >= 0) if self._partners else None
        self._choices = (_by_footage(stills, None), _by_footage(videos, rows))
        for name, wanted, choices in zip(
            ("stills", "videos"), (mix.stills, mix.videos), self._choices, strict=True
        ):
            if wanted and not choices:
                raise OptionError(
                    f"a batch holds {wanted} {name}, but the data have none; set that number to 0"
                )

    def draw(self, step: int) -> Batch:
        """This process's share of the batch of a step, stills first."""
        pairs = [self._pair(step, index) for index in self._indices]
        return Batch(*(np.stack(column) for column in zip(*pairs, strict=True)))

    def _partner(self, row: int, rng: np.random.Generator) -> int:
        """The other frame of a video pair; its neighbour where the one that was drawn is not there."""
        ranges = self._augmentation
        offset = self._step * int(rng.integers(1, ranges.gap + 1))
        if rng.random() < ranges.backward:
            offset = -offset
        partner = int(self._partners[offset][row])
        return partner if partner >= 0 else int(self._partners[self._step][row])

    def _pair(self, step: int, index: int) -> tuple[NDArray[np.uint8] | NDArray[np.float32], ...]:
        rng = np.random.default_rng((self._seed, step, index))
        video = index >= self._mix.stills
        ranges, side = self._augmentation, self._resolution
        pack, choices = self._packs[video], self._choices[video]
        assert pack is not None
        rows = choices[rng.integers(len(choices))]
        row = int(rows[rng.integers(len(rows))])
        close_up = video and ranges.close_up > rng.random()
        crop = (ranges.close_crop if close_up else ranges.video_crop) if video else ranges.crop
        view = random_view(rng, ranges, crop)
        look = random_look(rng, ranges)
        if video:
            other, other_view = pack.frames[self._partner(row, rng)], view
        else:
            other, other_view = pack.frames[row], view @ random_motion(rng, ranges)
        if close_up:
            unknown = np.zeros((side, side), np.float32)
            frames = (see(image, view, side, look, rng) for image in (pack.frames[row], other))
            return (*frames, unknown, unknown, unknown, unknown)
        density = see_density(pack.density_of(row), view, side)
        points = pack.fixations(row)
        taught = pack.taught(row)
        teacher = see_density(pack.teacher_of(row), view, side) if taught and pack.labelled(row) else density
        apart = pack.has_spatial(row)
        return (
            see(pack.frames[row], view, side, look, rng),
            see(other, other_view, side, look, rng),
            density,
            see_points(points, view, side) if len(points) else density,
            teacher,
            see_density(pack.spatial_of(row), view, side) if apart else teacher,
        )


def _partners(videos: Pack, ranges: Augmentation) -> dict[int, NDArray[np.int64]]:
    """The rows of the partners by their offset in time."""
    return {sign * gap: videos.partners(sign * gap) for gap in range(1, ranges.gap + 1) for sign in (-1, 1)}


def _by_footage(pack: Pack | None, rows: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
    """The rows of each footage: a long video is not drawn more often than a short one."""
    if pack is None:
        return []
    rows = np.arange(len(pack)) if rows is None else rows
    footage = pack.footage[rows]
    return [group for group in np.split(rows, np.flatnonzero(np.diff(footage)) + 1) if len(group)]


def prefetch(source: BatchSource, steps: Sequence[int], *, depth: int = 4) -> Generator[Batch, None, None]:
    """The batches of these steps, up to `depth` of them drawn ahead in one background thread.

    What `source` raises is raised here. The thread ends with the generator: close it when you stop early.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in steps:
                if stop.is_set():
                    return
                put(source.draw(step))
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="uva-edge-batches", daemon=True)
    thread.start()
    try:
        for _ in steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
