"""The centre bias alone: what a camera operator's framing explains, whatever the picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from .frame import Image, Map

_SIDE: Final = 64
_DEVIATION: Final = 0.25
"""In parts of the width and of the height."""


def centre_gaussian(frames: Iterable[Image]) -> Iterator[Map]:
    """A Gaussian at the centre, stretched as the frame is; its deviation is a quarter of each side."""
    places = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    bell = np.exp(-0.5 * (places / _DEVIATION) ** 2)
    gaussian = np.outer(bell, bell).astype(np.float32)
    gaussian.flags.writeable = False
    return (gaussian for _ in frames)
