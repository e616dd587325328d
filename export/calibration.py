"""Clips that stand for what a camera will see: quantisers learn their ranges from them, and gates judge by them.

A range learned from pairs of equal frames is wrong: the temporal path of the network, which looks at their
difference, has then never seen anything but zero. So everything here moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.augment import Augmentation, identity, random_motion, see
from uva_edge.data.flights import fly
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.intake import Intake
from uva_edge.errors import DataError
from uva_edge.manifest import Contract
from uva_edge.metrics import fixation_pixels
from uva_edge.preprocess import network_input
from uva_edge.runtimes.backend import Frames, Run, first_state

LENGTH: Final = 16
"""Frames of a clip to calibrate with."""
CHAINED: Final = 64
"""Frames of a clip to judge by, at most: an error that grows through the state shows."""
_VIDEOS, _STILLS, _FLIGHTS = 40, 20, 4
_JUDGED_VIDEOS: Final = 16
_LEAST_FRAMES: Final = 4 * LENGTH
_FLIGHT_SEED: Final = 7
"""Not that of the golden clip."""


def calibration_clips(footage: Sequence[Footage], contract: Contract, *, seed: int = 0) -> list[Frames]:
    """Clips of `LENGTH` inputs each: videos, stills under ego-motion, and flights of the synthetic scene.

    Args:
        footage: of the train split; what the network is judged by must not be among it.

    Raises:
        DataError: footage is damaged, or there is too little, or nothing in it moves.
    """
    ranges = Augmentation(still=0.0)
    rng = np.random.default_rng(seed)

    def prepare(item: Footage) -> Frames:
        if item.kind == "video":
            return _inputs(islice(item.read(), LENGTH), contract)
        return _drifting(next(iter(item.read())).image, contract, ranges, rng)

    wanted = [*_spread(footage, "video", _VIDEOS), *_spread(footage, "still", _STILLS)]
    clips = [clip for _, clip in Intake(wanted).map(prepare)]
    _expect_motion(clips)
    # The scene alone would do for no camera, so it comes after the check.
    return clips + [_inputs(fly(_FLIGHT_SEED + index, LENGTH).read(), contract) for index in range(_FLIGHTS)]


@dataclass(frozen=True, eq=False)
class Still:
    """An input [1, R, C, 3] and where people looked: pixels [N, 2] of an image of this (width, height)."""

    frame: Frames
    fixations: NDArray[np.int64]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an artifact is judged by: held-out clips that move, chained, and stills with fixations."""

    clips: tuple[Frames, ...]
    stills: tuple[Still, ...]

    @classmethod
    def of(cls, footage: Sequence[Footage], contract: Contract) -> Evidence:
        """From the footage of a val split.

        Raises:
            DataError: footage is damaged, or it has no moving clip, or no still with fixations.
        """
        videos = _spread(footage, "video", _JUDGED_VIDEOS)
        clips = [
            clip
            for _, clip in Intake(videos).map(lambda item: _inputs(islice(item.read(), CHAINED), contract))
        ]
        _expect_motion(clips)
        pictures = [item for item in footage if item.kind == "still"]
        stills = [_still(next(iter(item.read())), contract) for item in pictures]
        known = tuple(still for still in stills if len(still.fixations))
        if not known:
            raise DataError("expected stills with fixations in the val split to judge by, got none")
        return cls(tuple(clips), known)


_STEP: Final = 4
"""Frames of a step while calibrating."""


def feeds_of(run: Run, contract: Contract, clips: Sequence[Frames]) -> list[list[dict[str, NDArray[Any]]]]:
    """The steps of each clip, each with the state that the one before left."""
    names = (contract.frames.name, contract.state_in.name)
    found = []
    for clip in clips:
        state, steps = first_state(contract, run, clip[:1]), []
        for start in range(0, len(clip), _STEP):
            frames = clip[start : start + _STEP]
            steps.append(dict(zip(names, (frames, np.asarray(state)), strict=True)))
            _, state = run(frames, state)
        found.append(steps)
    return found


def _spread(footage: Sequence[Footage], kind: str, count: int) -> list[Footage]:
    """At most `count` of a kind, evenly over the list: neighbours often come from one source."""
    found = [item for item in footage if item.kind == kind]
    return [found[index * len(found) // count] for index in range(count)] if len(found) > count else found


def _inputs(frames: Iterator[LabelledFrame], contract: Contract) -> Frames:
    return np.stack([network_input(frame.image, contract.grid) for frame in frames])


def _drifting(
    image: NDArray[np.uint8], contract: Contract, ranges: Augmentation, rng: np.random.Generator
) -> Frames:
    """A still under a camera that moves a little from each frame to the next."""
    view, frames = identity(), []
    for _ in range(LENGTH):
        frames.append(see(image, view, contract.resolution))
        view = view @ random_motion(rng, ranges)
    return np.stack(frames)


def _still(frame: LabelledFrame, contract: Contract) -> Still:
    height, width = frame.image.shape[:2]
    points = np.empty((0, 2), np.float32) if frame.fixations is None else frame.fixations
    pixels = fixation_pixels(points, (width, height)) if len(points) else np.empty((0, 2), np.int64)
    return Still(network_input(frame.image, contract.grid)[None], pixels, (width, height))


def _expect_motion(clips: Sequence[Frames]) -> None:
    frames = sum(map(len, clips))
    if frames < _LEAST_FRAMES:
        raise DataError(
            f"expected at least {_LEAST_FRAMES} frames to learn ranges from and to judge by, got {frames}; name more "
            "data"
        )
    if not any((clip[1:] != clip[:-1]).any() for clip in clips):
        raise DataError(
            f"expected frames that move, got {len(clips)} clips in which every frame is like the one before; the "
            "temporal path would be given ranges of nothing"
        )
