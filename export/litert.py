"""LiteRT (.tflite): the clip step for one frame, as LiteRT's own converter makes it from the torch module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from uva_edge.errors import ExportError
from uva_edge.extras import needs
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps, Run, State

from .onnx import blank_state

REQUIRES: Final = {"litert": "2"}


def to_tflite(step: nn.Module, contract: Contract) -> bytes:
    """A clip step of one frame: ``args_0`` (frames), ``args_1`` (state) to ``output_0`` (maps), ``output_1`` (state).

    Raises:
        MissingPackageError: the extra `litert` is not installed.
        ExportError: the converter failed.
    """
    with needs("litert"):
        import litert_torch
    frames = torch.zeros(1, *contract.grid, 3, dtype=torch.uint8)
    state = blank_state(contract)
    with tempfile.TemporaryDirectory(prefix="uva-edge-litert-") as scratch:
        path = Path(scratch) / "step.tflite"
        try:
            litert_torch.convert(step, (frames, state)).export(str(path))
        except Exception as error:  # it has kinds of its own, and passes on those of MLIR
            raise ExportError(f"LiteRT's converter failed: {type(error).__name__}: {error}") from error
        return path.read_bytes()


def tflite_run(model: bytes) -> Run:
    """Steps of one frame in LiteRT's interpreter, on one thread."""
    with needs("litert"):
        from ai_edge_litert.interpreter import Interpreter
    runner: Any = Interpreter(model_content=model, num_threads=1).get_signature_runner()

    def run(frames: Frames, state: State) -> tuple[Maps, State]:
        outputs = runner(args_0=frames, args_1=state)
        return outputs["output_0"].copy(), outputs["output_1"].copy()

    return run
