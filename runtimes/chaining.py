"""A clip through a session, step by step, each from the state of the one before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uva_edge.golden import spread
from uva_edge.manifest import Contract

from .backend import Frames, Maps, Run, first_state


def run_chained(run: Run, contract: Contract, clip: Frames, length: int | None) -> tuple[Maps, NDArray[Any]]:
    """A clip in steps of `length` frames, each from the state of the one before: maps of all frames, and the last
    state on the host."""
    state = first_state(contract, run, clip[:1])
    maps = []
    step = length or len(clip)
    for start in range(0, len(clip), step):
        out, state = run(clip[start : start + step], state)
        maps.append(out)
    return np.concatenate(maps), np.asarray(state)  # a backend may keep it in a form of its own


def run_abreast(
    run: Run, contract: Contract, clip: Frames, length: int, streams: int
) -> tuple[Maps, NDArray[Any]]:
    """Pieces of a clip as so many streams of the same calls, each from the state that the frame before it leaves.

    Returns the maps of all frames and the state after the last one, as one stream has them.
    """
    ticks = -(-len(clip) // streams)
    starts = spread(len(clip) - ticks + 1, streams)
    state = first_state(contract, run, clip[np.maximum(starts - 1, 0)])
    maps, places = [], []
    for first in range(0, ticks, length):
        moments = np.arange(first, min(first + length, ticks))
        places.append((moments[:, None] + starts).ravel())
        out, state = run(clip[places[-1]], state)
        maps.append(out)
    found, order = np.concatenate(maps), np.concatenate(places)
    if len(found) == len(order):  # else `compare` says what is wrong
        found = found[np.unique(order, return_index=True)[1]]
    return found, np.asarray(state)[-contract.state_shape[0] :]
