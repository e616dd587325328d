"""TOML files of a bounded size, as plain values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from uva_edge.errors import DataError

MAX_TOML_BYTES: Final = 2**20


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The values of a TOML file; `what` it is to be is for the message of a DataError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        with path.open("rb") as file:
            text = file.read(MAX_TOML_BYTES + 1)
        if len(text) > MAX_TOML_BYTES:
            raise ValueError(f"more than {MAX_TOML_BYTES} bytes")
        values: dict[str, Any] = tomllib.loads(text.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected {what} in TOML; {error}") from None
    return values
