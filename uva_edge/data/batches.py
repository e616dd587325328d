"""Training batches: still pairs with ego-motion beside real pairs from clips, drawn in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.augment import (
    Affine,
    Augmentation,
    identity,
    random_light,
    random_motion,
    random_view,
    see,
    see_density,
    see_points,
)
from uva_edge.data.clips import FramePair
from uva_edge.data.stills import Still
from uva_edge.errors import OptionError
from uva_edge.metrics import fixation_density

_DENSITY_SIZE = (128, 96)  # (width, height) at which fixation densities are kept, that of the teacher's maps


@dataclass(frozen=True, eq=False)
class Batch:
    """N pairs; of what is known about the frame in hand."""

    frames: NDArray[np.uint8]
    """[N, R, R, 3] RGB."""
    others: NDArray[np.uint8]
    """[N, R, R, 3], the partner of each frame."""
    density: NDArray[np.float32]
    """[N, R, R], sum 1: the fixation density; for clips the teacher's map stands in."""
    teacher: NDArray[np.float32]
    """[N, R, R], sum 1: the teacher's map."""
    fixations: NDArray[np.float32]
    """[N, R, R], fixations per cell; for clips the teacher's map stands in."""


class BatchSource:
    """Draws batches from stills and pairs; the same seed draws the same batches.

    Raises:
        OptionError: there are no stills or no pairs.
    """

    def __init__(
        self,
        stills: Sequence[Still],
        pairs: Sequence[FramePair],
        *,
        resolution: int,
        stills_per_batch: int,
        pairs_per_batch: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        if not stills or not pairs:
            raise OptionError(
                f"a batch mixes both kinds: expected stills and pairs, got {len(stills)} and {len(pairs)}"
            )
        self._stills = stills
        self._pairs = pairs
        self._densities = [_density_of(still) for still in stills]
        self._resolution = resolution
        self._sizes = (stills_per_batch, pairs_per_batch)
        self._augmentation = augmentation
        self._rng = np.random.default_rng(seed)

    def draw(self) -> Batch:
        """One batch, stills first."""
        stills = [self._still(index) for index in self._rng.integers(len(self._stills), size=self._sizes[0])]
        pairs = [self._pair(index) for index in self._rng.integers(len(self._pairs), size=self._sizes[1])]
        return Batch(*(np.stack(column) for column in zip(*stills, *pairs, strict=True)))

    def _view(self) -> tuple[Affine, NDArray[np.uint8]]:
        return random_view(self._rng, self._augmentation), random_light(self._rng, self._augmentation)

    def _still(self, index: int) -> tuple[NDArray[np.uint8] | NDArray[np.float32], ...]:
        still, side = self._stills[index], self._resolution
        view, light = self._view()
        past = view @ random_motion(self._rng, self._augmentation)
        density = see_density(self._densities[index], view, side)
        return (
            see(still.image, view, side, light),
            see(still.image, past, side, light),
            density,
            see_density(still.teacher.astype(np.float32), view, side),
            see_points(still.fixations, view, side),
        )

    def _pair(self, index: int) -> tuple[NDArray[np.uint8] | NDArray[np.float32], ...]:
        pair, side = self._pairs[index], self._resolution
        view, light = self._view()
        teacher = see_density(pair.teacher.astype(np.float32), view, side)
        frames = (see(frame, view, side, light) for frame in (pair.frame, pair.previous))
        return (*frames, teacher, teacher, teacher)


def whole_frame(image: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """The input for a whole BGR frame as training sees it, without augmentation."""
    return see(image, identity(), resolution)


def _density_of(still: Still) -> NDArray[np.float32]:
    return fixation_density(still.fixations, _DENSITY_SIZE)


def prefetch(source: BatchSource, count: int, *, depth: int = 4) -> Generator[Batch, None, None]:
    """`count` batches, up to `depth` of them drawn ahead in one background thread.

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
            for _ in range(count):
                if stop.is_set():
                    return
                put(source.draw())
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="uva-edge-batches", daemon=True)
    thread.start()
    try:
        for _ in range(count):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
