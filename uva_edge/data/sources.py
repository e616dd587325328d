"""Footage by a word that a recipe or a command line can hold: ``KIND:PLACE``, or a path alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from uva_edge.data.avs1k import list_avs1k
from uva_edge.data.dhf1k import list_action_videos, list_dhf1k
from uva_edge.data.flights import fly
from uva_edge.data.footage import Footage
from uva_edge.data.still_images import list_stills
from uva_edge.data.teacher_clips import list_clips
from uva_edge.data.videos import list_videos
from uva_edge.errors import DataError, OptionError

Opener = Callable[[str, str], list[Footage]]
"""From what follows the colon, and the split."""

MAX_FLIGHT: Final = 100_000
"""Frames of a synthetic flight: more than an hour."""


def open_footage(spec: str, split: str) -> list[Footage]:
    """The footage that `spec` names, of the split ``train``, ``val`` or ``test``.

    ``stills:PATH``, ``clips:PATH``, ``avs1k:PATH``, ``dhf1k:PATH``, ``hollywood2:PATH`` and ``ucf:PATH`` are
    the data sets of the modules of these names. ``videos:PATH`` is any folder of videos, and
    ``synthetic:SEED:FRAMES`` a flight of the synthetic scene: these two have no splits, so every split has all
    of it, and it is the caller's not to choose by what was trained on. A path alone holds stills, clips or
    both.

    Raises:
        OptionError: the spec is none of these.
        DataError: the data set is incomplete or malformed, or the split is empty.
    """
    if split not in ("train", "val", "test"):
        raise OptionError(f"split is {split!r}; expected 'train', 'val' or 'test'")
    kind, colon, place = spec.partition(":")
    if colon and kind in OPENERS:
        if not place:
            raise OptionError(f"{spec!r}: expected something behind the colon, such as a path")
        return OPENERS[kind](place, split)
    if not spec or not Path(spec).is_dir():
        raise OptionError(
            f"{spec!r} is no data: expected KIND:PLACE with a kind of {', '.join(OPENERS)}, or a folder that is there"
        )
    return _open_folder(Path(spec), split)


def _open_folder(root: Path, split: str) -> list[Footage]:
    footage = []
    if (root / "images.csv").exists():
        footage += list_stills(root, split)
    if (root / "clips.csv").exists():
        footage += list_clips(root, split)
    if not footage:
        raise DataError(f"{root}: expected images.csv or clips.csv in it; name other data as KIND:{root}")
    return footage


def _open_flight(place: str, split: str) -> list[Footage]:
    numbers = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", place)
    if numbers is None or not 1 <= int(numbers[2]) <= MAX_FLIGHT:
        raise OptionError(
            f"'synthetic:{place}': expected synthetic:SEED:FRAMES, two whole numbers, of 1 to {MAX_FLIGHT} frames"
        )
    return [fly(int(numbers[1]), int(numbers[2]))]


OPENERS: Final[dict[str, Opener]] = {
    "stills": lambda place, split: list_stills(Path(place), split),
    "clips": lambda place, split: list_clips(Path(place), split),
    "avs1k": lambda place, split: list_avs1k(Path(place), split),
    "dhf1k": lambda place, split: list_dhf1k(Path(place), split),
    "hollywood2": lambda place, split: list_action_videos(Path(place), split, "hollywood2"),
    "ucf": lambda place, split: list_action_videos(Path(place), split, "ucf"),
    "videos": lambda place, split: list_videos(Path(place)),
    "synthetic": _open_flight,
}
WITHOUT_SPLITS: Final = ("videos:", "synthetic:")
