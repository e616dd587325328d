"""What a graph holds in memory while it computes one frame: all of its activations, and the most at one moment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import onnx

from .onnx import OUTPUTS, static

_VIEWS: Final = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear")
_IN_PLACE: Final = (
    "Add",
    "Clamp",
    "Clip",
    "Div",
    "Divide",
    "Maximum",
    "Minimum",
    "Mul",
    "Multiply",
    "Relu",
    "Sub",
    "Subtract",
)
"""Every engine computes these with the operator before them, as long as they have one input that is no constant."""
_ROUNDINGS: Final = ("FakeQuantize", "QuantizeLinear")
"""What comes out of them is kept in eight bits."""
_NO_OPERATORS: Final = ("Constant", "Parameter", "Result")
_SHAPES: Final = ("Shape", "ShapeOf")
"""They need no value, only its size, which is known."""


@dataclass(frozen=True)
class Activations:
    """Bytes of a step of one frame: the frame, the state and the activations, without weights.

    Attributes:
        total: of all values, as if each had a place of its own.
        live: of the values that are needed at the same time, at the worst moment: the arena of an engine that
            computes one operator after the other.
    """

    total: int
    live: int

    def as_details(self) -> dict[str, dict[str, int]]:
        """For the details of an artifact."""
        return {"activations": asdict(self)}


@dataclass(frozen=True)
class _Value:
    elements: int
    width: int

    @property
    def bytes(self) -> int:
        return self.elements * self.width


@dataclass(frozen=True)
class _Operator:
    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class _Graph:
    values: dict[str, _Value]
    inputs: Collection[str]
    constants: Collection[str]
    operators: Sequence[_Operator]
    results: Sequence[str]


def onnx_activations(graph: bytes) -> Activations:
    """Of a clip step in ONNX."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(static(graph, 1)), strict_mode=True)
    described = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return _activations(
        _Graph(
            values={item.name: _onnx_value(item.type.tensor_type) for item in described},
            inputs=[item.name for item in model.graph.input],
            constants=[item.name for item in model.graph.initializer],
            operators=[
                _Operator(node.op_type, [*filter(None, node.input)], node.output) for node in model.graph.node
            ],
            results=OUTPUTS,
        )
    )


def openvino_activations(model: Any) -> Activations:
    """Of a clip step as an OpenVINO model."""
    single = model.clone()
    # One frame of one stream; a state of several frames has a first axis that is known.
    shapes = [
        [size.get_length() if size.is_static else 1 for size in value.partial_shape] for value in model.inputs
    ]
    single.reshape(dict(enumerate(shapes)))
    nodes = single.get_ordered_ops()
    values = [value for node in nodes for value in node.outputs()]
    kinds = {_key(value): value.get_node().get_type_name() for value in values}
    return _activations(
        _Graph(
            values={_key(value): _Value(math.prod(value.shape), value.element_type.size) for value in values},
            inputs=[name for name, kind in kinds.items() if kind == "Parameter"],
            constants=[name for name, kind in kinds.items() if kind == "Constant"],
            operators=[
                _Operator(
                    node.get_type_name(),
                    [_key(value) for value in node.input_values()],
                    [_key(value) for value in node.outputs()],
                )
                for node in nodes
                if node.get_type_name() not in _NO_OPERATORS
            ],
            results=[_key(node.input_value(0)) for node in single.get_results()],
        )
    )


def _onnx_value(tensor: onnx.TypeProto.Tensor) -> _Value:
    width: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return _Value(math.prod(size.dim_value for size in tensor.shape.dim), width)


def _key(value: Any) -> str:
    return f"{value.get_node().get_name()}:{value.get_index()}"


def _activations(graph: _Graph) -> Activations:
    """Give each value a place, or that of its source, and look when places are needed."""
    uses = Counter(
        name for operator in graph.operators if operator.kind not in _SHAPES for name in operator.inputs
    )
    constants = set(graph.constants)
    place = {name: name for name in graph.inputs}
    size = {name: graph.values[name].bytes for name in place}
    first, last = dict.fromkeys(place, 0), dict.fromkeys(place, 0)
    for step, operator in enumerate(graph.operators):
        sources = [name for name in operator.inputs if name not in constants]
        if not sources or operator.kind in _SHAPES:
            constants |= set(operator.outputs)
            continue
        last |= {place[name]: step for name in sources}
        rounding = operator.kind in _ROUNDINGS
        alone = len(sources) == 1 and uses[sources[0]] == 1
        shares = operator.kind in _VIEWS or (alone and (rounding or operator.kind in _IN_PLACE))
        for name in operator.outputs:
            place[name] = home = place[sources[0]] if shares else name
            value = graph.values[name]
            size[home] = min(size.get(home, value.bytes), value.elements if rounding else value.bytes)
            first.setdefault(home, step)
            last[home] = step
    last |= {place[name]: len(graph.operators) for name in graph.results}
    live = max(
        sum(size[name] for name in size if first[name] <= step <= last[name])
        for step in range(len(graph.operators))
    )
    return Activations(total=sum(size.values()), live=live)
