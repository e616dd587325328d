"""OpenVINO IR: the clip step for any T, and what it says of itself."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import openvino

from uva_edge.errors import ExportError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps, Run, State
from uva_edge.runtimes.openvino import openvino_core

Model: TypeAlias = Any
"""`openvino.Model`, of which there are no types."""

REQUIRES: Final = {"openvino_ir": "11"}

SECTION: Final = "uva_edge"
"""Where the facts are in rt_info."""

_CONFIG: Final = {
    "INFERENCE_NUM_THREADS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
}


def to_openvino(graph: bytes) -> Model:
    """An ONNX clip step as a model of OpenVINO, simplified as its converter does; the same weights, in float32.

    Raises:
        ExportError: OpenVINO does not take the graph.
    """
    with tempfile.TemporaryDirectory(prefix="uva-edge-ir-") as scratch:
        path = Path(scratch) / "clip.onnx"
        path.write_bytes(graph)
        try:
            model = openvino.convert_model(path)
        except Exception as error:  # RuntimeError and kinds of its own
            raise ExportError(f"OpenVINO does not take the graph: {error}") from error
    _name_by_place(model)
    return model


def ir_files(model: Model, name: str, facts: Mapping[str, str], *, half: bool = False) -> dict[str, bytes]:
    """NAME.xml and NAME.bin, with the facts in rt_info; `half` keeps weights in float16, half the bytes."""
    named = model.clone()
    _name_by_place(named)
    for key, value in facts.items():
        named.set_rt_info(value, [SECTION, key])
    with tempfile.TemporaryDirectory(prefix="uva-edge-ir-") as scratch:
        path = Path(scratch) / f"{name}.xml"
        openvino.save_model(named, path, compress_to_fp16=half)
        return {part.name: part.read_bytes() for part in (path, path.with_suffix(".bin"))}


def openvino_run(model: Model, contract: Contract) -> Run:
    """Steps of one frame, in float32 wherever the model is not integer, on one thread."""
    single = model.clone()
    single.reshape(
        {contract.frames.name: [1, *contract.grid, 3], contract.state_in.name: contract.state_shape}
    )
    return compiled_run(openvino_core().compile_model(single, "CPU", _CONFIG), contract)


def compiled_run(compiled: Any, contract: Contract) -> Run:
    """Steps of a compiled model."""
    request = compiled.create_infer_request()

    def run(frames: Frames, state: State) -> tuple[Maps, State]:
        request.infer({contract.frames.name: frames, contract.state_in.name: state})
        maps, after = (
            np.array(request.get_tensor(spec.name).data) for spec in (contract.maps, contract.state_out)
        )
        return maps, after

    return run


def _name_by_place(model: Model) -> None:
    """The names that OpenVINO makes up count everything the process ever made; the place in the graph does not."""
    for index, node in enumerate(model.get_ordered_ops()):
        kind, _, number = node.get_friendly_name().rpartition("_")
        if kind[:1].isupper() and number.isdigit():
            node.set_friendly_name(f"{node.get_type_name()}_{index}")
