"""INT8 OpenVINO IR by NNCF: the same search as for ONNX, and NNCF's accuracy-aware mode where it finds nothing.

Weights keep seven bits, for the reason that `uva_edge.export.onnx_int8` gives.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal, TypeAlias
from unittest import mock

import nncf
import numpy as np
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from nncf.quantization.range_estimator import (
    AggregatorType,
    RangeEstimatorParameters,
    StatisticsCollectorParameters,
    StatisticsType,
)
from rich import get_console

from uva_edge.errors import ExportError
from uva_edge.manifest import Contract
from uva_edge.runtimes.openvino import openvino_core

from .fidelity import Judge
from .layers import Feed, LayerError, Tap, rank_layers
from .onnx import OUTPUTS
from .openvino import Model, compiled_run, openvino_run
from .trials import KEPT, Kept, Quantised, Trial

_CONVOLUTIONS: Final = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")
_SUMS: Final = ("Add", "Multiply", "Subtract", "Concat")
_POOLINGS: Final = ("ReduceMean", "ReduceMax")
_DEQUANTISE: Final = ("Reshape", "Multiply", "Subtract", "Convert")
_KEEP_LEVELS: Final = ("Concat", "Slice", "Relu", "Clamp", "ReduceMax")
_LAYERS: Final = (*_CONVOLUTIONS, *_SUMS)


Ranges: TypeAlias = Literal["extremes", "mean"]
_RANGES: Final[tuple[Ranges, ...]] = ("extremes", "mean")


@dataclass(frozen=True)
class Setting:
    """One way to quantise.

    Attributes:
        ranges: of activations: the extremes of all samples, or the mean of those of each.
        floats: what stays float32.
        accuracy_aware: NNCF then puts layers back to float32 one by one until the gate is passed.
    """

    ranges: Ranges
    floats: Kept
    accuracy_aware: bool = False

    def __str__(self) -> str:
        aware = ", accuracy-aware" if self.accuracy_aware else ""
        return f"{self.ranges} of samples, {self.floats} in float{aware}"


SETTINGS: Final = tuple(Setting(ranges, floats) for ranges, floats in product(_RANGES, KEPT))


def to_openvino_int8(
    model: Model,
    contract: Contract,
    feeds: Sequence[Sequence[Feed]],
    judge: Judge,
    *,
    settings: Sequence[Setting] = SETTINGS,
    report: Callable[[Trial], None] = lambda _: None,
) -> Quantised[Model]:
    """Quantise a float clip step in every one of the settings; keep what correlates best with the float maps.

    Args:
        model: for any T, as `uva_edge.export.openvino.to_openvino` gives it.
        feeds, judge: as for `uva_edge.export.onnx_int8.to_int8`.

    Raises:
        ExportError: NNCF can't quantise the model.
        ParityError: no setting passes the gate, NNCF's accuracy-aware mode neither; the message names the layers
            that lose most.
    """
    steps = [feed for clip in feeds for feed in clip]

    def attempt(setting: Setting) -> tuple[Trial, Model]:
        quantised = _quantise(model, setting, steps, judge, contract)
        trial = Trial(setting, *integer_convolutions(quantised), judge(openvino_run(quantised, contract)))
        report(trial)
        return trial, quantised

    tried = [attempt(setting) for setting in settings]
    if all(trial.fidelity.misses() for trial, _ in tried):
        tried.append(attempt(Setting("extremes", "nothing", accuracy_aware=True)))
    return Quantised.of(tried, lambda quantised: _worst_layers(model, quantised, feeds[0]))


def integer_convolutions(model: Model) -> tuple[int, int]:
    """How many convolutions have quantised activations and weights, and how many there are."""
    found = [node for node in model.get_ops() if node.get_type_name() in _CONVOLUTIONS]
    integer = [node for node in found if all(_is_quantised(value) for value in node.input_values())]
    return len(integer), len(found)


def _is_quantised(value: Any) -> bool:
    """Whether a value has 256 levels: activations come from a FakeQuantize, weights are stored as integers."""
    node = value.get_node()
    while node.get_type_name() in (*_DEQUANTISE, *_KEEP_LEVELS):
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant":
        return str(node.get_element_type().get_type_name()) in ("i8", "u8")
    return bool(node.get_type_name() == "FakeQuantize")


def _quantise(
    model: Model, setting: Setting, steps: Sequence[Feed], judge: Judge, contract: Contract
) -> Model:
    scope = nncf.IgnoredScope(
        names=_floats(model, setting.floats),
        types=list(_SUMS) if "sums" in setting.floats else [],
    )
    advanced = AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE)
    if setting.ranges == "extremes":
        advanced.activations_range_estimator_params = _EXTREMES
    options: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(steps),
        "ignored_scope": scope,
    }
    with _wrapped(f"quantising ({setting})"), _one_core():
        if setting.accuracy_aware:
            quantised = nncf.quantize_with_accuracy_control(
                model.clone(),
                nncf.Dataset(steps),
                nncf.Dataset([0]),  # the judge has its own
                validation_fn=lambda compiled, _: (judge(compiled_run(compiled, contract)).margin, None),
                max_drop=judge.perfect.margin * _SHARE_OF_MARGIN,
                drop_type=nncf.DropType.ABSOLUTE,
                advanced_quantization_parameters=advanced,
                **options,
            )
        else:
            quantised = nncf.quantize(
                model.clone(), nncf.Dataset(steps), advanced_parameters=advanced, **options
            )
    return _with_exact_input(quantised)


def _with_exact_input(model: Model) -> Model:
    """The levels of the frames are known: whole numbers from -128 to 127, or these over 128."""
    first = next(node for node in model.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS)
    fake = first.input_value(0).get_node()
    if fake.get_type_name() == "FakeQuantize":
        # OpenVINO moves the division into the weights where it can.
        whole = np.abs(fake.input_value(1).get_node().data).max() > 2
        unit = 1.0 if whole else 1 / 128
        for index, bound in enumerate((-128 * unit, 127 * unit) * 2, start=1):
            value = fake.input_value(index).get_node().data
            exact = openvino.op.Constant(np.full_like(value, bound))
            fake.input(index).replace_source_output(exact.output(0))
    return model


def _collector(kind: StatisticsType, over: AggregatorType) -> StatisticsCollectorParameters:
    return StatisticsCollectorParameters(statistics_type=kind, aggregator_type=over)


_EXTREMES: Final = RangeEstimatorParameters(
    min=_collector(StatisticsType.MIN, AggregatorType.MIN),
    max=_collector(StatisticsType.MAX, AggregatorType.MAX),
)
_SHARE_OF_MARGIN: Final = 0.5
"""Of what the gate lets go: a model compiled for one frame, as it is judged in the end, rounds other than NNCF's."""


def _floats(model: Model, kept: Kept) -> list[str]:
    """Names of the operations that stay float."""
    nodes = model.get_ordered_ops()
    names = [] if kept == "nothing" else _attention(nodes)
    if "last layer" in kept:
        names.append(
            [node for node in nodes if node.get_type_name() == _CONVOLUTIONS[-1]][-1].get_friendly_name()
        )
    if "features" in kept:
        names += _ancestors(nodes, model.output(OUTPUTS[1]).get_node())
    return list(dict.fromkeys(names))


def _ancestors(nodes: Sequence[Any], result: Any) -> list[str]:
    """Names of the operations that an output is computed by; nodes are in topological order."""
    needed, names = {result.get_friendly_name()}, []
    for node in reversed(nodes):
        if node.get_friendly_name() in needed:
            needed.update(value.get_node().get_friendly_name() for value in node.input_values())
            if node.get_type_name() not in ("Constant", "Parameter", "Result"):
                names.append(node.get_friendly_name())
    return names


def _attention(nodes: Sequence[Any]) -> list[str]:
    """The channel attention: everything between a global pooling and its sigmoid."""
    names: list[str] = []
    pooled: set[str] = set()
    for node in nodes:
        kind, name = node.get_type_name(), node.get_friendly_name()
        sources = {value.get_node().get_friendly_name() for value in node.input_values()}
        if kind in _POOLINGS or pooled & sources:
            names.append(name)
            if kind != "Sigmoid":
                pooled.add(name)
    return names


def _worst_layers(model: Model, quantised: Model, feeds: Sequence[Feed]) -> list[LayerError]:
    kinds = {node.get_friendly_name(): node.get_type_name() for node in quantised.get_ordered_ops()}
    layers = [
        (node.get_friendly_name(), node.get_type_name())
        for node in model.get_ordered_ops()
        if node.get_type_name() in _LAYERS and kinds.get(node.get_friendly_name()) == node.get_type_name()
    ]
    names = [name for name, _ in layers]
    return rank_layers(layers, _tap(model, names), _tap(quantised, names), feeds)


def _tap(model: Model, names: Sequence[str]) -> Tap:
    tapped = model.clone()
    by_name = {node.get_friendly_name(): node for node in tapped.get_ops()}
    tapped.add_outputs([by_name[name].output(0) for name in names])
    compiled = openvino_core().compile_model(tapped, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    count = len(model.outputs)

    def run(feed: Feed) -> Sequence[np.ndarray[Any, Any]]:
        return list(compiled(dict(feed)).to_tuple())[count:]

    return run


def _one_core() -> Any:
    """NNCF would make OpenVINO cores of its own; `openvino_core` says what the next Ctrl-C makes of that."""
    core = openvino_core()
    return mock.patch.multiple(openvino, Core=lambda: core, compile_model=core.compile_model)


@contextlib.contextmanager
def _wrapped(doing: str) -> Iterator[None]:
    """NNCF raises plain exceptions of every kind, logs, and draws progress bars on rich's console."""
    logger, console = logging.getLogger("nncf"), get_console()
    level, quiet = logger.level, console.quiet
    logger.setLevel(logging.ERROR)
    console.quiet = True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        raise ExportError(f"{doing}: NNCF failed: {type(error).__name__}: {error}") from error
    finally:
        logger.setLevel(level)
        console.quiet = quiet
