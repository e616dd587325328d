"""The synthetic aerial scene as labelled footage.

People look at what moves: the density of a frame is that of one fixation in the middle of each vehicle and
person in view. It is made up, so there are no `fixations` that a score against people could count.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.synthetic import AerialScene, SceneFrame
from uva_edge.metrics import fixation_density

SIZE: Final = (320, 180)
"""(width, height) of the frames."""
_DENSITY_SIZE: Final = (160, 90)
_SOURCES: Final = tuple(
    Path(__file__).with_name(f"{name}.py") for name in ("flights", "synthetic", "layout", "movers", "terrain")
)
"""What draws a flight stands for the files that it lacks: it changes with them."""


def fly(seed: int, frames: int) -> Footage:
    """The first `frames` frames of the flight of a seed, 25 a second; drawn when they are read."""
    return Footage(f"{seed}-{frames}", "synthetic", "video", _SOURCES, partial(_draw, seed, frames))


def _draw(seed: int, frames: int) -> Iterator[LabelledFrame]:
    for frame in AerialScene(seed=seed, size=SIZE).frames(frames):
        yield _labelled(frame)


def _labelled(frame: SceneFrame) -> LabelledFrame:
    """Without a mover in view nothing is known."""
    middles = [((box.x + box.width / 2) / SIZE[0], (box.y + box.height / 2) / SIZE[1]) for box in frame.boxes]
    if not middles:
        return LabelledFrame(frame.image)
    return LabelledFrame(frame.image, density=fixation_density(np.array(middles), _DENSITY_SIZE))
