"""Footage with the maps of another teacher: ``teacher_maps/`` of any root in place of what lies beside the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import checked_maps, read_arrays, read_named_maps, with_labels
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DataError

Part: TypeAlias = Literal["teacher", "spatial"]
"""Which teacher of `LabelledFrame` the maps are of."""


def taught_by(footage: Sequence[Footage], root: Path, part: Part) -> list[Footage]:
    """The same footage, whose `part` comes from ``root/teacher_maps``: ``images.npz`` and ``clips/NAME.npz``.

    Raises:
        DataError: the maps of a still or video are missing; read from a video, that their number is another.
    """
    stills = root / "teacher_maps" / "images.npz"
    maps = read_named_maps(stills) if any(item.kind == "still" for item in footage) else {}
    taught = []
    for item in footage:
        source = stills if item.kind == "still" else root / "teacher_maps" / "clips" / f"{item.name}.npz"
        if item.kind == "still" and item.name not in maps:
            raise DataError(f"{source}: no map of {item.name}")
        if not source.is_file():
            raise DataError(f"{source}: No such file; expected the teacher's maps of {item.name}")
        own = maps[item.name][None] if item.kind == "still" else None
        read = partial(_read, item, source, own, part)
        taught.append(replace(item, files=(*item.files, source), read=read, facts=(*item.facts, part)))
    return taught


def _read(
    footage: Footage, source: Path, maps: NDArray[np.uint8] | None, part: Part
) -> Iterator[LabelledFrame]:
    if maps is None:
        (found,) = read_arrays(source, "maps")
        maps = checked_maps(source, found, len(found), "decoded frame")
    for frame, own in with_labels(footage.read(), list(maps), source):
        yield replace(frame, teacher=own) if part == "teacher" else replace(frame, spatial=own)
