"""What the C of uva-32 takes on each target, written into docs/native.md.

    python benchmarks/native_sizes.py            # printed
    python benchmarks/native_sizes.py --write

The network has drawn weights: those of the bundle take the same room.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from accuracy import DOCS, replace_between

sys.path.insert(0, str(DOCS.parent / "tests" / "native"))

from footprint import footprint
from models import Drawn, draw
from targets import TARGETS, missing

MARK: Final = "native sizes"
HEAD: Final = "| target | precision | flags | flash | state | arena | stack |"
LEVELS: Final = {"cortex-m7": ("-Os", "-O2"), "cortex-m55": ("-Os", "-O2"), "clang": ()}
"""`-O2` for the others; clang does not tell who calls whom."""


def size_table() -> list[str]:
    """Raises SystemExit where the tools of a target are not on this machine."""
    if absent := [reason for target in TARGETS.values() if (reason := missing(target))]:
        raise SystemExit("\n".join(absent))
    network = draw(resolution=32)
    rows = [
        _row(network, name, precision, level)
        for precision in ("int8", "fp32")
        for name in TARGETS
        for level in LEVELS.get(name, ("-O2",))
    ]
    return [HEAD, "|---|---|---|--:|--:|--:|--:|", *rows]


def _row(network: Drawn, name: str, precision: str, level: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = footprint(TARGETS[name], network.source(precision), Path(folder), level)
    sizes = (found.flash, found.state, found.arena, found.stack)
    return f"| `{name}` | {precision} | `{level}` | {' | '.join(f'{size:,}' for size in sizes)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/; printed otherwise")
    lines = size_table()
    if parser.parse_args().write:
        replace_between(DOCS / "native.md", MARK, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
