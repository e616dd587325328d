"""Whole files: read up to a size that the reader says, and replaced without a moment in which half of one is there."""

from __future__ import annotations

import os
from pathlib import Path

from uva_edge.errors import DataError, OutputError


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


def replace_file(path: Path, data: bytes) -> None:
    """Write a file to a temporary name and move it in place; missing parent directories are made.

    Raises:
        OutputError: the file can't be written; what stood there is as it was.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"{path}: can't be written ({error.strerror or error}); free the disk or choose another place"
        ) from error
