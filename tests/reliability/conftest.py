"""Children that predict: a fault belongs into a process of its own, which may crash or hang."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from uva_edge.runtimes.registry import BACKENDS

SECONDS: Final = 300
"""No child needs a tenth of it: one that takes longer hangs."""

_START: Final = """
import os, sys
import numpy as np
from uva_edge import SaliencyPredictor
from uva_edge.errors import UvaEdgeError
frames = np.random.default_rng(0).integers(0, 256, (40, 90, 160, 3), dtype=np.uint8)
def told(call):
    try:
        call()
    except UvaEdgeError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, negative for a signal, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Ended]:
    """Run Python code in a child, or in one below a command such as `unshare`; it has `frames`, `told` and a cache of
    this test's own."""

    def _child(
        code: str, *arguments: str | os.PathLike[str], below: tuple[str, ...] = (), **variables: str
    ) -> Ended:
        script = tmp_path / "child.py"
        script.write_text(_START + code)
        done = subprocess.run(
            [*below, sys.executable, "-I", os.fspath(script), *map(os.fspath, arguments)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={
                **os.environ,
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "OMP_NUM_THREADS": "1",
                **variables,
            },
            cwd=tmp_path,
        )
        return Ended(done.returncode, done.stdout.strip(), done.stderr.strip())

    return _child


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """The command below which file systems can be mounted for a child alone; needs root."""
    command = ("unshare", "--mount")
    try:
        found = subprocess.run([*command, "true"], capture_output=True, timeout=60).returncode
    except FileNotFoundError:
        found = 127
    if found:
        pytest.skip("needs root, and unshare of the package util-linux")
    return command


@pytest.fixture(params=["native", "onnxruntime", "openvino", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each that can run here."""
    name: str = request.param
    availability = BACKENDS[name].probe()
    if not availability.ok:
        pytest.skip(f"{availability.reason}; {availability.fix}")
    return name
