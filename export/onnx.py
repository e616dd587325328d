"""ONNX: the clip step of a network as one graph of plain operators, for any T or for T = 1."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import onnx
import onnxruntime
import torch
from torch import nn

from uva_edge.errors import ExportError, OptionError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps, Run, State

OPSET: Final = 18
"""ONNX Runtime's static quantiser takes opsets up to 20; 18 is the exporter's own, converted by nobody."""

INPUTS: Final = ("frames", "state_in")
OUTPUTS: Final = ("maps", "state_out")

OPERATORS: Final = frozenset(
    ("Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Exp", "Expand", "Mul", "ReduceMax",
     "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze")
)  # fmt: skip
"""What the graph may hold: operators that every engine and converter takes."""

_DTYPES: Final = {"uint8": torch.uint8, "float32": torch.float32}


def to_onnx(step: nn.Module, contract: Contract, *, frames: int | None = None) -> bytes:
    """A clip step as a checked ONNX model, batch norms folded; `frames` is T where it is static.

    The same weights give the same bytes. The step is left as it is.

    Raises:
        ExportError: the exporter failed, or the graph is not of the form that the contract asks for.
        OptionError: `frames` is below 1.
    """
    if frames is not None and frames < 1:
        raise OptionError(f"frames must be at least 1, or None for any number; got {frames}")
    rows, columns = contract.grid
    example = torch.zeros(frames or 3, rows, columns, 3, dtype=torch.uint8)
    state = blank_state(contract)
    time = torch.export.Dim("T", min=1, max=1 << 16)
    shapes = {"frames": None if frames else {0: time}, "state": None}
    try:
        with _quiet():
            program = torch.onnx.export(
                step,
                (example, state),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=shapes,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps failures in many kinds of its own
        raise ExportError(
            f"torch.onnx.export failed at {rows}x{columns}, T = {frames or 'any'}: {error}"
        ) from error
    if program is None:
        raise ExportError("torch.onnx.export gave no program")
    model = _plain(program.model_proto)
    _check(model, frames)
    return bytes(model.SerializeToString(deterministic=True))


def blank_state(contract: Contract) -> torch.Tensor:
    """Zeros of the state's shape and dtype."""
    return torch.zeros(contract.state_shape, dtype=_DTYPES[contract.state_in.dtype])


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what does not compute: stack traces and paths of the exporting machine, inferred shapes."""
    model.ClearField("metadata_props")
    model.producer_name, model.producer_version = "uva_edge", ""
    model.graph.name = "clip_step"
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    return model


def _check(model: onnx.ModelProto, frames: int | None) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise ExportError(f"the exported graph has opsets {opsets}; expected the standard one at {OPSET}")
    unknown = sorted({node.op_type for node in model.graph.node} - OPERATORS)
    if unknown or model.functions:
        raise ExportError(f"the exported graph has operators that not every engine takes: {unknown}")
    names = (
        tuple(value.name for value in model.graph.input),
        tuple(value.name for value in model.graph.output),
    )
    if names != (INPUTS, OUTPUTS):
        raise ExportError(f"the exported graph has inputs and outputs {names}; expected {(INPUTS, OUTPUTS)}")
    for value in (model.graph.input[0], model.graph.output[0]):
        first = value.type.tensor_type.shape.dim[0]
        length: int | str = first.dim_value if first.HasField("dim_value") else first.dim_param
        if length != (frames or "T"):
            raise ExportError(
                f"{value.name} of the exported graph has length {length!r}; expected {frames or 'T'!r}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own internals: deprecated helpers, absent torchvision."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def static(graph: bytes, frames: int) -> bytes:
    """The same graph for T = `frames` alone."""
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "T":
                size.dim_value = frames
    return bytes(model.SerializeToString(deterministic=True))


def onnx_run(graph: bytes, *, fused: bool = True) -> Run:
    """Steps of a graph in ONNX Runtime, on one thread; raises ExportError where it is no clip step.

    Unless `fused`, each node is computed as it is written, whatever ONNX Runtime would make of several.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises plain exceptions of its own for every refusal
        raise ExportError(
            f"expected the graph of a clip step, got one that ONNX Runtime refuses: {error}"
        ) from error
    names = tuple(value.name for value in (*session.get_inputs(), *session.get_outputs()))
    if names != INPUTS + OUTPUTS:
        raise ExportError(f"expected the graph of a clip step, {INPUTS} to {OUTPUTS}; got one of {names}")

    def run(frames: Frames, state: State) -> tuple[Maps, State]:
        maps, after = session.run(list(OUTPUTS), dict(zip(INPUTS, (frames, state), strict=True)))
        return maps, after

    return run
