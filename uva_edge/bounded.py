"""Whole files of a bounded size: whoever reads one that is not its own says how large it may be."""

from __future__ import annotations

from pathlib import Path

from uva_edge.errors import DataError


def read_bytes(path: Path, limit: int, what: str) -> bytes:
    """A whole file of at most `limit` bytes; `what` it is to be is for the message of a DataError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {what} was expected") from None
    if len(data) > limit:
        raise DataError(f"{path}: more than {limit} bytes; {what} is smaller")
    return data
