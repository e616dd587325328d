"""Integer constants for the C of a network: ranges of moving clips, weights of seven bits, a search by the gate.

`uva_edge.runtimes.native.reference` says what is computed with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import ExportError
from uva_edge.manifest import Contract
from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.clip_step import folded
from uva_edge.runtimes.backend import Frames, Maps, Run, State
from uva_edge.runtimes.native.build import probe_compiler
from uva_edge.runtimes.native.compiled import Model
from uva_edge.runtimes.native.integers import Integers
from uva_edge.runtimes.native.parameters import Parameters, read_parameters
from uva_edge.runtimes.native.reference import ATTENTION_BITS, INPUT_ZERO, step
from uva_edge.runtimes.native.source import Origin, generate
from uva_edge.runtimes.native.topology import BlockShape, Topology

from .fidelity import Judge
from .native_ranges import Ranges, ranges_of
from .trials import Quantised, Trial

if TYPE_CHECKING:
    from .artifacts import Exportable

SHARES: Final = (1.0, 0.9999, 0.9995)
_WEIGHT_LIMIT: Final = 63
_LEAST_SCALE: Final = 1 / 64
"""Of a channel's weights, beside the largest of its layer: below it a 16-bit multiplier would lose bits."""
_SPREAD: Final = 8
"""Largest ratio of the scales of a layer's channels."""
_WIDE: Final = 30000
"""What the largest seen becomes as int16; the rest is headroom."""
_SUM_BITS: Final = 60000
"""Bound of a sum of absolute attention weights: times an int16 it stays within int32."""


@dataclass(frozen=True)
class Setting:
    """One way to learn ranges: what share of the values each must hold."""

    share: float

    def __str__(self) -> str:
        return f"ranges of {self.share:.2%} of the values"


def to_native_int8(subject: Exportable, clips: Sequence[Frames], judge: Judge) -> Quantised[Integers]:
    """Quantise a network by the ranges of clips, in every one of the settings; keep what correlates best.

    Every convolution becomes an integer one. What is judged is the C itself where a compiler is here, else the numpy
    reference, which gives the same bits.

    Args:
        clips: to learn ranges from; none of the judge's evidence may be among them.

    Raises:
        SessionError: the C knows no such network.
        ExportError: pairs that are not causal, or maps that are not scaled to their peak.
        ParityError: no setting passes the gate.
    """
    network = load_checkpoint(subject.weights)[0]
    topology = Topology.of(subject.network, subject.contract)
    if (topology.output, topology.pairing) != ("peak", "causal"):
        raise ExportError(
            "int8 C is of causal pairs and scales maps to their peak (output = peak); this network's are "
            f"{topology.pairing}, and its output is {topology.output}"
        )
    parameters = read_parameters(subject.weights, topology)
    ranges = ranges_of(folded(network), topology, clips)
    convolutions = sum(name.endswith(".weight") for name in parameters)
    tried = []
    for share in SHARES:
        integers = quantise(topology, parameters, ranges, Setting(share))
        run = _run_of(integers, subject.contract)
        tried.append((Trial(Setting(share), convolutions, convolutions, judge(run)), integers))
    return Quantised.of(tried, lambda _: ())


def _run_of(integers: Integers, contract: Contract) -> Run:
    if probe_compiler().ok:
        source = generate(integers, Origin("trial", "0" * 64, ()))
        return Model.load(source, contract.state_shape).run

    def run(frames: Frames, state: State) -> tuple[Maps, State]:
        kept = np.round(np.asarray(state)[0].transpose(1, 2, 0) / integers.state_scale).astype(np.int32)
        maps = []
        for frame in frames:
            saliency, kept = step(integers, frame, kept)
            maps.append(saliency)
        features = (kept * np.float32(integers.state_scale)).transpose(2, 0, 1)[None]
        return np.stack(maps), features.astype(np.float32)

    return run


def quantise(topology: Topology, parameters: Parameters, ranges: Ranges, setting: Setting) -> Integers:
    """The constants for a network whose activations have such ranges."""
    return _Quantiser(topology, parameters, ranges, setting.share).integers()


@dataclass(frozen=True)
class _Scale:
    """uint8 u stands for ``(u - zero) scale``."""

    scale: NDArray[np.float64] | np.float64 | float  # of each channel, or of all
    zero: int = 0


class _Quantiser:
    def __init__(self, topology: Topology, parameters: Parameters, ranges: Ranges, share: float) -> None:
        self._topology, self._parameters = topology, parameters
        self._ranges, self._share = ranges, share
        self._arrays: dict[str, NDArray[Any]] = {}

    def integers(self) -> Integers:
        topology = self._topology
        seen = self._convolve("first", [_Scale(1 / 128, INPUT_ZERO)], [3])
        state, seen = self._chain(topology.low_level, [seen], None)
        self._arrays["state.scale"] = np.array([state], np.float32)
        paths = []
        if topology.spatial:
            paths.append(self._chain(topology.spatial, [seen], state)[1])
        if topology.temporal:
            difference = self._narrow("difference", state, *self._range("difference"))
            paths.append(self._chain(topology.temporal, [seen, difference], None)[1])
        mixed = self._convolve("fuse7", paths, [topology.paths // len(paths)] * len(paths))
        _, decoded = self._chain(topology.decoder, [mixed], float(mixed.scale) / 128)
        self._peak(self._convolve("up11", [decoded], [topology.narrow]))
        return Integers(topology, self._arrays)

    def _chain(
        self, shapes: Sequence[BlockShape], inputs: Sequence[_Scale], wide: float | None
    ) -> tuple[float, _Scale]:
        """Blocks one after the other, the first on several inputs of as many channels each; as `_block`."""
        for shape in shapes:
            widths = [shape.inputs // len(inputs)] * len(inputs)
            wide, seen = self._block(shape, inputs, widths, wide)
            inputs = [seen]
        assert wide is not None
        return wide, seen

    # --- layers -----------------------------------------------------------------------------------------

    def _block(
        self, shape: BlockShape, inputs: Sequence[_Scale], widths: Sequence[int], residual: float | None
    ) -> tuple[float, _Scale]:
        """Gives the scale of its int16, and that of its uint8."""
        name = shape.name
        hidden = self._convolve(f"{name}.expand", inputs, widths)
        hidden = self._depthwise(f"{name}.depthwise", hidden)
        sums = self._weights(f"{name}.project", [hidden], [shape.hidden])
        # One shift for all channels, each of which so has a scale of its own.
        shift = _shift(self._ranges.largest(f"{name}.project") / sums, _WIDE)
        self._scalar(f"{name}.project.shift", shift)
        self._round(f"{name}.project", shift)
        projected = sums * 2.0**shift
        low, high = self._range(name)
        wide = max(-low, high) / _WIDE
        before = residual if shape.residual and residual is not None else 0.0
        wide = max(wide, float(projected.max()) / 1.9, before / 1.9)
        one = 1 << ATTENTION_BITS
        self._arrays[f"{name}.gain"] = np.round(projected / wide * one).astype(np.int16)
        if shape.residual:
            self._scalar(f"{name}.residual", round(before / wide * one))
        if shape.attention:
            self._attention(shape, projected)
        return wide, self._narrow(name, wide, low, high)

    def _range(self, name: str) -> tuple[float, float]:
        return self._ranges.of(name, self._share)

    def _attention(self, shape: BlockShape, projected: NDArray[np.float64]) -> None:
        name = shape.name
        self._scalar(f"{name}.mean", round(2**31 / shape.output_size**2))
        squeeze = self._parameters[f"{name}.squeeze"] * projected[:, None]
        squeezed, scale = _bounded(squeeze, 2047)
        self._arrays[f"{name}.squeeze"] = squeezed
        hidden = self._ranges.of(f"{name}.attention")[1]
        shift = _shift(np.array([max(hidden, 1e-6) / scale]), _WIDE)
        self._scalar(f"{name}.squeeze.shift", shift)
        excited, factor = _bounded(self._parameters[f"{name}.excite"].astype(np.float64), 8191)
        self._arrays[f"{name}.excite"] = excited
        # A score in steps of 1/64, the table's, with 23 fraction bits.
        self._scalar(f"{name}.score", round(scale * 2.0**shift * factor * 64 * 2**23))

    def _narrow(self, name: str, wide: float, low: float, high: float) -> _Scale:
        low, high = min(low, 0.0), max(high, 0.0)
        # The multiplier is an integer, and the scale is what follows from it: no channel is off by its rounding.
        multiplier = max(1, min(32767, int(2**15 * wide * 255 / max(high - low, 1e-6))))
        scale = wide * 2**15 / multiplier
        self._scalar(f"{name}.narrow", multiplier)
        zero = int(np.clip(round(-low / scale), 0, 255))
        self._scalar(f"{name}.zero", zero)
        return _Scale(scale, zero)

    def _convolve(self, name: str, inputs: Sequence[_Scale], widths: Sequence[int]) -> _Scale:
        return self._requantised(name, self._weights(name, inputs, widths))

    def _depthwise(self, name: str, hidden: _Scale) -> _Scale:
        weight = self._parameters[f"{name}.weight"].astype(np.float64)
        scales = _channel_scales(np.abs(weight).max(axis=(0, 1)))
        self._arrays[f"{name}.weight"] = np.round(weight / scales).astype(np.int8)
        sums = scales * hidden.scale
        self._arrays[f"{name}.bias"] = np.round(self._parameters[f"{name}.bias"] / sums).astype(np.int32)
        return self._requantised(name, sums)

    def _weights(self, name: str, inputs: Sequence[_Scale], widths: Sequence[int]) -> NDArray[np.float64]:
        """Quantises weights and bias; gives what 1 of each channel's sum stands for."""
        scale = max(float(np.max(part.scale)) for part in inputs)
        relative = np.concatenate(
            [np.broadcast_to(part.scale / scale, width) for part, width in zip(inputs, widths, strict=True)]
        )
        zeros = np.concatenate(
            [np.full(width, part.zero) for part, width in zip(inputs, widths, strict=True)]
        )
        weight = self._parameters[f"{name}.weight"] * relative[:, None]
        scales = _channel_scales(np.abs(weight).max(axis=(0, 1, 2)))
        integers = np.round(weight / scales)
        self._arrays[f"{name}.weight"] = integers.astype(np.int8)
        sums = scales * scale
        offsets = (integers * zeros[:, None]).sum(axis=2)  # of each tap
        if name.startswith("up"):
            # An output of a transposed convolution meets 2x2 of the 4x4 taps, by its phase.
            offset = offsets.reshape(2, 2, 2, 2, -1).sum(axis=(0, 2))[::-1, ::-1]
        else:
            offset = offsets.sum(axis=(0, 1))
        bias = np.round(self._parameters[f"{name}.bias"] / sums) - offset
        self._arrays[f"{name}.bias"] = bias.astype(np.int32)
        return sums

    def _requantised(self, name: str, sums: NDArray[np.float64]) -> _Scale:
        if name.endswith((".expand", ".depthwise")):
            # Each channel its own: what follows multiplies channels, and takes their scales into its weights.
            highest = self._ranges.highest(name, self._share)
            scale = np.clip(np.maximum(highest, highest.max() / _SPREAD), 1e-3, 6.0) / 255
        else:
            scale = np.float64(min(6.0, max(self._range(name)[1], 1e-3)) / 255)
        ratio = sums / scale
        shift = max(0, min(16, int(np.floor(-np.log2(ratio.max() * 2**15 / 32767)))))
        multipliers = np.round(ratio * 2.0 ** (15 + shift))
        self._scalar(f"{name}.shift", shift)
        self._arrays[f"{name}.multiplier"] = multipliers.astype(np.int16)
        self._round(name, shift)
        return _Scale(scale)

    def _peak(self, scale: _Scale) -> None:
        sums = float(self._weights("up12", [scale], [self._topology.up])[0])
        # exp(-d sums) = 2^(-t / 256); beyond 2^-16 there is nothing left of the map.
        per_unit = sums * np.log2(np.e) * 256
        cap = int(np.ceil(16 * 256 / per_unit)) + 1
        shift = int(np.floor(np.log2((2**31 - 1) / (cap * per_unit)))) - 1
        multiplier = round(per_unit * 2.0**shift)
        self._scalar("peak.cap", min(cap, (2**31 - 1) // multiplier))
        self._scalar("peak.multiplier", multiplier)
        self._scalar("peak.shift", shift)

    # --- arrays -----------------------------------------------------------------------------------------

    def _round(self, name: str, shift: int) -> None:
        """The bias takes up the half by which a shift rounds."""
        if shift:
            self._arrays[f"{name}.bias"] = self._arrays[f"{name}.bias"] + np.int32(1 << (shift - 1))

    def _scalar(self, name: str, value: int) -> None:
        if not -(2**31) <= value < 2**31:
            raise OverflowError(f"{name}: {value} is no int32")
        self._arrays[name] = np.array([value], np.int32)


def _channel_scales(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(largest, max(float(largest.max()) * _LEAST_SCALE, 1e-9)) / _WEIGHT_LIMIT


def _shift(largest: NDArray[np.float64], limit: int) -> int:
    """Bits to shift right so that the largest comes within the limit."""
    return max(0, int(np.ceil(np.log2(max(float(largest.max()), 1.0) / limit))))


def _bounded(weight: NDArray[np.float64], limit: int) -> tuple[NDArray[np.int16], float]:
    """int16 of a matrix [inputs, outputs] whose columns' absolute sums stay bounded, and their scale."""
    scale = max(np.abs(weight).max() / limit, np.abs(weight).sum(axis=0).max() / _SUM_BITS, 1e-9)
    return np.round(weight / scale).astype(np.int16), float(scale)
