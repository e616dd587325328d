"""Every Python block of every page runs, one behind the other, as a reader would type them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import PAGES, blocks, label
from numpy.typing import NDArray

# Blocks that another Python than this one runs, and where that is tested.
ELSEWHERE = {"examples/gstreamer/README.md": "tests/examples/test_gstreamer.py"}
HERE = [page for page in PAGES if blocks(page, "python") and label(page) not in ELSEWHERE]


@pytest.fixture
def names(flight: NDArray[np.uint8]) -> dict[str, Any]:
    """What the blocks take for granted: a camera, and frames in all formats."""
    rng = np.random.default_rng(0)
    return {
        "camera": list(flight[:3]),
        "frames": list(flight[:3]),
        "frame": flight[0],
        "image": flight[0],
        "gray": flight[0, :, :, 1],
        "nv12": rng.integers(0, 256, (270, 320), dtype=np.uint8),
        "y": rng.integers(0, 256, (181, 321), dtype=np.uint8),
        "uv": rng.integers(0, 256, (91, 161, 2), dtype=np.uint8),
    }


@pytest.mark.parametrize("page", HERE, ids=label)
def test_python_blocks_run(page: Path, names: dict[str, Any], sandbox: Callable[[], Path]) -> None:
    sandbox()
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{label(page)}, python block {number}", "exec"), names)


def test_what_runs_elsewhere_is_there_and_is_run() -> None:
    for name, test in ELSEWHERE.items():
        (page,) = (page for page in PAGES if label(page) == name)
        assert blocks(page, "python")
        assert '"README.md"' in (Path(__file__).parents[2] / test).read_text(encoding="utf-8")
