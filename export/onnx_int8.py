"""INT8 ONNX: static QDQ by ONNX Runtime's quantiser, and the search for the settings that lose least.

Weights keep seven bits (`reduce_range`). Processors without VNNI add pairs of products of eight bits in sixteen,
and saturate; eight-bit weights were right on one device and wrong on the next.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType, load_model_with_shape_infer

from uva_edge.errors import ExportError

from .fidelity import Judge
from .layers import Feed, worst_layers
from .onnx import OUTPUTS, onnx_run
from .trials import KEPT, Kept, Quantised, Trial

Method: TypeAlias = Literal["minmax", "percentile", "entropy"]

_METHODS: Final[dict[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
_SUMS: Final = ("Add", "Mul", "Sub", "Concat")
_ACTIVATIONS: Final = ("Clip", "Relu")
_POOLINGS: Final = ("ReduceMean", "ReduceMax")


@dataclass(frozen=True)
class Setting:
    """One way to quantise; `floats` names what stays float32."""

    per_channel: bool
    method: Method
    floats: Kept

    def __str__(self) -> str:
        return f"per-{'channel' if self.per_channel else 'tensor'}, {self.method}, {self.floats} in float"


@dataclass(frozen=True)
class Integers:
    """The integers of an engine.

    Attributes:
        symmetric: activations are int8 around zero, and not uint8 with a zero point.
        weight_bits: 7 where products could saturate.
        fused: whether ONNX Runtime computes such a graph as the engine would, or is to keep to its letter.
    """

    symmetric: bool
    weight_bits: Literal[7, 8]
    fused: bool

    @property
    def activations(self) -> QuantType:
        return QuantType.QInt8 if self.symmetric else QuantType.QUInt8


ONNX_RUNTIME: Final = Integers(symmetric=False, weight_bits=7, fused=True)
TENSORRT: Final = Integers(symmetric=True, weight_bits=8, fused=False)

SETTINGS: Final = tuple(
    Setting(per_channel, method, floats)
    for method, per_channel, floats in product(_METHODS, (True, False), KEPT)
)


def to_int8(
    graph: bytes,
    feeds: Sequence[Sequence[Feed]],
    judge: Judge,
    *,
    integers: Integers = ONNX_RUNTIME,
    settings: Sequence[Setting] = SETTINGS,
    report: Callable[[Trial], None] = lambda _: None,
) -> Quantised[bytes]:
    """Quantise a float clip step in every one of the settings; keep what correlates best with the float maps.

    The frames enter as integers: ``(x - 128) / 128`` has the scale 1/128 and the zero point 128 exactly.

    Args:
        graph: ONNX for any T.
        feeds: to learn the ranges of activations from: the steps of each clip (`calibration.feeds_of`).
        judge: holds the evidence; no clip of it may be among `feeds`.

    Raises:
        ExportError: ONNX Runtime can't quantise the graph.
        ParityError: no setting passes the gate; the message names the layers that lose most in the best of them.
    """
    with tempfile.TemporaryDirectory(prefix="uva-edge-int8-") as scratch:
        path = Path(scratch) / "float.onnx"
        path.write_bytes(graph)
        tried: list[tuple[Trial, bytes]] = []
        for method in dict.fromkeys(setting.method for setting in settings):
            ranges = _ranges(path, method, feeds)
            for setting in (item for item in settings if item.method == method):
                quantised = _quantise(path, setting, integers, ranges)
                run = onnx_run(quantised, fused=integers.fused)
                trial = Trial(setting, *quantised_convolutions(quantised), judge(run))
                tried.append((trial, quantised))
                report(trial)
    return Quantised.of(tried, lambda quantised: worst_layers(graph, quantised, feeds[0]))


def quantised_convolutions(graph: bytes) -> tuple[int, int]:
    """How many convolutions have integer activations and weights, and how many there are."""
    nodes = onnx.load_from_string(graph).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    found = [node for node in nodes if node.op_type in _CONVOLUTIONS]
    integer = [
        node for node in found if all(made_by.get(name) == "DequantizeLinear" for name in node.input[:2])
    ]
    return len(integer), len(found)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one after the other."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _ranges(path: Path, method: Method, feeds: Sequence[Sequence[Feed]]) -> Any:
    """The ranges of all tensors. A clip at a time: a calibrator holds what it is given at once in memory."""
    augmented = path.with_name(f"{method}.onnx")
    with _wrapped(f"calibrating by {method}"):
        calibrator = create_calibrator(
            path, None, augmented_model_path=str(augmented), calibrate_method=_METHODS[method]
        )
        for steps in feeds:
            calibrator.collect_data(_Reader(steps))
        return calibrator.compute_data()


def _quantise(path: Path, setting: Setting, integers: Integers, ranges: Any) -> bytes:
    with _wrapped(f"quantising ({setting})"):
        model = load_model_with_shape_infer(path)
        operators = [*_CONVOLUTIONS, *_ACTIVATIONS, *(_SUMS if "sums" not in setting.floats else ())]
        quantizer = QDQQuantizer(
            model,
            per_channel=setting.per_channel,
            reduce_range=integers.weight_bits == 7,
            weight_qType=QuantType.QInt8,
            activation_qType=integers.activations,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=_floats(model, setting.floats),
            op_types_to_quantize=operators,
            extra_options={
                "TensorQuantOverrides": _exact_input(model, integers),
                "ActivationSymmetric": integers.symmetric,
                "QuantizeBias": not integers.symmetric,  # TensorRT takes no integer biases
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        quantised = quantizer.model.model
    quantised.producer_name, quantised.producer_version = "uva_edge", ""
    quantised.graph.ClearField("value_info")
    try:
        onnx.checker.check_model(quantised, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the quantised graph is not valid ONNX: {error}") from error
    return bytes(quantised.SerializeToString(deterministic=True))


def _exact_input(model: onnx.ModelProto, integers: Integers) -> Mapping[str, list[dict[str, Any]]]:
    """The range of the normalised frames, which is known."""
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    exact = {
        "quant_type": integers.activations,
        "scale": np.array(1 / 128, np.float32),
        "zero_point": np.array(0, np.int8) if integers.symmetric else np.array(128, np.uint8),
    }
    return {first.input[0]: [exact]}


def _floats(model: onnx.ModelProto, kept: Kept) -> list[str]:
    """Names of the nodes that stay float: those asked for, and the ends, where bytes become numbers of the network
    and its numbers a map."""
    nodes = list(model.graph.node)
    layers = [index for index, node in enumerate(nodes) if node.op_type in _CONVOLUTIONS]
    ends = [*nodes[: layers[0]], *nodes[layers[-1] + 1 :]]
    excluded = [node.name for node in ends] + ([] if kept == "nothing" else _attention(nodes))
    if "last layer" in kept:
        excluded.append([node.name for node in nodes if node.op_type == "ConvTranspose"][-1])
    if "features" in kept:
        excluded += _ancestors(nodes, OUTPUTS[1])
    return list(dict.fromkeys(excluded))


def _ancestors(nodes: Sequence[onnx.NodeProto], output: str) -> list[str]:
    """Names of everything that an output is computed by; nodes are in topological order."""
    needed, names = {output}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            names.append(node.name)
    return names


def _attention(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """The channel attention: everything between a global pooling and its sigmoid."""
    pooled: set[str] = set()
    names = []
    for node in nodes:
        if node.op_type in _POOLINGS or pooled.intersection(node.input):
            names.append(node.name)
            if node.op_type != "Sigmoid":
                pooled.update(node.output)
    return names


@contextlib.contextmanager
def _wrapped(doing: str) -> Iterator[None]:
    """ONNX Runtime's quantiser raises plain exceptions of every kind, and prints."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        raise ExportError(
            f"{doing}: ONNX Runtime's quantiser failed: {type(error).__name__}: {error}"
        ) from error
