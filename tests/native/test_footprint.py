"""What uva-32 takes on a microcontroller, and that no target takes much more than the documentation says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from footprint import deepest, footprint
from models import Drawn, draw
from targets import TARGETS, ProgramError, Target, missing

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "native.md"
FLASH: Final = 256 * 1024
MEMORY: Final = 128 * 1024
STACK: Final = 4 * 1024


@pytest.fixture(scope="module")
def network() -> Drawn:
    """With the sizes of uva-32, whose weights take the same room."""
    return draw(resolution=32)


@pytest.fixture
def board() -> Target:
    target = TARGETS["cortex-m7"]
    if reason := missing(target):
        pytest.skip(reason)
    return target


@pytest.mark.parametrize("level", ["-Os", "-O2"])
def test_uva_32_in_int8_fits_a_cortex_m7(board: Target, network: Drawn, level: str, tmp_path: Path) -> None:
    found = footprint(board, network.source("int8"), tmp_path, level)
    assert found.flash <= FLASH
    assert found.variables == 0
    assert found.state + found.arena <= MEMORY
    assert 512 <= found.stack <= STACK


def test_the_table_is_what_this_compiler_makes(board: Target, network: Drawn, tmp_path: Path) -> None:
    """Within 10 %, for compilers differ; `python benchmarks/native_sizes.py` writes it."""
    for precision in ("int8", "fp32"):
        for level in ("-Os", "-O2"):
            found = footprint(board, network.source(precision), tmp_path, level)
            row = re.escape(f"| `cortex-m7` | {precision} | `{level}` |") + r"(.*)\|"
            told = [
                int(cell.replace(",", "")) for cell in re.findall(row, PAGE.read_text("utf-8"))[0].split("|")
            ]
            assert told[0] == pytest.approx(found.flash, rel=0.1)
            assert told[1:3] == [found.state, found.arena]
            assert told[3] == pytest.approx(found.stack, rel=0.3)


def node(name: str, label: str) -> str:
    return f'node: {{ title: "{name}" label: "{name}\\nfile.c:1:2\\n{label}" }}\n'


def edge(caller: str, callee: str) -> str:
    return f'edge: {{ sourcename: "{caller}" targetname: "{callee}" label: "file.c:3:4" }}\n'


def test_the_deepest_chain() -> None:
    graph = "".join(
        (
            *(
                node(name, f"{size} bytes (static)")
                for name, size in zip("abcd", (8, 100, 16, 40), strict=True)
            ),
            *(edge(*pair) for pair in ("ab", "ac", "cd", "bd")),
            edge("b", "memset"),
        )
    )
    assert deepest(graph) == 148
    with pytest.raises(ProgramError, match="calls itself"):
        deepest(graph + edge("d", "a"))
    with pytest.raises(ProgramError, match="frame of e is dynamic"):
        deepest(graph + node("e", "8 bytes (dynamic)"))
    with pytest.raises(ProgramError, match="by a pointer"):
        deepest(graph + edge("d", "__indirect_call"))
    with pytest.raises(ProgramError, match="no functions"):
        deepest("")
