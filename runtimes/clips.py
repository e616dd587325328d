"""Clips: many frames of one stream in each call of the engine, the next ones prepared meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

from uva_edge.errors import FrameError
from uva_edge.manifest import Contract

from .ahead import read_ahead
from .backend import Frames, Maps, Session, State, first_state

Item = TypeVar("Item")


def clip_maps(
    session: Session, contract: Contract, inputs: Iterator[Frames], batch: int, *, overlap: bool
) -> Generator[Maps, None, None]:
    """The maps of consecutive inputs, uint8 [1, R, C, 3] each, in their order: float32 [R, C] each.

    Args:
        batch: inputs in a call of the engine, at most; fewer where `Contract.frames_per_call` says so.
        overlap: whether inputs are made in a thread while the engine works: as many as a call takes.

    What `inputs` raises comes after the maps of all inputs before it. They are closed in the end.

    Raises:
        FrameError: there are no inputs.
    """
    batch = min(batch, contract.frames_per_call)
    if contract.pairing == "lookahead":
        inputs = _with_last_twice(inputs)
    maps = _maps(session, contract, inputs, batch, batch if overlap else 0)
    if contract.pairing == "lookahead":
        # A step gives the map of the frame before; the last frame of a clip is its own partner.
        next(maps)
    yield from maps


def _maps(
    session: Session, contract: Contract, inputs: Iterator[Frames], batch: int, ahead: int
) -> Iterator[Maps]:
    state: State | None = None
    with read_ahead(inputs, ahead) as ready:
        for chunk in _chunks(ready, batch):
            pixels = np.concatenate(chunk)
            if state is None:
                state = first_state(contract, session.run, pixels[:1])
            maps, state = session.run(pixels, state)
            yield from maps
    if state is None:
        raise FrameError("a clip has at least one frame; got none")


def _chunks(items: Iterator[Item], most: int) -> Iterator[list[Item]]:
    """Lists of so many items; those before an error are a list too, and then the error is raised."""
    while True:
        chunk: list[Item] = []
        failure: Exception | None = None
        try:
            chunk.extend(islice(items, most))
        except Exception as error:
            failure = error
        if chunk:
            yield chunk
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or it would keep this frame, and this frame it
        if not chunk:
            return


def _with_last_twice(inputs: Iterable[Item]) -> Iterator[Item]:
    last = None
    for last in inputs:
        yield last
    if last is not None:
        yield last
