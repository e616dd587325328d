"""Which layers of a quantised network lose most: float and quantised activations, compared tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Feed: TypeAlias = Mapping[str, NDArray[Any]]
Tap: TypeAlias = Callable[[Feed], Sequence[NDArray[Any]]]
"""One run of a graph: the outputs of its layers, in a fixed order."""

_LAYERS: Final = ("Conv", "ConvTranspose", "Add", "Mul", "Concat", "Sub")


@dataclass(frozen=True)
class LayerError:
    """How far the output of a layer is from the float one: the signal-to-noise ratio in dB."""

    name: str
    operator: str
    decibels: float

    def __str__(self) -> str:
        return f"{self.name} ({self.operator}): signal to noise {self.decibels:.1f} dB"


def rank_layers(
    layers: Sequence[tuple[str, str]], reference: Tap, quantised: Tap, feeds: Sequence[Feed], count: int = 5
) -> list[LayerError]:
    """The layers, pairs of name and operator, whose outputs differ most from the reference, the worst first."""
    sums = np.zeros((len(layers), 2))
    for feed in feeds:
        for index, (expected, found) in enumerate(zip(reference(feed), quantised(feed), strict=True)):
            sums[index] += np.square(expected).sum(), np.square(expected - found).sum()
    errors = [
        LayerError(name, operator, _decibels(*pair))
        for (name, operator), pair in zip(layers, sums, strict=True)
    ]
    return sorted(errors, key=lambda error: error.decibels)[:count]


def worst_layers(
    reference: bytes, quantised: bytes, feeds: Sequence[Feed], count: int = 5
) -> list[LayerError]:
    """Of two ONNX graphs with the same names."""
    float_model, integer_model = map(onnx.load_from_string, (reference, quantised))
    known = {name for node in integer_model.graph.node for name in node.output}
    layers = {
        node.output[0]: (node.name or node.output[0], node.op_type)
        for node in float_model.graph.node
        if node.op_type in _LAYERS and node.output[0] in known
    }
    expected, found = (_tap(model, list(layers)) for model in (float_model, integer_model))
    return rank_layers(list(layers.values()), expected, found, feeds, count)


def _tap(model: onnx.ModelProto, names: Sequence[str]) -> Tap:
    session = _session(model, names)
    return lambda feed: session.run(list(names), dict(feed))


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
