"""The synthetic aerial scene as labelled footage.

People look at what moves: the density of a frame is that of one fixation in the middle of each vehicle and
person in view. It is made up, so `fly` gives no `fixations` that a score against people could count; `labelled_flights`
does, for it serves to compare backends and not to judge a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.synthetic import AerialScene, SceneFrame
from uva_edge.metrics import fixation_density

SIZE: Final = (320, 180)
"""(width, height) of the frames."""
_DENSITY_SIZE: Final = (160, 90)
_PASSAGES: Final = tuple((seed, start) for seed in (101, 102) for start in range(0, 6000, 1000))
"""Seeds and first frames of `labelled_flights`: forty seconds lie between two passages of one flight."""
_PASSAGE_FRAMES: Final = 8
_SOURCES: Final = tuple(
    Path(__file__).with_name(f"{name}.py") for name in ("flights", "synthetic", "layout", "movers", "terrain")
)
"""What draws a flight stands for the files that it lacks: it changes with them."""


def fly(seed: int, frames: int) -> Footage:
    """The first `frames` frames of the flight of a seed, 25 a second; drawn when they are read."""
    return Footage(f"{seed}-{frames}", "synthetic", "video", _SOURCES, partial(_draw, seed, frames))


def labelled_flights() -> list[Footage]:
    """The labelled set that needs no files: passages of two flights, with the movers in view as fixations."""
    return [
        Footage(f"{seed}-from-{start}", "flights", "video", _SOURCES, partial(_draw_passage, seed, start))
        for seed, start in _PASSAGES
    ]


def _draw(seed: int, frames: int) -> Iterator[LabelledFrame]:
    for frame in _world(seed).frames(frames):
        middles = _middles(frame)
        density = fixation_density(middles, _DENSITY_SIZE) if len(middles) else None
        yield LabelledFrame(frame.image, density=density)


def _draw_passage(seed: int, start: int) -> Iterator[LabelledFrame]:
    for frame in _world(seed).frames(_PASSAGE_FRAMES, start):
        yield LabelledFrame(frame.image, fixations=_middles(frame))


@lru_cache(maxsize=2)
def _world(seed: int) -> AerialScene:
    """Drawing it takes as long as a hundred of its frames."""
    return AerialScene(seed=seed, size=SIZE)


def _middles(frame: SceneFrame) -> NDArray[np.float32]:
    """Where the movers in view are, [N, 2] in shares of width and height. Without one, nothing is known."""
    middles = [((box.x + box.width / 2) / SIZE[0], (box.y + box.height / 2) / SIZE[1]) for box in frame.boxes]
    return np.array(middles, np.float32).reshape(-1, 2)
