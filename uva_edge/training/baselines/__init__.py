"""Saliency without training: the baselines that every network has to beat.

Each takes the BGR uint8 frames of one video, or of one still, in order and of any size, and gives a map for
each: float32 [h, w] of the baseline's own working size, not negative, of any scale. Frames are taken one by one
and none is kept longer than the method needs it, so a video may be longer than memory. All are deterministic.
"""

from __future__ import annotations

from typing import Final

from uva_edge.errors import OptionError

from .centre import centre_gaussian
from .frame import Baseline
from .frequency import hft, pqft, spectral_residual
from .motion import frame_difference
from .resemblance import self_resemblance

BASELINES: Final[dict[str, Baseline]] = {
    "centre": centre_gaussian,
    "frame-difference": frame_difference,
    "spectral-residual": spectral_residual,
    "pqft": pqft,
    "hft": hft,
    "self-resemblance": self_resemblance,
}


def find_baseline(name: str) -> Baseline:
    """The baseline of this name; raises OptionError with all names when there is none."""
    if name not in BASELINES:
        raise OptionError(f"no baseline is called {name!r}; there are {', '.join(BASELINES)}")
    return BASELINES[name]
