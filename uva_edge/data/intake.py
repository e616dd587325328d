"""Reading footage where a little of it may be damaged: skipped with its name, counted, and an error if much is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DamagedFileError, DataError

TOLERANCE: Final = 0.01
"""The share of the footage that may be damaged."""
_MOST_NAMED: Final = 10

Result = TypeVar("Result")


class Intake:
    """Footage that is read whole or not at all.

    A still or video that turns out to be damaged is left out as a whole, with the frames that were decoded
    before the damage: a video that is cut off may be wrong before, and what of it trained a network would
    depend on where it broke. What can't be blamed on a single file's damage (missing labels, other counts)
    is not skipped: it passes through.

    Args:
        footage: what to read, at least one.
        report: is told of each skipped footage, in one line.
    """

    def __init__(self, footage: Sequence[Footage], report: Callable[[str], object] | None = None) -> None:
        if not footage:
            raise DataError("expected footage to read, got none")
        self._footage = footage
        self._report = report
        self.damaged: dict[str, str] = {}
        """What was skipped: ``dataset/name`` and what is wrong with it."""

    def __iter__(self) -> Iterator[tuple[Footage, list[LabelledFrame]]]:
        """Each sound footage with all its frames, one footage at a time in memory. Raises as `map` does."""
        return self.map(lambda footage: list(footage.read()))

    def map(self, prepare: Callable[[Footage], Result]) -> Iterator[tuple[Footage, Result]]:
        """Each sound footage with what `prepare` makes of it, such as its frames made small.

        `prepare` reads as much of the footage as it needs; what it made until a damaged frame is dropped, so it
        should keep nothing elsewhere.

        Raises:
            DataError: more than `TOLERANCE` of the footage is damaged (as soon as that is sure), or `prepare`
                raised another one.
        """
        for footage in self._footage:
            try:
                result = prepare(footage)
            except DamagedFileError as error:
                self._skip(footage, str(error))
            else:
                yield footage, result

    def _skip(self, footage: Footage, reason: str) -> None:
        name = f"{footage.dataset}/{footage.name}"
        self.damaged[name] = reason
        if self._report is not None:
            self._report(f"skipped {name}: {reason}")
        if len(self.damaged) > TOLERANCE * len(self._footage):
            reasons = list(self.damaged.values())
            more = f"\n  and {len(reasons) - _MOST_NAMED} more" if len(reasons) > _MOST_NAMED else ""
            raise DataError(
                f"{len(reasons)} of {len(self._footage)} stills and videos are damaged, more than {TOLERANCE:.0%}; "
                "copy them again or take them out:\n  " + "\n  ".join(reasons[:_MOST_NAMED]) + more
            )
