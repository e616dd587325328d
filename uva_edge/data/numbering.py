"""Files that belong to the frames of a video by the number that their names end in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from uva_edge.errors import DataError

_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")


def list_numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """The files of a folder with one of these suffixes by their numbers, in the order of `by_number`.

    Raises:
        DataError: there is no such folder, no such file in it, or `by_number` refuses them.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: No such folder; expected one file a frame in it")
    files = [path for path in folder.iterdir() if is_visible(path, suffixes)]
    if not files:
        raise DataError(f"{folder}: expected files {', '.join(suffixes)}, got none")
    return by_number(files)


def is_visible(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file has one of the suffixes, in either case, and is not hidden (``._0001.png`` of macOS)."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def by_number(files: Iterable[Path], digits: int = 9) -> dict[int, Path]:
    """Files by the number that their names end in, of at most this many digits, from the least upwards.

    Raises:
        DataError: a name ends in no number, two in the same, or one is left out: neighbours would not be
            consecutive frames.
    """
    found: dict[int, Path] = {}
    for path in sorted(files, key=str):
        match = _NUMBER.search(path.stem[-digits:])
        if match is None:
            raise DataError(f"{path}: expected a name that ends in the number of its frame, such as 00001")
        number = int(match.group())
        if number in found:
            raise DataError(f"{path}: {found[number].name} is of frame {number} too; remove one of them")
        found[number] = path
    ordered = {number: found[number] for number in sorted(found)}
    for number in ordered:
        if number + 1 not in ordered and number != max(ordered):
            raise DataError(f"{ordered[number]}: the file of the frame after it is missing")
    return ordered


def check_partners(frames: Mapping[int, Path], labels: Mapping[int, Path]) -> None:
    """Refuse labels that are not those of the frames, number by number; neither is empty.

    Raises:
        DataError: a frame has no label, or a label no frame.
    """
    unequal = frames.keys() ^ labels.keys()
    if unequal:
        number = min(unequal)
        alone = frames.get(number) or labels[number]
        others = labels if number in frames else frames
        folder = next(iter(others.values())).parent
        raise DataError(
            f"{alone}: nothing of frame {number} in {folder}; {len(frames)} frames, {len(labels)} labels"
        )
