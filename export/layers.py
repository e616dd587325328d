"""Which layers of a quantised graph lose most: float and quantised activations, compared tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

_LAYERS: Final = ("Conv", "ConvTranspose", "Add", "Mul", "Concat", "Sub")


@dataclass(frozen=True)
class LayerError:
    """How far the output of a layer is from the float one: the signal-to-noise ratio in dB."""

    name: str
    operator: str
    decibels: float

    def __str__(self) -> str:
        return f"{self.name} ({self.operator}): signal to noise {self.decibels:.1f} dB"


def worst_layers(
    reference: bytes, quantised: bytes, feeds: Sequence[Mapping[str, NDArray[Any]]], count: int = 5
) -> list[LayerError]:
    """The layers of two ONNX graphs with the same names whose outputs differ most, the worst first."""
    float_model, integer_model = map(onnx.load_from_string, (reference, quantised))
    known = {name for node in integer_model.graph.node for name in node.output}
    layers = {
        node.output[0]: node
        for node in float_model.graph.node
        if node.op_type in _LAYERS and node.output[0] in known
    }
    sums = {name: np.zeros(2) for name in layers}
    sessions = [_session(model, list(layers)) for model in (float_model, integer_model)]
    for feed in feeds:
        outputs = [session.run(list(layers), dict(feed)) for session in sessions]
        for name, expected, found in zip(layers, *outputs, strict=True):
            sums[name] += np.square(expected).sum(), np.square(expected - found).sum()
    errors = [
        LayerError(node.name or name, node.op_type, _decibels(*sums[name])) for name, node in layers.items()
    ]
    return sorted(errors, key=lambda error: error.decibels)[:count]


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    there = {value.name for value in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Fused, a layer would no longer have an output of its own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _decibels(signal: float, noise: float) -> float:
    return float(10 * np.log10(signal / noise)) if noise else float("inf")
