"""ONNX: the clip step of a network as one graph of plain operators, for any T or for T = 1."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from uva_edge.errors import ExportError, OptionError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps, Run, State

OPSET: Final = 18
"""ONNX Runtime's static quantiser takes opsets up to 20; 18 is the exporter's own, converted by nobody."""

INPUTS: Final = ("frames", "state_in")
OUTPUTS: Final = ("maps", "state_out")

OPERATORS: Final = frozenset(
    ("Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Exp", "Expand", "Mul", "Neg",
     "ReduceMax", "ReduceMean", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Squeeze", "Sub", "Transpose",
     "Unsqueeze")
)  # fmt: skip
"""What the graph may hold: operators that every engine and converter takes."""

_DTYPES: Final = {"uint8": torch.uint8, "float32": torch.float32}


def to_onnx(step: nn.Module, contract: Contract, *, frames: int | None = None) -> bytes:
    """A clip step as a checked ONNX model, batch norms folded; `frames` is T where it is static.

    How many streams it takes is told by `streams_of`. The same weights give the same bytes. The step is left as it is.

    Raises:
        ExportError: the exporter failed, or the graph is not of the form that the contract asks for.
        OptionError: `frames` is below 1.
    """
    if frames is not None and frames < 1:
        raise OptionError(f"frames must be at least 1, or None for any number; got {frames}")
    rows, columns = contract.grid
    streams = streams_of(contract, frames)
    example = torch.zeros(frames or 6, rows, columns, 3, dtype=torch.uint8)
    state = blank_state(contract).repeat(streams or 3, *[1] * (len(contract.state_shape) - 1))
    shapes = {
        "frames": None if frames else {0: torch.export.Dim("T", min=1, max=1 << 16)},
        "state": None if streams else {0: torch.export.Dim("S", min=1, max=1 << 10)},
    }
    try:
        with _quiet():
            # There are at least as many frames as streams. That can't be said of two dimensions, so it is left to
            # the run: else the exporter guards each slice with what it would be if it were not so.
            captured = torch.export.export(
                step,
                (example, state),
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            program = torch.onnx.export(
                captured,
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
    _check(model, frames or "T", contract.state_shape[0] if streams else "S")
    return bytes(model.SerializeToString(deterministic=True))


def streams_of(contract: Contract, frames: int | None) -> int | None:
    """S of a clip step of so many frames: any (None) where T is any, unless the state is made of frames; else 1.

    A window takes the memory of its frames for each map, so a call has room for a few streams at most.
    """
    return 1 if frames or contract.history else None


def blank_state(contract: Contract) -> torch.Tensor:
    """Zeros of the shape and dtype of one stream's state."""
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


def _check(model: onnx.ModelProto, frames: int | str, states: int | str) -> None:
    """Raise ExportError unless the graph is plain, and its sides have these lengths."""
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
    sides = (*model.graph.input, *model.graph.output)
    for value, expected in zip(sides, (frames, states) * 2, strict=True):
        first = value.type.tensor_type.shape.dim[0]
        length: int | str = first.dim_value if first.HasField("dim_value") else first.dim_param
        if length != expected:
            raise ExportError(
                f"{value.name} of the exported graph has length {length!r}; expected {expected!r}"
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
    """The same graph for T = `frames` of one stream alone."""
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_value = {"T": frames, "S": 1}[size.dim_param]
    _fold_sizes(model)
    return bytes(model.SerializeToString(deterministic=True))


def _fold_sizes(model: onnx.ModelProto) -> None:
    """What is computed of sizes that are known becomes a constant, for converters that look no further."""
    graph, inferred = model.graph, onnx.shape_inference.infer_shapes(model).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    sizes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info)
    }
    measured = {node.input[0] for node in graph.node if node.op_type == "Shape"}
    blank = {name: np.zeros(sizes[name], np.uint8) for name in measured if all(sizes.get(name, [0]))}
    folded: set[str] = set()
    for node in list(graph.node):
        measures = node.op_type == "Shape" and node.input[0] in blank
        if measures or (folded.intersection(node.input) and constants.keys() >= {*node.input}):
            known = {**blank, **constants}
            values: Any = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
            constants |= zip(node.output, values, strict=True)
            folded.update(node.output)
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    kept += [onnx.numpy_helper.from_array(constants[name], name) for name in sorted(folded & used)]
    del graph.initializer[:]
    graph.initializer.extend(kept)


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
