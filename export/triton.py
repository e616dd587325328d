"""A model repository for the Triton Inference Server: streams are its sequences, whose states it keeps.

A call of the graph is a step of one frame of each of S streams, so Triton's batch is the streams. A stream's first
frame is its own past, which the client need not know: the graph gets an input `start`, Triton's control of that
name, and where it is set the state is what this very frame leaves behind, whatever came in.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from uva_edge.errors import ExportError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps

from .onnx import INPUTS, OUTPUTS

REQUIRES: Final = {"triton_backend": "onnxruntime"}
START: Final = "start"
MAX_BATCH: Final = 32
_SEQUENCES: Final = 256
_IDLE_MICROSECONDS: Final = 10_000_000
_SELECTED: Final = "state_here"


def triton_files(graph: bytes, name: str, contract: Contract) -> dict[str, bytes]:
    """The folder of a model in a repository, the graph first; `graph` is one of `sequence_graph`."""
    folder = f"triton/{name}"
    return {
        f"{folder}/1/model.onnx": graph,
        f"{folder}/config.pbtxt": config(name, contract).encode(),
    }


def sequence_graph(graph: bytes, contract: Contract) -> bytes:
    """A clip step for any number of streams, with the further input `start`, int32 [S, 1]: 1 where one begins.

    Raises:
        ExportError: the state that a frame leaves depends on the one that came in, so no frame can be its own past;
            or the maps belong to an earlier frame.
    """
    if contract.pairing != "causal":
        raise ExportError(
            f"Triton's sequences are live streams of causal pairs; this network's pairing is {contract.pairing}"
        )
    model = onnx.load_from_string(graph)
    leaves = _needed_for(OUTPUTS[1], model.graph.node)
    for node in _readers(model.graph.node, leaves):
        node.input[:] = [_SELECTED if name == INPUTS[1] else name for name in node.input]
    axes = numpy_helper.from_array(np.arange(2, len(contract.state_shape)), f"{START}_axes")
    model.graph.initializer.append(axes)
    model.graph.input.append(helper.make_tensor_value_info(START, TensorProto.INT32, ["S", 1]))
    selection = [
        helper.make_node("Cast", [START], [f"{START}_bool"], to=TensorProto.BOOL),
        helper.make_node("Unsqueeze", [f"{START}_bool", axes.name], [f"{START}_states"]),
        helper.make_node("Where", [f"{START}_states", OUTPUTS[1], INPUTS[1]], [_SELECTED]),
    ]
    before = [node for node in model.graph.node if leaves.intersection(node.output)]
    after = [node for node in model.graph.node if not leaves.intersection(node.output)]
    del model.graph.node[:]
    model.graph.node.extend([*before, *selection, *after])
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _readers(nodes: Any, leaves: set[str]) -> list[Any]:
    """The nodes that take the values of the state that comes in; others ask it for the number of streams."""
    readers = [node for node in nodes if INPUTS[1] in node.input and node.op_type != "Shape"]
    if not readers or any(leaves.intersection(node.output) for node in readers):
        raise ExportError(
            f"expected a graph whose {OUTPUTS[0]} depend on the values of {INPUTS[1]}, and whose {OUTPUTS[1]} does "
            "not; got another one"
        )
    return readers


def _needed_for(name: str, nodes: Any) -> set[str]:
    """All values that a value is computed of, itself among them; nodes are in the order of computation."""
    needed = {name}
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def config(name: str, contract: Contract) -> str:
    """`config.pbtxt`: names, types and sizes of the graph, and how sequences are batched."""
    frames, maps, state = contract.frames, contract.maps, contract.state_in
    batch = min(MAX_BATCH, contract.frames_per_call)
    return f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [
  {{ name: "{frames.name}" data_type: TYPE_UINT8 dims: [ {_sizes(frames.shape[1:])} ] }}
]
output [
  {{ name: "{maps.name}" data_type: TYPE_FP32 dims: [ {_sizes(maps.shape[1:])} ] }}
]
sequence_batching {{
  max_sequence_idle_microseconds: {_IDLE_MICROSECONDS}
  oldest {{ max_candidate_sequences: {_SEQUENCES} }}
  control_input [
    {{ name: "{START}" control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }} ] }}
  ]
  state [
    {{
      input_name: "{state.name}"
      output_name: "{contract.state_out.name}"
      data_type: TYPE_FP32
      dims: [ {_sizes(state.shape[1:])} ]
    }}
  ]
}}
"""


def _sizes(shape: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, shape))


def run_sequence(graph: bytes, contract: Contract, clip: Frames) -> tuple[Maps, NDArray[Any]]:
    """A clip as Triton sends it, a frame a call; its first state is of NaN, which a start has to leave out.

    Returns the maps of all frames and the last state.
    """
    session = onnxruntime.InferenceSession(graph, _quiet(), providers=["CPUExecutionProvider"])
    state = np.full(contract.state_shape, np.nan, np.float32)
    maps = []
    for index in range(len(clip)):
        start = np.array([[index == 0]], np.int32)
        feeds = dict(zip((*INPUTS, START), (clip[index : index + 1], state, start), strict=True))
        out, state = session.run(list(OUTPUTS), feeds)
        maps.append(out)
    return np.concatenate(maps), state


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options
