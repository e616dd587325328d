"""The state from which a killed run goes on: tensors and plain values in one file that is never half-written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from uva_edge.errors import DataError
from uva_edge.whole_files import replace_file

MAX_BYTES: Final = 2**31
_EXPECTED: Final = {"recipe", "finished", "stage", "state", "journal"}


def save_resume(path: Path, values: dict[str, Any]) -> None:
    """Write the state; the one that stood there stays until the new one is complete. Raises OutputError."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    replace_file(path, buffer.getvalue())


def load_resume(path: Path) -> dict[str, Any]:
    """Tensors on the CPU and plain values; nothing in the file is run (``weights_only``).

    Raises:
        DataError: it can't be read, or is no state of a run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Unpacked: what torch wrote is not compressed, but what came from elsewhere may be.
            if max(path.stat().st_size, sum(item.file_size for item in archive.infolist())) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
        values = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(values, dict) or set(values) != _EXPECTED:
            raise ValueError(f"expected {', '.join(sorted(_EXPECTED))}")
        return values
    except Exception as error:  # of damaged bytes the unpickler raises whatever its stack comes to
        reason = str(error)[:300]
        raise DataError(
            f"{path}: expected the state of a training run; {reason}; delete it to start anew"
        ) from None
