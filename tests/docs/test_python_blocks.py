"""Every Python block of every page runs, one behind the other, as a reader would type them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import PAGES, blocks, label
from numpy.typing import NDArray


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


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=label)
def test_python_blocks_run(page: Path, names: dict[str, Any], sandbox: Callable[[], Path]) -> None:
    sandbox()
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{label(page)}, python block {number}", "exec"), names)
