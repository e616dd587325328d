"""The C fragments of `runtimes/native/templates` as one header and one source, for any input."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TEMPLATES: Final = Path(__file__).resolve().parents[2] / "runtimes" / "native" / "templates"
PROGRAMS: Final = Path(__file__).parent / "programs"
_PARTS: Final = ("status", "frame", "peak")


def write_sources(folder: Path, rows: int, columns: int) -> Path:
    """Writes `uva.h` and `uva.c` into a folder; returns the path of the latter."""
    header = [
        f"#ifndef UVA_H\n#define UVA_H\n#define UVA_ROWS {rows}\n#define UVA_COLUMNS {columns}",
        "#include <stddef.h>\n#include <stdint.h>",
        *((TEMPLATES / f"{part}.h").read_text("utf-8") for part in _PARTS),
        "#endif\n",
    ]
    source = [
        '#include "uva.h"\n#include <string.h>',
        *((TEMPLATES / f"{part}.c").read_text("utf-8") for part in _PARTS),
    ]
    (folder / "uva.h").write_text("\n".join(header), encoding="utf-8")
    (folder / "uva.c").write_text("\n".join(source), encoding="utf-8")
    return folder / "uva.c"
