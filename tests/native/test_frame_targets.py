"""The frame functions on every target: the same bytes as `network_input`, and no library but memory functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from fragments import PROGRAMS, write_sources
from frames import FORMATS, FrameCase, fnv1a
from targets import Target, compile_object, run, undefined_symbols

from uva_edge.preprocess import YuvRange

SIZES = ((1, 1), (2, 3), (31, 17), (64, 64), (161, 120), (321, 181))
PADDINGS = ((0, 0, 0), (1, 6, 3), (7, 0, 32))
MEMORY_FUNCTIONS = {"memcpy", "memset", "memmove", "memcmp"}


def _cases() -> list[FrameCase]:
    found: list[FrameCase] = []
    for number, name in enumerate(FORMATS):
        for width, height in SIZES:
            even = width + width % 2 if name == "yuyv" else width
            seed = 1000 * number + width
            bottom_up = bool(len(found) % 2) and name not in ("nv12", "i420")
            yuv_range: YuvRange = "full" if height % 2 else "limited"
            padding = PADDINGS[len(found) % 3]
            found.append(FrameCase(name, even, height, padding, bottom_up, yuv_range, seed))
    return found


CASES = _cases()


@pytest.fixture(scope="module")
def hashes() -> list[str]:
    """By `network_input`, for an input of 32 rows and 64 columns."""
    return [f"{fnv1a(case.expected(case.memory(), (32, 64)).tobytes()):016x}" for case in CASES]


@pytest.mark.parametrize("level", ["-Os", "-O2", "-O3"])
def test_frames_are_the_same_everywhere(
    target: Target, level: str, hashes: list[str], tmp_path: Path
) -> None:
    table = ",\n".join(f"    {case.as_c()}" for case in CASES)
    (tmp_path / "frame_cases.h").write_text(
        f"enum {{ FRAME_CASES_BYTES = {max(case.bytes for case in CASES)} }};\n"
        f"static const frame_case frame_cases[] = {{\n{table}\n}};\n",
        encoding="utf-8",
    )
    files = [PROGRAMS / "frame_hashes.c", PROGRAMS / "frame_case.c", write_sources(tmp_path, 32, 64)]
    found = run(target, files, tmp_path, (level,)).decode().split()
    assert len(found) == len(CASES)
    for case, ours, expected in zip(CASES, found, hashes, strict=True):
        assert ours == expected, f"{case} on {target.name} with {level}"


@pytest.mark.parametrize("level", ["-Os", "-O2", "-O3"])
@pytest.mark.parametrize("grid", [(32, 32), (256, 256)])
def test_only_memory_functions_are_called(
    target: Target, level: str, grid: tuple[int, int], tmp_path: Path
) -> None:
    obj = compile_object(target, write_sources(tmp_path, *grid), tmp_path, (level,))
    assert undefined_symbols(target, obj) <= MEMORY_FUNCTIONS
