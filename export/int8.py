"""INT8 ONNX: static QDQ by ONNX Runtime's quantiser, and the search for the settings that lose least.

Weights keep seven bits (`reduce_range`). Processors without VNNI add pairs of products of eight bits in sixteen,
and saturate; eight-bit weights were right on one device and wrong on the next.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType, load_model_with_shape_infer

from uva_edge.errors import ExportError, ParityError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames, Maps, State, first_state

from .fidelity import Fidelity, Judge, Run
from .layers import worst_layers
from .onnx import INPUTS, OUTPUTS

Method: TypeAlias = Literal["minmax", "percentile", "entropy"]
Kept: TypeAlias = Literal["nothing", "attention", "attention and sums", "attention, sums and the last layer"]

_METHODS: Final[dict[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
_SUMS: Final = ("Add", "Mul", "Sub", "Concat")
_ACTIVATIONS: Final = ("Clip", "Relu")
_POOLINGS: Final = ("ReduceMean", "ReduceMax")
_STEP: Final = 4
"""Frames of a step while calibrating."""


@dataclass(frozen=True)
class Setting:
    """One way to quantise; `floats` names what stays float32."""

    per_channel: bool
    method: Method
    floats: Kept

    def __str__(self) -> str:
        return f"per-{'channel' if self.per_channel else 'tensor'}, {self.method}, {self.floats} in float"


SETTINGS: Final = tuple(
    Setting(per_channel, method, floats)
    for method, per_channel, floats in product(
        _METHODS,
        (True, False),
        ("nothing", "attention", "attention and sums", "attention, sums and the last layer"),
    )
)


@dataclass(frozen=True)
class Trial:
    """What a setting came to: how many of the convolutions are integer ones, and what is kept of the maps."""

    setting: Setting
    quantised: int
    convolutions: int
    fidelity: Fidelity

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.setting),
            "convolutions": f"{self.quantised} of {self.convolutions}",
            **{name: round(value, 5) for name, value in self.fidelity.as_dict().items()},
        }


@dataclass(frozen=True, eq=False)
class Quantised:
    """The graph of the best trial, and all trials."""

    graph: bytes
    best: Trial
    trials: tuple[Trial, ...]


def to_int8(
    graph: bytes,
    contract: Contract,
    clips: Sequence[Frames],
    judge: Judge,
    *,
    settings: Sequence[Setting] = SETTINGS,
    report: Callable[[Trial], None] = lambda _: None,
) -> Quantised:
    """Quantise a float clip step in every one of the settings; keep what correlates best with the float maps.

    The frames enter as integers: ``(x - 128) / 128`` has the scale 1/128 and the zero point 128 exactly.

    Args:
        graph: ONNX for any T.
        clips: to learn the ranges of activations from, uint8 [T, R, C, 3] each; they move.
        judge: holds the evidence; no clip of it may be among `clips`.

    Raises:
        ExportError: ONNX Runtime can't quantise the graph.
        ParityError: no setting passes the gate; the message names the layers that lose most in the best of them.
    """
    with tempfile.TemporaryDirectory(prefix="uva-edge-int8-") as scratch:
        path = Path(scratch) / "float.onnx"
        path.write_bytes(graph)
        feeds = _feeds(onnx_run(graph), contract, clips)
        graphs: dict[Setting, bytes] = {}
        trials = []
        for method in dict.fromkeys(setting.method for setting in settings):
            ranges = _ranges(path, method, feeds)
            for setting in (item for item in settings if item.method == method):
                graphs[setting] = _quantise(path, setting, ranges)
                trials.append(
                    Trial(setting, *quantised_convolutions(graphs[setting]), judge(onnx_run(graphs[setting])))
                )
                report(trials[-1])
    best = _best(trials)
    if missed := best.fidelity.misses():
        layers = worst_layers(graph, graphs[best.setting], feeds[0])
        raise ParityError(
            f"INT8 was not written: of {len(trials)} settings the best ({best.setting}) misses {'; '.join(missed)}. "
            f"What loses most there:\n" + "\n".join(f"  {layer}" for layer in layers)
        )
    return Quantised(graphs[best.setting], best, tuple(trials))


def _best(trials: Sequence[Trial]) -> Trial:
    """Of those that pass the gate the one that keeps most, on whatever it keeps least of."""

    def rank(trial: Trial) -> tuple[bool, float]:
        found = trial.fidelity
        return not found.misses(), min(found.cc_stills, found.cc_clips, found.cc_worst_clip)

    return max(trials, key=rank)


def static(graph: bytes, frames: int) -> bytes:
    """The same graph for T = `frames` alone."""
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "T":
                size.dim_value = frames
    return bytes(model.SerializeToString(deterministic=True))


def onnx_run(graph: bytes) -> Run:
    """Steps of a graph in ONNX Runtime, on one thread; raises ExportError where it is no clip step."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
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


def quantised_convolutions(graph: bytes) -> tuple[int, int]:
    """How many convolutions have integer activations and weights, and how many there are."""
    nodes = onnx.load_from_string(graph).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    found = [node for node in nodes if node.op_type in _CONVOLUTIONS]
    integer = [
        node for node in found if all(made_by.get(name) == "DequantizeLinear" for name in node.input[:2])
    ]
    return len(integer), len(found)


Feed: TypeAlias = dict[str, np.ndarray[Any, Any]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one after the other."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _feeds(run: Run, contract: Contract, clips: Sequence[Frames]) -> list[list[Feed]]:
    """The steps of each clip, each with the state that the one before left."""
    found = []
    for clip in clips:
        state, steps = first_state(contract, run, clip[:1]), []
        for start in range(0, len(clip), _STEP):
            steps.append(dict(zip(INPUTS, (clip[start : start + _STEP], state), strict=True)))
            _, state = run(clip[start : start + _STEP], state)
        found.append(steps)
    return found


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


def _quantise(path: Path, setting: Setting, ranges: Any) -> bytes:
    with _wrapped(f"quantising ({setting})"):
        model = load_model_with_shape_infer(path)
        operators = [*_CONVOLUTIONS, *_ACTIVATIONS, *(_SUMS if "sums" not in setting.floats else ())]
        quantizer = QDQQuantizer(
            model,
            per_channel=setting.per_channel,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=_floats(model, setting.floats),
            op_types_to_quantize=operators,
            extra_options={"TensorQuantOverrides": _exact_input(model)},
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


def _exact_input(model: onnx.ModelProto) -> Mapping[str, list[dict[str, Any]]]:
    """The range of the normalised frames, which is known."""
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    exact = {
        "quant_type": QuantType.QUInt8,
        "scale": np.array(1 / 128, np.float32),
        "zero_point": np.array(128, np.uint8),
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
    return excluded


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
